//! The executor as its agent sees it: a process with two pipes.
#![allow(clippy::unwrap_used)] // A test may stop at once.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackSpec, Augmentation, Backbone, DatasetSource, DatasetSpec, Decay, EpsilonSchedule,
    Fit, Frozen, Head, ImageShape, Length, ModelSpec, NUMERICS_VERSION, Norm, Normalize, Objective, Optimizer,
    Precision, Recipe, Schedule, Stem, Subset, TaskSpec, TrainSpec, Weights,
};
use gauntlet_domain::task::{FailureClass, MemoryPlan};
use gauntlet_domain::{AttemptNumber, AttemptRef, Digest};
use gauntlet_executor_ipc::{Event, Execute, Request, TaskOutput, read_message, write_message};
use safetensors::{Dtype, tensor::TensorView};

struct Executor {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Executor {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gauntlet-executor"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self { process, stdin, stdout }
    }

    fn ready() -> Self {
        let mut executor = Self::start();
        assert!(matches!(executor.next(), Some(Event::Ready(_))));
        executor
    }

    fn send(&mut self, request: &Request) {
        write_message(self.stdin.as_mut().unwrap(), request).unwrap();
    }

    fn next(&mut self) -> Option<Event> {
        read_message(&mut self.stdout).unwrap()
    }

