//! The loop: a request comes in, events go out.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gauntlet_data::Places;
use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::{EpochMetrics, NUMERICS_VERSION};
use gauntlet_domain::task::FailureClass;
use gauntlet_executor_ipc::{Event, Execute, PROTOCOL_VERSION, Ready, Request, TaskOutput, write_message};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Inputs, Lab, LabError, Observer, Probe};

use crate::agent::{self, Wishes};
use crate::memory::{self, Meter};

/// Shortest time between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

static WISHES: Wishes = Wishes::new();

/// Serves the agent until it closes stdin or says so.
pub(crate) fn serve(mut lab: Lab, probe: &Probe, stdout: File) -> anyhow::Result<()> {
    let requests = agent::listen(&WISHES).context("no thread for stdin")?;
    let mut events = Events { stdout };
    events.send(&Event::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        numerics: NUMERICS_VERSION,
        libtorch: probe.libtorch.to_owned(),
        device: probe.device.to_string(),
        threads: probe.threads,
        memory_mib: memory::of_device(probe.device),
        pid: std::process::id(),
    }));
    while let Ok(request) = requests.recv() {
        match request {
            Request::Shutdown => break,
            Request::Execute(execute) => {
                let event = compute(&mut lab, *execute, &mut events);
                WISHES.done();
                events.send(&event);
            }
            // The listener keeps these to itself.
            Request::Yield { .. } => {}
        }
    }
    Ok(())
}

fn compute(lab: &mut Lab, execute: Execute, events: &mut Events) -> Event {
    let Execute { attempt, spec, files, data_dir, task_artifacts, resume_from, output_dir, memory } = execute;
    let places = Places { files, data_dir, task_artifacts };
    let inputs = Inputs { places, resume_from, output_dir, memory };
    let meter = Meter::start(lab.settings().device);
    let mut reporter = Reporter { attempt, events, said: None };
    let computed = lab.execute(&spec, &inputs, &mut reporter);
    let peak_memory_mib = meter.peak_mib();
    let failed = |class, message| Event::Failed { attempt, class, message, peak_memory_mib };
    let output = match computed {
        Ok(gauntlet_lab::TaskOutput::Trained { checkpoint }) => TaskOutput::Trained { checkpoint },
        Ok(gauntlet_lab::TaskOutput::Attacked(result)) => TaskOutput::Attacked(result),
        Ok(gauntlet_lab::TaskOutput::Analyzed { result, dataset }) => TaskOutput::Analyzed { result, dataset },
        Err(LabError::Stopped { .. } | LabError::Interrupted) => return Event::Yielded { attempt, peak_memory_mib },
        Err(error) => return failed(error.class(), error.to_string()),
    };
    match output.write_in(&inputs.output_dir) {
        Ok(result_path) => Event::Finished { attempt, result_path, peak_memory_mib },
        Err(error) => failed(FailureClass::Transient, error.to_string()),
    }
}

/// The way out.
struct Events {
    stdout: File,
}

impl Events {
    /// Says something to the agent. If nobody listens any more there is nothing left to live for.
    fn send(&mut self, event: &Event) {
        if let Err(error) = write_message(&mut self.stdout, event) {
            tracing::error!(%error, "the agent cannot be told");
            agent::die();
        }
    }
}

/// Turns what the lab tells into events.
struct Reporter<'a> {
    attempt: AttemptRef,
    events: &'a mut Events,
    /// When progress was last said.
    said: Option<Instant>,
}

impl Observer for Reporter<'_> {
    fn progress(&mut self, done: u64, total: u64, unit: &'static str) {
        let recent = self.said.is_some_and(|said| said.elapsed() < PROGRESS_INTERVAL);
        if recent && done < total {
            return;
        }
        self.said = Some(Instant::now());
        self.events.send(&Event::Progress { attempt: self.attempt, done, total, unit: unit.to_owned() });
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        self.events.send(&Event::Epoch { attempt: self.attempt, metrics: metrics.clone() });
    }

    fn checkpoint(&mut self, path: &Path, epoch: u32) {
        self.events.send(&Event::Checkpoint { attempt: self.attempt, path: path.to_owned(), epoch });
    }

    fn wish(&mut self) -> Wish {
        if WISHES.yields() { Wish::Stop } else { Wish::GoOn }
    }
}
