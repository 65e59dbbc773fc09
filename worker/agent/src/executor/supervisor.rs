//! One slot: a process after the other.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::NUMERICS_VERSION;
use gauntlet_domain::task::{Failure, FailureClass};
use gauntlet_executor_ipc::{Event as Said, Execute, PROTOCOL_VERSION, Ready, Request};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::evidence::{judge, oom_kills, peak_mib};
use super::process::{Happening, Process};
use crate::attempts::Generation;
use crate::event::Event;

const RESTART_MIN: Duration = Duration::from_millis(500);
const RESTART_MAX: Duration = Duration::from_secs(30);
/// How often a process at work is looked at, so that something is known of it when it dies.
const LOOK: Duration = Duration::from_secs(1);

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
    Lost { generation: Generation, loss: Loss },
    /// None came up; another try follows after a pause.
    FailedToStart { message: String },
}

/// What is known of the end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) failure: Failure,
    /// What it was given last.
    pub(crate) attempt: Option<AttemptRef>,
    /// The most memory it took, as last seen.
    pub(crate) peak_memory_mib: Option<u32>,
}

enum Command {
    Execute(Generation, Box<Execute>),
    Yield(Generation, AttemptRef),
    Replace(Generation),
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Slot {
    device: String,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Slot {
    /// Starts the first executor.
    pub(crate) fn start(slot: usize, settings: ExecutorSettings, events: mpsc::Sender<Event>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let device = settings.device.clone();
        let supervisor = Supervisor { slot, settings, events, commands: receiver, generation: 0 };
        Self { device, commands, task: tokio::spawn(supervisor.run()) }
    }

    /// Where its executors compute.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Hands work to this very process; if it is gone meanwhile, its loss is on its way.
    pub(crate) fn execute(&self, generation: Generation, execute: Box<Execute>) {
        self.command(Command::Execute(generation, execute));
    }

    /// Asks this very process to stop an attempt in good order.
    pub(crate) fn hand_back(&self, generation: Generation, attempt: AttemptRef) {
        self.command(Command::Yield(generation, attempt));
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
        let Self { commands, task, .. } = self;
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
    /// By itself; whether it had been up.
    Died {
        loss: Loss,
        was_ready: bool,
    },
}

/// Why a process is given up.
enum Trouble {
    /// It ended.
    Exited(Option<ExitStatus>),
    /// It lives and makes no sense.
    Mad(String),
    /// The agent cannot deal with it.
    Ours(String),
}

/// What is noted of a process at work, because a dead one tells nothing.
struct Watch {
    /// Where its memory is the device's.
    pid: Option<u32>,
    peak_mib: Option<u32>,
    /// What the kernel had killed for lack of memory when last looked, and the time before: a look may come between a kill and the news of it.
    kills: [Option<u64>; 2],
    due: Instant,
}

impl Watch {
    fn new(pid: Option<u32>) -> Self {
        Self { pid, peak_mib: None, kills: [oom_kills(); 2], due: Instant::now() }
    }

    /// A task begins.
    fn begin(&mut self) {
        self.peak_mib = None;
        self.kills = [oom_kills(); 2];
        self.due = Instant::now() + LOOK;
    }

    fn look(&mut self) {
        self.peak_mib = self.pid.and_then(peak_mib).or(self.peak_mib);
        self.kills = [self.kills[1], oom_kills()];
        self.due = Instant::now() + LOOK;
    }

    /// Whether the kernel killed something for lack of memory within the last moments, as far as it tells.
    fn killed_for_memory(&self) -> Option<bool> {
        Some(oom_kills()? > self.kills[0]?)
    }
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
                End::Died { loss, was_ready } => {
                    tracing::error!(slot = self.slot, "{}", loss.failure.message);
                    let (generation, had_work) = (self.generation, loss.attempt.is_some());
                    self.tell(match was_ready {
                        true => SlotEvent::Lost { generation, loss },
                        false => SlotEvent::FailedToStart { message: loss.failure.message },
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
                let message = format!("{}: {error}", self.settings.binary.display());
                let failure = Failure { class: FailureClass::Transient, message };
                return End::Died { loss: Loss { failure, attempt: None, peak_memory_mib: None }, was_ready: false };
            }
        };
        let end = self.serve(&mut process).await;
        // In every case the slot's memory is free before the next one starts.
        process.kill().await;
        end
    }

    async fn serve(&mut self, process: &mut Process) -> End {
        let deadline = Instant::now() + self.settings.start_timeout;
        let mut watch = Watch::new(process.pid().filter(|_| self.settings.device == "cpu"));
        let (mut was_ready, mut attempt) = (false, None);
        let trouble = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return End::Stop,
                    Some(Command::Replace(generation)) if generation == self.generation => return End::Replaced,
                    Some(Command::Execute(generation, execute)) if generation == self.generation => {
                        attempt = Some(execute.attempt);
                        watch.begin();
                        if let Err(error) = process.send(&Request::Execute(execute)) {
                            break Trouble::Ours(format!("the task cannot be told to the executor: {error}"));
                        }
                    }
                    Some(Command::Yield(generation, attempt)) if generation == self.generation => {
                        if let Err(error) = process.send(&Request::Yield { attempt }) {
                            break Trouble::Ours(format!("the executor cannot be asked to stop: {error}"));
                        }
                    }
                    Some(Command::Replace(_) | Command::Execute(..) | Command::Yield(..)) => {}
                },
                happening = process.next() => match happening {
                    Happening::Said(Said::Ready(ready)) if !was_ready => {
                        if let Err(problem) = check(&ready) {
                            break Trouble::Ours(problem);
                        }
                        was_ready = true;
                        self.tell(SlotEvent::Ready { generation: self.generation, ready }).await;
                    }
                    Happening::Said(said) => self.tell(SlotEvent::Said(Box::new(said))).await,
                    Happening::Garbled(error) => {
                        break Trouble::Mad(format!("the executor was killed because it sent nonsense: {error}"));
                    }
                    Happening::Mute => {
                        break Trouble::Mad("the executor was killed because it had closed its stdout".to_owned());
                    }
                    Happening::Exited(status) => break Trouble::Exited(status),
                },
                () = sleep_until(watch.due), if attempt.is_some() => watch.look(),
                () = sleep_until(deadline), if !was_ready => {
                    break Trouble::Ours(format!("the executor was not ready within {:?}", self.settings.start_timeout));
                }
            }
        };
        let killed_for_memory = watch.killed_for_memory();
        process.kill().await;
        let last_lines = process.last_words().await;
        let (class, trouble) = match trouble {
            Trouble::Exited(status) => judge(status, killed_for_memory, &last_lines),
            Trouble::Mad(trouble) => (FailureClass::Crash, trouble),
            Trouble::Ours(trouble) => (FailureClass::Transient, trouble),
        };
        let words = if last_lines.is_empty() { "it wrote nothing" } else { "its last lines:\n" };
        let failure = Failure { class, message: format!("{trouble}; {words}{last_lines}") };
        End::Died { loss: Loss { failure, attempt, peak_memory_mib: watch.peak_mib }, was_ready }
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