    /// Everything said until the attempt is over.
    fn until_over(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            let over = matches!(event, Event::Finished { .. } | Event::Failed { .. } | Event::Yielded { .. });
            events.push(event);
            if over {
                return events;
            }
        }
        panic!("the executor ended after {events:?}");
    }

    fn ends_within(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < limit, "the executor still runs after {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Sixteen images of two classes, in a file.
fn dataset(folder: &Path) -> (DatasetSpec, BTreeMap<Digest, std::path::PathBuf>) {
    let images: Vec<u8> = (0..16 * 1024_u32).map(|index| ((index / 1024 % 2) * 200 + index % 50) as u8).collect();
    let labels: Vec<u8> = (0..16_i64).flat_map(|example| (example % 2).to_le_bytes()).collect();
    let views = [
        ("images", TensorView::new(Dtype::U8, vec![16, 1, 32, 32], &images).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![16], &labels).unwrap()),
    ];
    let bytes = safetensors::serialize(views, None).unwrap();
    let path = folder.join("images.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let file = Digest::of(&bytes);
    let image = ImageShape { channels: 1, height: 32, width: 32 };
    let source = DatasetSource::SafeTensors { file };
    (
        DatasetSpec {
            subset: Subset::default(),
            source,
            examples: 16,
            classes: 2,
            image,
            fit: Fit::Pad,
            frequencies: None,
        },
        BTreeMap::from([(file, path)]),
    )
}

fn model() -> ModelSpec {
    let normalize = Normalize { mean: vec![0.5], std: vec![0.5] };
    ModelSpec { backbone: Backbone::ResNet18W16, stem: Stem::Standard, width: None, channels: 1, classes: 2, normalize }
}

fn training(dataset: DatasetSpec, steps: u32) -> TaskSpec {
    let optimizer = Optimizer::Sgd { learning_rate: 0.01, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    TaskSpec::Train(TrainSpec {
        dataset,
        model: model(),
        weights: Weights::Scratch,
        recipe: Recipe {
            objective: Objective::Standard,
            epsilon_schedule: EpsilonSchedule::Constant,
            label_smoothing: 0.0,
            frozen: Frozen::NOTHING,
            head_first: None,
            head_learning_rate: None,
            dropout: true,
            batch_norm_momentum: None,
            length: Length::Iterations(steps),
            batch_size: 16,
            micro_batch_size: None,
            optimizer,
            decay_norm_and_bias: true,
            gradient_clip: None,
            schedule: Schedule { warmup: 0.0, decay: Decay::Constant },
            precision: Precision::F32,
            ema: None,
            validation: None,
            augmentation: Augmentation::default(),
        },
        seed: 0,
        numerics: NUMERICS_VERSION,
    })
}

fn execute(spec: TaskSpec, files: &BTreeMap<Digest, std::path::PathBuf>, output_dir: &Path) -> Execute {
    Execute {
        attempt: AttemptRef { task: spec.id(), attempt: AttemptNumber(1) },
        spec,
        files: files.clone(),
        data_dir: output_dir.to_owned(),
        task_artifacts: BTreeMap::new(),
        resume_from: None,
        output_dir: output_dir.to_owned(),
        memory: MemoryPlan::default(),
    }
}

#[test]
fn a_training_and_an_attack_on_it_run_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, files) = dataset(folder.path());
    let mut executor = Executor::ready();
    let train = execute(training(dataset.clone(), 3), &files, folder.path());
    let (task, attempt) = (train.spec.id(), train.attempt);
    executor.send(&Request::Execute(Box::new(train)));
    let events = executor.until_over();
    let epochs = events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
    assert_eq!(epochs, 3, "{events:?}");
    let Some(Event::Finished { attempt: finished, result_path, peak_memory_mib: Some(1..) }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(*finished, attempt);
    let TaskOutput::Trained { checkpoint } = TaskOutput::read(result_path).unwrap() else { panic!("no checkpoint") };

    let attack = AttackConfig {
        method: AttackMethod::Fgsm,
        norm: Norm::Linf,
        eps: Some(0.1),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let (weights, seed) = (Weights::Task { task, head: Head::Keep }, 0);
    let spec = AttackSpec {
        dataset,
        model: model(),
        weights,
        attack,
        seed,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    };
    let mut request = execute(TaskSpec::Attack(spec), &files, folder.path());
    request.task_artifacts.insert(task, checkpoint);
    executor.send(&Request::Execute(Box::new(request)));
    let events = executor.until_over();
    let Some(Event::Finished { result_path, .. }) = events.last() else { panic!("{events:?}") };
    let TaskOutput::Attacked(result) = TaskOutput::read(result_path).unwrap() else { panic!("no outcomes") };
    assert_eq!(result.outcomes.check(16), Ok(()));

    executor.send(&Request::Shutdown);
    assert!(executor.ends_within(Duration::from_secs(5)).success());
}

#[test]
fn a_task_that_cannot_be_computed_fails_and_the_executor_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, files) = dataset(folder.path());
    let mut executor = Executor::ready();
    let spec = training(DatasetSpec { classes: 3, ..dataset.clone() }, 1);
    executor.send(&Request::Execute(Box::new(execute(spec, &files, folder.path()))));
    let events = executor.until_over();
    let Some(Event::Failed { class, message, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(*class, FailureClass::Permanent);
    assert!(message.contains("the data set has 3 classes, the model 2"), "{message}");
    executor.send(&Request::Execute(Box::new(execute(training(dataset, 1), &files, folder.path()))));
    assert!(matches!(executor.until_over().last(), Some(Event::Finished { .. })));
}

/// Waits until this many steps are done.
fn steps_done(executor: &mut Executor, least: u64) -> u64 {
    loop {
        match executor.next() {
            Some(Event::Progress { done, .. }) if done >= least => return done,
            Some(_) => {}
            None => panic!("the executor has ended"),
        }
    }
}

#[test]
fn a_training_that_is_asked_to_yield_stops_at_a_checkpoint_and_another_executor_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, files) = dataset(folder.path());
    let steps = 60;
    let whole = execute(training(dataset.clone(), steps), &files, folder.path());
    let attempt = whole.attempt;
    let mut executor = Executor::ready();
    executor.send(&Request::Execute(Box::new(whole)));
    let before = steps_done(&mut executor, 10);
    let other = AttemptRef { attempt: AttemptNumber(9), ..attempt };
    executor.send(&Request::Yield { attempt: other });
    let meanwhile = steps_done(&mut executor, before + 5);
    executor.send(&Request::Yield { attempt });
    let events = executor.until_over();
    let [.., Event::Checkpoint { path, .. }, Event::Yielded { attempt: yielded, peak_memory_mib: Some(1..) }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(*yielded, attempt);

    // What is asked of an attempt that is over means nothing to the next one, in the same process or another.
    executor.send(&Request::Yield { attempt });
    let second = AttemptRef { attempt: AttemptNumber(2), ..attempt };
    let resumed = Execute {
        attempt: second,
        resume_from: Some(path.clone()),
        ..execute(training(dataset, steps), &files, folder.path())
    };
    executor.send(&Request::Execute(Box::new(resumed)));
    let first = steps_done(&mut executor, 0);
    assert!(first >= meanwhile, "it goes on at step {first}, though {meanwhile} were done");
    let events = executor.until_over();
    assert!(matches!(events.last(), Some(Event::Finished { attempt, .. }) if *attempt == second), "{events:?}");
}

#[test]
fn an_attack_that_is_asked_to_yield_stops_between_two_batches() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, files) = dataset(folder.path());
    // Many tries of one batch each; on a model that was never trained nobody is fooled for long, for the ball is a point.
    let method = AttackMethod::Pgd { steps: 50, step_size: 1e-9, random_start: true, restarts: 10_000 };
    let attack = AttackConfig {
        method,
        norm: Norm::Linf,
        eps: Some(1e-9),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let (weights, seed) = (Weights::Scratch, 0);
    let spec = AttackSpec {
        dataset,
        model: model(),
        weights,
        attack,
        seed,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    };
    let request = execute(TaskSpec::Attack(spec), &files, folder.path());
    let attempt = request.attempt;
    let mut executor = Executor::ready();
    executor.send(&Request::Execute(Box::new(request)));
    assert!(matches!(executor.next(), Some(Event::Progress { .. })));
    executor.send(&Request::Yield { attempt });
    let events = executor.until_over();
    assert!(matches!(events.last(), Some(Event::Yielded { .. })), "{events:?}");
}

