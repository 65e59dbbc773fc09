//! An executor without libtorch that does what the tests want to see: see [`behaviour`].

mod behaviour;

use std::io::{Write as _, stdin, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, process, thread};

use gauntlet_domain::experiment::{
    AnalysisResult, AnalysisValue, AttackResult, EpochMetrics, NUMERICS_VERSION, Outcomes, TaskSpec,
};
use gauntlet_domain::task::{FailureClass, MemoryPlan};
use gauntlet_executor_ipc::{
    Event, Execute, MAX_LINE_BYTES, PROTOCOL_VERSION, Ready, Request, TaskOutput, read_message, write_message,
};

use nix::sys::resource::{Resource, setrlimit};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    if let Some(folder) = env::var_os(behaviour::PIDS) {
        fs::write(Path::new(&folder).join(process::id().to_string()), "")?;
    }
    if env::var_os(behaviour::NEVER_READY).is_some() {
        eprintln!("waiting for a device");
        hang();
    }
    let arguments: Vec<String> = env::args().collect();
    let option = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).cloned();
    say(&Event::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        numerics: NUMERICS_VERSION,
        libtorch: "none".to_owned(),
        device: option("--device").unwrap_or_default(),
        threads: option("--threads").unwrap_or_default().parse()?,
        memory_mib: Some(1024),
        pid: process::id(),
    }))?;
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || listen(&sender));
    while let Ok(request) = requests.recv() {
        match request {
            Request::Execute(execute) => run(&execute)?,
            Request::Shutdown => break,
            Request::Yield { .. } => {}
        }
    }
    Ok(())
}

/// Whether the task at work is to stop.
static ASKED: AtomicBool = AtomicBool::new(false);

fn listen(sender: &mpsc::Sender<Request>) {
    while let Ok(Some(request)) = read_message::<Request>(&mut stdin().lock()) {
        ASKED.store(matches!(request, Request::Yield { .. }), Ordering::SeqCst);
        if sender.send(request).is_err() {
            return;
        }
    }
}

fn run(execute: &Execute) -> Result<()> {
    let attempt = execute.attempt;
    say(&Event::Progress { attempt, done: 1, total: 2, unit: "steps".to_owned() })?;
    let seed = match &execute.spec {
        TaskSpec::Train(spec) => spec.seed,
        TaskSpec::Attack(spec) => spec.seed,
        TaskSpec::Analyze(spec) => spec.seed,
    };
    match if seed < 100 { seed % 10 } else { seed } {
        behaviour::HANG => hang(),
        behaviour::WORK_UNTIL_ASKED => {
            while !ASKED.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if let TaskSpec::Train(_) = execute.spec {
                epoch(execute, 2)?;
            }
            return say(&Event::Yielded { attempt, peak_memory_mib: Some(64) });
        }
        behaviour::ABORT => {
            eprintln!("assertion failed");
            process::abort();
        }
        behaviour::EXHAUST_MEMORY => exhaust_memory()?,
        behaviour::NEEDS_TO_SPARE if execute.memory != MemoryPlan::SPARING => {
            let (class, message) = (FailureClass::Resource, "out of memory".to_owned());
            return say(&Event::Failed { attempt, class, message, peak_memory_mib: Some(4000) });
        }
        behaviour::NEEDS_TO_SPARE => {}
        behaviour::DIE => die(),
        behaviour::TALK_NONSENSE => {
            stdout().write_all(b"a library prints this\n")?;
            hang()
        }
        behaviour::TALK_ENDLESSLY => {
            stdout().write_all(&vec![b'x'; MAX_LINE_BYTES + 1])?;
            hang()
        }
        behaviour::FAIL => {
            let message = "the loss is not a number".to_owned();
            return say(&Event::Failed { attempt, class: FailureClass::Permanent, message, peak_memory_mib: None });
        }
        behaviour::DIE_AFTER_CHECKPOINT => {
            epoch(execute, 1)?;
            die()
        }
        behaviour::WAIT_FOR_GO => {
            while !execute.data_dir.join("go").exists() {
                thread::sleep(Duration::from_millis(10));
            }
        }
        behaviour::SUCCEED | behaviour::MISCOUNT => {}
        unknown => return Err(format!("behaviour {unknown} is unknown").into()),
    }
    let output = match &execute.spec {
        TaskSpec::Train(_) => train(execute)?,
        TaskSpec::Attack(spec) => attack(spec.dataset.examples as usize + usize::from(seed == behaviour::MISCOUNT)),
        TaskSpec::Analyze(spec) if spec.method.constructs() => construct(execute, seed != behaviour::MISCOUNT)?,
        TaskSpec::Analyze(_) => analyze(if seed == behaviour::MISCOUNT { "aoi" } else { "cka" }),
    };
    let result_path = output.write_in(&execute.output_dir)?;
    say(&Event::Finished { attempt, result_path, peak_memory_mib: Some(123) })
}

