//! One executor process: its pipes, its last words, its end.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gauntlet_executor_ipc::{Event, FrameError, MAX_LINE_BYTES, Request, decode, encode};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::spawn;

/// Lines of stderr kept as evidence, and bytes of each.
const LAST_LINES: usize = 20;
const LINE_BYTES: usize = 500;
/// How long the end of a process and the end of its output may lie apart.
const AFTERMATH: Duration = Duration::from_secs(1);
/// Has glibc keep freed memory instead of giving it back: a pass allocates and frees the same activations again and again, and getting their pages
/// anew from the kernel took a tenth to a fifth of an attack's time. What an executor holds at its peak stays the same.
const KEEP_FREED_MEMORY: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "1073741824"), ("MALLOC_TRIM_THRESHOLD_", "4294967296")];

/// What a process does next.
#[derive(Debug)]
pub(super) enum Happening {
    Said(Event),
    /// What it says cannot be understood.
    Garbled(FrameError),
    /// It can say nothing any more, and yet it went on: it was killed.
    Mute,
    Exited(Option<ExitStatus>),
}

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    events: mpsc::Receiver<Result<Event, FrameError>>,
    requests: mpsc::UnboundedSender<Vec<u8>>,
    last_lines: LastLines,
    stderr: JoinHandle<()>,
    exited: Option<ExitStatus>,
}

impl Process {
    pub(super) async fn start(
        binary: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        slot: usize,
    ) -> std::io::Result<Self> {
        let mut command = std::process::Command::new(binary);
        let unset = KEEP_FREED_MEMORY.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
        command.envs(unset);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn::spawn(command).await?;
        prefer_for_oom(child.id());
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(std::io::Error::other("an executor without pipes"));
        };
        let (event_sender, events) = mpsc::channel(64);
        let (requests, request_receiver) = mpsc::unbounded_channel();
        let last_lines = LastLines::default();
        tokio::spawn(read_events(BufReader::new(stdout), event_sender));
        tokio::spawn(write_requests(stdin, request_receiver));
        let stderr = tokio::spawn(read_stderr(BufReader::new(stderr), slot, last_lines.clone()));
        Ok(Self { child, events, requests, last_lines, stderr, exited: None })
    }

    /// Sends a request; a pipe that is broken shows as an exit.
    pub(super) fn send(&self, request: &Request) -> Result<(), FrameError> {
        let line = encode(request)?;
        let _ = self.requests.send(line);
        Ok(())
    }

    /// Waits for what comes next. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Happening {
        if self.exited.is_none() {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(Ok(event)) => return Happening::Said(event),
                    Some(Err(error)) => return Happening::Garbled(error),
                    None => {}
                },
                status = self.child.wait() => self.exited = status.ok(),
            }
        }
        // Its end and the end of its output follow each other at once, unless something odd goes on.
        match timeout(AFTERMATH, self.events.recv()).await {
            Ok(Some(Ok(event))) => return Happening::Said(event),
            Ok(Some(Err(error))) => return Happening::Garbled(error),
            Ok(None) | Err(_) => {}
        }
        if timeout(AFTERMATH, self.child.wait()).await.is_err() {
            self.kill().await;
            return Happening::Mute;
        }
        Happening::Exited(self.child.wait().await.ok())
    }

    /// Kills it, with all it may have started, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        // Without an id it has been waited for, and its number may belong to another.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            match killpg(Pid::from_raw(id), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => tracing::error!(pid = id, %error, "an executor cannot be killed"),
            }
        }
        if let Err(error) = self.child.wait().await {
            tracing::error!(%error, "an executor cannot be waited for");
        }
    }

    /// Its process id while it lives.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last lines it wrote, for a report.
    pub(super) async fn last_words(&mut self) -> String {
        let _ = timeout(AFTERMATH, &mut self.stderr).await;
        self.last_lines.text()
    }
}

/// Where memory runs out, the kernel shall take an executor, not the agent that is to tell of it.
fn prefer_for_oom(pid: Option<u32>) {
    let Some(pid) = pid else { return };
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500") {
        tracing::debug!(pid, %error, "the executor is not marked as first to go when memory runs out");
    }
}

#[derive(Debug, Clone, Default)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

async fn read_events(mut stdout: impl AsyncBufRead + Unpin, events: mpsc::Sender<Result<Event, FrameError>>) {
    while let Some(event) = read_event(&mut stdout).await.transpose() {
        let broken = event.is_err();
        if events.send(event).await.is_err() || broken {
            return;
        }
    }
}

async fn read_event(stdout: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Event>, FrameError> {
    let mut line = Vec::new();
    // One byte more than allowed tells a line that is too long from one that just fits.
    stdout.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(_) if line.len() > MAX_LINE_BYTES => Err(FrameError::TooLong { found: line.len() }),
        Some(b'\n') => decode(&line).map(Some),
        // It died while it wrote; how it died says more.
        Some(_) => Ok(None),
    }
}

async fn write_requests(mut stdin: ChildStdin, mut requests: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = requests.recv().await {
        // A broken pipe shows as an exit, which says why.
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read_stderr(mut stderr: impl AsyncBufRead + Unpin, slot: usize, last_lines: LastLines) {
    loop {
        let mut line = Vec::new();
        // Longer lines come in pieces.
        match (&mut stderr).take(4096).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return tracing::debug!(slot, %error, "an executor's stderr cannot be read"),
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        tracing::info!(target: "gauntlet_executor", slot, "{text}");
        last_lines.push(String::from_utf8_lossy(&text.as_bytes()[..text.len().min(LINE_BYTES)]).into_owned());
    }
}