#[test]
fn an_executor_knows_the_memory_of_the_cpu() {
    let mut executor = Executor::start();
    let Some(Event::Ready(ready)) = executor.next() else { panic!("it is not ready") };
    assert!(ready.memory_mib.is_some_and(|mib| mib > 64), "{ready:?}");
}

#[test]
fn an_executor_ends_at_once_when_its_agent_is_gone_in_the_middle_of_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, files) = dataset(folder.path());
    let mut executor = Executor::ready();
    executor.send(&Request::Execute(Box::new(execute(training(dataset, 1_000_000), &files, folder.path()))));
    while !matches!(executor.next(), Some(Event::Progress { done: 1.., .. })) {}
    executor.stdin = None;
    executor.ends_within(Duration::from_secs(1));
}

#[test]
fn an_idle_executor_ends_well_when_stdin_closes() {
    let mut executor = Executor::ready();
    executor.stdin = None;
    assert!(executor.ends_within(Duration::from_secs(2)).success());
}

#[test]
fn an_executor_that_is_told_nonsense_ends_and_says_why() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_gauntlet-executor"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(b"{\"request\":\"dance\"}\n").unwrap();
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("not a message") && said.contains("dance"), "{said}");
    assert!(process.wait().is_ok());
}

#[test]
fn a_probe_prints_one_line_about_the_device() {
    let probe = |device: &str| {
        Command::new(env!("CARGO_BIN_EXE_gauntlet-executor")).args(["--probe", "--device", device]).output().unwrap()
    };
    let cpu = probe("cpu");
    let line: serde_json::Value = serde_json::from_slice(&cpu.stdout).unwrap();
    assert_eq!(line["device"], "cpu");
    assert_eq!(line["threads"], 1);
    let absent = probe("cuda:99");
    assert!(!absent.status.success());
    assert!(String::from_utf8_lossy(&absent.stderr).contains("device `cuda:99` is not there"));
}