fn attack(examples: usize) -> TaskOutput {
    let outcomes = Outcomes {
        label: vec![0; examples],
        clean_prediction: vec![0; examples],
        adversarial_prediction: vec![1; examples],
        clean_loss: vec![0.25; examples],
        adversarial_loss: vec![4.0; examples],
        distance: vec![0.1; examples],
    };
    TaskOutput::Attacked(AttackResult { outcomes, model_queries: 7, zero_gradient_examples: 0 })
}

fn analyze(measure: &str) -> TaskOutput {
    let value = AnalysisValue { measure: measure.to_owned(), layer: "layer1".to_owned(), x: None, value: 0.5 };
    TaskOutput::Analyzed { result: AnalysisResult { values: vec![value], ..AnalysisResult::default() }, dataset: None }
}

/// A data set that tells which model it was made with; `whole` says whether it is left at all.
fn construct(execute: &Execute, whole: bool) -> Result<TaskOutput> {
    let value = AnalysisValue { measure: "agreement".to_owned(), layer: String::new(), x: None, value: 0.5 };
    let result = AnalysisResult { values: vec![value], ..AnalysisResult::default() };
    let mut images = b"seen by ".to_vec();
    for path in execute.task_artifacts.values() {
        images.extend(fs::read(path)?);
    }
    let dataset = execute.output_dir.join("dataset.safetensors");
    fs::write(&dataset, images)?;
    Ok(TaskOutput::Analyzed { result, dataset: whole.then_some(dataset) })
}

/// The trained weights tell what the training started from.
fn train(execute: &Execute) -> Result<TaskOutput> {
    let mut weights = Vec::new();
    for path in execute.task_artifacts.values().chain(&execute.resume_from) {
        weights.extend(fs::read(path)?);
        weights.push(b'+');
    }
    epoch(execute, 1)?;
    // Time for the upload, so that the tests see it.
    thread::sleep(Duration::from_millis(300));
    epoch(execute, 2)?;
    weights.extend(b"trained");
    let checkpoint = execute.output_dir.join("weights.safetensors");
    fs::write(&checkpoint, weights)?;
    Ok(TaskOutput::Trained { checkpoint })
}

fn epoch(execute: &Execute, epoch: u32) -> Result<()> {
    let attempt = execute.attempt;
    let metrics = EpochMetrics {
        epoch,
        iterations: 10 * epoch,
        learning_rate: 0.1,
        train_loss: 1.5,
        train_accuracy: 0.5,
        validation: None,
    };
    say(&Event::Epoch { attempt, metrics })?;
    let path = execute.output_dir.join(format!("checkpoint-{epoch}"));
    fs::write(&path, format!("state {epoch}"))?;
    say(&Event::Checkpoint { attempt, path, epoch })
}

fn say(event: &Event) -> Result<()> {
    Ok(write_message(&mut stdout().lock(), event)?)
}

fn exhaust_memory() -> Result<()> {
    let taken = fs::read_to_string("/proc/self/statm")?.split_whitespace().next().unwrap_or("0").parse::<u64>()? * 4096;
    let limit = taken + (64 << 20);
    setrlimit(Resource::RLIMIT_AS, limit, limit)?;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(vec![1; 1 << 20]);
    }
}

fn hang() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn die() -> ! {
    eprintln!("about to fall");
    // Dying by the signal itself is what a kill by the kernel looks like.
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
    hang()
}
