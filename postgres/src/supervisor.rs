//! The thread that owns the server: it forks every process, watches the server and starts it again when it dies.

use std::fs::File;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::Flock;

use crate::account::Account;
use crate::binaries::{self, Binaries};
use crate::places::{self, Layout};
use crate::server::Server;
use crate::{Durability, Error, Options, cluster, leftovers};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A server that ran this long is not in a crash loop.
const STEADY: Duration = Duration::from_secs(30);

/// What the supervisor is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The server accepts connections.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// The server died and is being started again, with growing pauses, for as long as it takes.
    Restarting {
        /// Which attempt this is.
        attempt: u32,
        /// Why it is not running.
        reason: String,
    },
    /// The server was stopped.
    Stopped,
}

#[derive(Debug)]
struct Shared {
    status: Status,
    restarts: u32,
}

enum Request {
    Restart(Sender<Result<(), Error>>),
}

/// The program's end of the thread. Dropping it stops the server and waits for that.
#[derive(Debug)]
pub(crate) struct Handle {
    requests: Option<Sender<Request>>,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(crate) fn status(&self) -> Status {
        locked(&self.shared).status.clone()
    }

    pub(crate) fn restarts(&self) -> u32 {
        locked(&self.shared).restarts
    }

    pub(crate) fn restart(&self) -> Result<(), Error> {
        let (reply, answer) = mpsc::channel();
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(Request::Restart(reply)).is_ok());
        if !sent {
            return Err(gone());
        }
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A closed channel is what tells the thread to stop.
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the supervisor of the private Postgres panicked");
        }
    }
}

/// Starts the thread and waits until the server runs.
pub(crate) fn start(options: Options) -> Result<(Handle, Layout), Error> {
    let (requests, inbox) = mpsc::channel();
    let (report, started) = mpsc::channel();
    let shared = Arc::new(Mutex::new(Shared { status: Status::Stopped, restarts: 0 }));
    let thread = thread::Builder::new()
        .name("postgres".to_owned())
        .spawn({
            let shared = Arc::clone(&shared);
            move || match Supervisor::prepare(&options, shared) {
                Ok(mut supervisor) => {
                    // If nobody listens any more, the closed inbox ends the run at once.
                    drop(report.send(Ok(supervisor.plan.layout.clone())));
                    supervisor.run(&inbox);
                }
                Err(error) => drop(report.send(Err(error))),
            }
        })
        .map_err(|source| Error::Io { action: "start the thread that watches Postgres".to_owned(), source })?;
    let handle = Handle { requests: Some(requests), shared, thread: Some(thread) };
    let layout = started.recv().unwrap_or_else(|_| Err(gone()))?;
    Ok((handle, layout))
}

/// Everything a start needs.
struct Plan {
    layout: Layout,
    binaries: Binaries,
    account: Account,
    durability: Durability,
}

impl Plan {
    fn start(&self) -> Result<Server, Error> {
        Server::start(&self.layout, &self.binaries, &self.account, self.durability)
    }
}

struct Supervisor {
    plan: Plan,
    shared: Arc<Mutex<Shared>>,
    server: Option<Server>,
    running_since: Instant,
    failures: u32,
    next_attempt: Instant,
    // Held until the server is gone: fields are dropped in this order.
    _lock: Flock<File>,
}

impl Supervisor {
    fn prepare(options: &Options, shared: Arc<Mutex<Shared>>) -> Result<Self, Error> {
        let home = places::home(&options.state_dir)?;
        let lock = leftovers::lock(&home, &options.state_dir)?;
        let plan = plan(options, &home)?;
        let server = plan.start()?;
        let now = Instant::now();
        let mut supervisor =
            Supervisor { plan, shared, server: None, running_since: now, failures: 0, next_attempt: now, _lock: lock };
        supervisor.adopt(server);
        Ok(supervisor)
    }

    fn run(&mut self, inbox: &Receiver<Request>) {
        loop {
            match inbox.recv_timeout(LOOK_AGAIN) {
                Ok(Request::Restart(reply)) => drop(reply.send(self.restart())),
                Err(RecvTimeoutError::Timeout) => self.watch(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.stop();
        locked(&self.shared).status = Status::Stopped;
    }

    fn watch(&mut self) {
        if let Some(status) = self.server.as_mut().and_then(Server::ended) {
            self.server = None;
            if self.running_since.elapsed() > STEADY {
                self.failures = 0;
            }
            tracing::warn!(%status, "the private Postgres died; starting it again");
            self.postpone(status);
        }
        if self.server.is_none() && Instant::now() >= self.next_attempt {
            // Reported by `restart`; a later look tries again.
            drop(self.restart());
        }
    }

    fn restart(&mut self) -> Result<(), Error> {
        if self.server.is_some() {
            let reason = "a restart was asked for".to_owned();
            locked(&self.shared).status = Status::Restarting { attempt: 1, reason };
        }
        self.stop();
        match self.plan.start() {
            Ok(server) => {
                self.adopt(server);
                locked(&self.shared).restarts += 1;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the private Postgres does not start");
                self.postpone(error.to_string());
                Err(error)
            }
        }
    }

    fn adopt(&mut self, server: Server) {
        let pid = server.pid();
        tracing::info!(pid, version = %self.plan.binaries.version, data = %self.plan.layout.data_dir.display(),
            "the private Postgres is running");
        self.server = Some(server);
        self.running_since = Instant::now();
        locked(&self.shared).status = Status::Running { pid };
    }

    fn postpone(&mut self, reason: String) {
        self.failures = self.failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(10)).min(LONGEST_PAUSE);
        self.next_attempt = Instant::now() + pause;
        locked(&self.shared).status = Status::Restarting { attempt: self.failures, reason };
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
        // It may lie in the temporary directory, where nobody else would remove it; the next start makes it anew.
        drop(std::fs::remove_dir(&self.plan.layout.socket_dir));
    }
}

fn plan(options: &Options, home: &std::path::Path) -> Result<Plan, Error> {
    let (base, owner) = places::locate(home)?;
    let account = Account::choose(owner, &base.join("data"))?;
    let base = places::reachable_base(home, base, &account)?;
    let binaries = places::reachable_binaries(binaries::find(&base.join("data"))?, &account)?;
    let layout = places::layout(&base, &account, &binaries)?;
    cluster::ensure(&layout.data_dir, options.template.as_deref(), &binaries, &account, options.durability)?;
    Ok(Plan { layout, binaries, account, durability: options.durability })
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Every change is a single assignment, so a panic elsewhere cannot leave it half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> Error {
    Error::Failed { program: "the thread that watches Postgres".to_owned(), problem: "it ended".to_owned() }
}
