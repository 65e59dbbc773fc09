//! The agent's side: its requests, and whether it is still there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use gauntlet_executor_ipc::{Request, read_message};
use rustix::process::{Signal, getpid, getppid, kill_process};

/// How often this process looks whether its parent is still the one that started it.
const PARENT_CHECK: Duration = Duration::from_millis(500);

/// What the agent wants while a task is computed.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Whether a task has come in that is not done.
    busy: AtomicBool,
    /// Whether that task is to stop.
    yields: AtomicBool,
}

impl Wishes {
    pub(crate) const fn new() -> Self {
        Self { busy: AtomicBool::new(false), yields: AtomicBool::new(false) }
    }

    /// The task that came in is done.
    pub(crate) fn done(&self) {
        self.busy.store(false, Ordering::SeqCst);
    }

    /// Whether the task is to stop in good order.
    pub(crate) fn yields(&self) -> bool {
        self.yields.load(Ordering::SeqCst)
    }
}

/// Starts listening. The channel ends when stdin closes while this process is idle; when it closes in the middle of a computation, the process ends at
/// once: nobody is there to take the result, and the agent's successor may already run the same attempt's next number.
pub(crate) fn listen(wishes: &'static Wishes) -> io::Result<Receiver<Request>> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || read_requests(&sender, wishes))?;
    // stdin closes when the agent dies, unless another process inherited its end of the pipe. PR_SET_PDEATHSIG would not do instead: it fires when the
    // *thread* that forked ends, and the threads of an async runtime come and go.
    thread::Builder::new().name("parent".to_owned()).spawn(watch_parent)?;
    Ok(receiver)
}

fn read_requests(sender: &SyncSender<Request>, wishes: &Wishes) {
    let mut stdin = io::stdin().lock();
    let mut latest = None;
    loop {
        match read_message::<Request>(&mut stdin) {
            Ok(Some(Request::Yield { attempt })) => {
                // Of an attempt that is over the next one knows nothing: the flag is taken back before it begins.
                if latest == Some(attempt) {
                    wishes.yields.store(true, Ordering::SeqCst);
                }
            }
            Ok(Some(request)) => {
                if let Request::Execute(execute) = &request {
                    latest = Some(execute.attempt);
                    wishes.yields.store(false, Ordering::SeqCst);
                    // Set here and not where the request is taken up: stdin may close in between.
                    wishes.busy.store(true, Ordering::SeqCst);
                }
                if sender.send(request).is_err() {
                    return;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the agent's request cannot be read");
                break;
            }
        }
    }
    if wishes.busy.load(Ordering::SeqCst) {
        die();
    }
}

fn watch_parent() {
    let parent = getppid();
    while getppid() == parent {
        thread::sleep(PARENT_CHECK);
    }
    die();
}

/// Ends this process without running destructors: another thread may be in the middle of libtorch.
pub(crate) fn die() {
    let _ignored = kill_process(getpid(), Signal::KILL);
}
