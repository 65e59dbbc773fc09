//! One slot: a process after the other.

use std::path::PathBuf;
use std::time::Duration;

use gauntlet_domain::experiment::NUMERICS_VERSION;
use gauntlet_executor_ipc::{Event as Said, Execute, PROTOCOL_VERSION, Ready, Request};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::process::{Happening, Process, describe_exit};
use crate::attempts::Generation;
use crate::event::Event;

const RESTART_MIN: Duration = Duration::from_millis(500);
const RESTART_MAX: Duration = Duration::from_secs(30);

/// How the executors of a slot are started.
#[derive(Debug, Clone)]
pub(crate) struct ExecutorSettings {
    pub(crate) binary: PathBuf,
    pub(crate) device: String,
    pub(crate) threads: u32,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) start_timeout: Duration,
}

/// What a slot tells.
#[derive(Debug)]
pub(crate) enum SlotEvent {
    /// A process is up and idle.
    Ready { generation: Generation, ready: Ready },
    /// It says something about an attempt.
    Said(Box<Said>),
    /// It is gone, not by our wish; another one is started.
    Lost { generation: Generation, evidence: String },
    /// None came up; another try follows after a pause.
    FailedToStart { message: String },
}

enum Command {
    Execute(Generation, Box<Execute>),
    Replace(Generation),
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Slot {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Slot {
    /// Starts the first executor.
    pub(crate) fn start(slot: usize, settings: ExecutorSettings, events: mpsc::Sender<Event>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let supervisor = Supervisor { slot, settings, events, commands: receiver, generation: 0 };
        Self { commands, task: tokio::spawn(supervisor.run()) }
    }

    /// Hands work to this very process; if it is gone meanwhile, its loss is on its way.
    pub(crate) fn execute(&self, generation: Generation, execute: Box<Execute>) {
        self.command(Command::Execute(generation, execute));
    }

    /// Kills this very process and starts another.
    pub(crate) fn replace(&self, generation: Generation) {
        self.command(Command::Replace(generation));
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("a slot's supervisor is gone");
        }
    }

    /// Kills the process and waits until it is gone.
    pub(crate) async fn stop(self) {
        let Self { commands, task } = self;
        drop(commands);
        if let Err(error) = task.await {
            tracing::error!(%error, "a slot's supervisor has ended badly");
        }
    }
}

/// Why a process is no longer served.
enum End {
    /// The agent leaves.
    Stop,
    Replaced,
    /// By itself; whether it had been up, and whether it had been given work.
    Died {
        evidence: String,
        was_ready: bool,
        had_work: bool,
    },
}

struct Supervisor {
    slot: usize,
    settings: ExecutorSettings,
    events: mpsc::Sender<Event>,
    commands: mpsc::UnboundedReceiver<Command>,
    generation: Generation,
}

impl Supervisor {
    async fn run(mut self) {
        let mut pause = RESTART_MIN;
        loop {
            self.generation += 1;
            let keeps_dying = match self.serve_one().await {
                End::Stop => return,
                End::Replaced => false,
                End::Died { evidence, was_ready, had_work } => {
                    tracing::error!(slot = self.slot, "{evidence}");
                    let generation = self.generation;
                    self.tell(match was_ready {
                        true => SlotEvent::Lost { generation, evidence },
                        false => SlotEvent::FailedToStart { message: evidence },
                    })
                    .await;
                    !had_work
                }
            };
            if !keeps_dying {
                pause = RESTART_MIN;
                continue;
            }
            if !self.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(RESTART_MAX);
        }
    }

    /// Waits before the next start; false if the agent leaves.
    async fn rest(&mut self, pause: Duration) -> bool {
        let end = sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return true,
                // What comes now is for a process that is gone.
                command = self.commands.recv() => if command.is_none() { return false },
            }
        }
    }

    async fn serve_one(&mut self) -> End {
        let arguments = [
            "--device".to_owned(),
            self.settings.device.clone(),
            "--threads".to_owned(),
            self.settings.threads.to_string(),
        ];
        let started = Process::start(&self.settings.binary, &arguments, &self.settings.environment, self.slot).await;
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                let evidence = format!("{}: {error}", self.settings.binary.display());
                return End::Died { evidence, was_ready: false, had_work: false };
            }
        };
        let end = self.serve(&mut process).await;
        // In every case the slot's memory is free before the next one starts.
        process.kill().await;
        end
    }

    async fn serve(&mut self, process: &mut Process) -> End {
        let deadline = Instant::now() + self.settings.start_timeout;
        let (mut was_ready, mut had_work) = (false, false);
        let trouble = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return End::Stop,
                    Some(Command::Replace(generation)) if generation == self.generation => return End::Replaced,
                    Some(Command::Execute(generation, execute)) if generation == self.generation => {
                        had_work = true;
                        if let Err(error) = process.send(&Request::Execute(execute)) {
                            break format!("the task cannot be told to the executor: {error}");
                        }
                    }
                    Some(Command::Replace(_) | Command::Execute(..)) => {}
                },
                happening = process.next() => match happening {
                    Happening::Said(Said::Ready(ready)) if !was_ready => {
                        if let Err(problem) = check(&ready) {
                            break problem;
                        }
                        was_ready = true;
                        self.tell(SlotEvent::Ready { generation: self.generation, ready }).await;
                    }
                    Happening::Said(said) => self.tell(SlotEvent::Said(Box::new(said))).await,
                    Happening::Garbled(error) => break format!("the executor was killed because it sent nonsense: {error}"),
                    Happening::Mute => break "the executor was killed because it had closed its stdout".to_owned(),
                    Happening::Exited(status) => break describe_exit(status),
                },
                () = sleep_until(deadline), if !was_ready => {
                    break format!("the executor was not ready within {:?}", self.settings.start_timeout);
                }
            }
        };
        process.kill().await;
        let evidence = format!("{trouble}; {}", process.last_words().await);
        End::Died { evidence, was_ready, had_work }
    }

    async fn tell(&self, event: SlotEvent) {
        // Nobody listens any more when the agent leaves.
        let _ = self.events.send(Event::Executor { slot: self.slot, event }).await;
    }
}

/// Agent and executor must come from one build.
fn check(ready: &Ready) -> Result<(), String> {
    if ready.protocol != PROTOCOL_VERSION {
        return Err(format!(
            "the executor speaks version {} of the protocol, the agent version {PROTOCOL_VERSION}: they must come from one build",
            ready.protocol
        ));
    }
    if ready.numerics != NUMERICS_VERSION {
        return Err(format!(
            "the executor computes version {} of the numerics, the agent expects {NUMERICS_VERSION}: they must come from one build",
            ready.numerics
        ));
    }
    Ok(())
}
