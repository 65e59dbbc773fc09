//! The loop: a request comes in, events go out.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gauntlet_data::Places;
use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::{EpochMetrics, NUMERICS_VERSION};
use gauntlet_domain::task::FailureClass;
use gauntlet_executor_ipc::{Event, Execute, PROTOCOL_VERSION, Ready, Request, TaskOutput, write_message};
use gauntlet_lab::{Inputs, Lab, Observer, Probe};

use crate::agent;

/// Shortest time between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Whether a task has come in that is not done.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Serves the agent until it closes stdin or says so.
pub(crate) fn serve(mut lab: Lab, probe: &Probe, stdout: File) -> anyhow::Result<()> {
    let requests = agent::listen(&BUSY).context("no thread for stdin")?;
    let mut events = Events { stdout };
    events.send(&Event::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        numerics: NUMERICS_VERSION,
        libtorch: probe.libtorch.to_owned(),
        device: probe.device.to_string(),
        threads: probe.threads,
        memory_mib: None,
        pid: std::process::id(),
    }));
    while let Ok(request) = requests.recv() {
        match request {
            Request::Shutdown => break,
            Request::Execute(execute) => {
                let event = compute(&mut lab, *execute, &mut events);
                BUSY.store(false, Ordering::SeqCst);
                events.send(&event);
            }
        }
    }
    Ok(())
}

fn compute(lab: &mut Lab, execute: Execute, events: &mut Events) -> Event {
    let Execute { attempt, spec, files, data_dir, task_checkpoints, resume_from, output_dir } = execute;
    let inputs = Inputs { places: Places { files, data_dir }, task_checkpoints, resume_from, output_dir };
    let mut reporter = Reporter { attempt, events, said: None };
    let output = match lab.execute(&spec, &inputs, &mut reporter) {
        Ok(gauntlet_lab::TaskOutput::Trained { checkpoint }) => TaskOutput::Trained { checkpoint },
        Ok(gauntlet_lab::TaskOutput::Attacked(result)) => TaskOutput::Attacked(result),
        Err(error) => return Event::Failed { attempt, class: error.class(), message: error.to_string() },
    };
    match output.write_in(&inputs.output_dir) {
        Ok(result_path) => Event::Finished { attempt, result_path },
        Err(error) => Event::Failed { attempt, class: FailureClass::Transient, message: error.to_string() },
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
}
