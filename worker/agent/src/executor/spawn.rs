//! Starting processes that die with this one.
//!
//! The kernel sends the parent-death signal when the *thread* that forked ends, and threads of the async runtime come and go: hence one thread that
//! lives as long as the process and starts every executor.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::sync::LazyLock;
use std::sync::mpsc;
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, Signal};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Request {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: LazyLock<Result<mpsc::Sender<Request>, String>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel();
    let thread = thread::Builder::new().name("executor-spawner".to_owned()).spawn(move || serve(&requests));
    thread.map(|_| sender).map_err(|error| error.to_string())
});

fn serve(requests: &mpsc::Receiver<Request>) {
    while let Ok(Request { mut command, runtime, reply }) = requests.recv() {
        let _entered = runtime.enter();
        // A child whose asker is gone is killed as it is dropped.
        let _ = reply.send(command.spawn());
    }
}

/// Starts a process in a group of its own that is killed when this process ends, however it ends.
pub(crate) async fn spawn(mut command: std::process::Command) -> io::Result<Child> {
    command.process_group(0);
    let agent = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe { command.pre_exec(move || die_with(agent).and_then(|()| ignore_farewells())) };
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let (reply, answer) = oneshot::channel();
    let spawner = SPAWNER.as_ref().map_err(|problem| io::Error::other(problem.clone()))?;
    let gone = || io::Error::other("the thread that starts executors is gone");
    spawner.send(Request { command, runtime: Handle::current(), reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// Slurm and others signal every process of a job: what that means for an executor is its agent's to say, who asks it to stop at a checkpoint.
fn ignore_farewells() -> io::Result<()> {
    for number in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: no handler is installed; that the signal is ignored outlives exec.
        unsafe { signal::signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}

fn die_with(agent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have died before the signal was asked for.
    if getppid() == agent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
}
