//! Reports on the disk: one file each, written before the report is first sent, deleted when it is acknowledged.
//!
//! A file is the SHA-256 of the encoded report, then the encoded report. A thread of its own writes them, many with one sync of the folder where
//! they come fast. A report that the disk will not have stays in memory, is tried again, and may be sent meanwhile: delivering it is what counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as thread_channel;
use std::thread;
use std::time::Duration;

use gauntlet_domain::{AttemptRef, Digest};
use gauntlet_proto::{convert, v1};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::durable;
use crate::event::Event;
use crate::outbox::Sequence;

const EXTENSION: &str = "report";
const CORRUPT: &str = "corrupt";
const RETRY: Duration = Duration::from_secs(1);
/// Most files written between two syncs of the folder.
const BATCH: usize = 128;

/// What the writing thread tells.
#[derive(Debug)]
pub(crate) enum SpoolEvent {
    /// These are on disk now.
    Written(Vec<Sequence>),
    /// These are not; they are tried again.
    Unwritable(Vec<Sequence>, String),
}

/// What an earlier life of the agent left.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) reports: Vec<(Sequence, AttemptRef, v1::Report)>,
    pub(crate) next: Sequence,
}

/// Reads the spool. Files that make no sense are moved aside, with an error in the log.
pub(crate) fn recover(folder: &Path) -> io::Result<Recovered> {
    durable::remove_partial_files(folder)?;
    let mut recovered = Recovered::default();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match read(&path) {
            Ok(report) => recovered.reports.push(report),
            Err(problem) => set_aside(folder, &path, &problem)?,
        }
    }
    recovered.reports.sort_by_key(|(sequence, ..)| *sequence);
    recovered.next = recovered.reports.last().map_or(0, |(sequence, ..)| sequence + 1);
    Ok(recovered)
}

fn read(path: &Path) -> Result<(Sequence, AttemptRef, v1::Report), String> {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sequence = name.parse().map_err(|_| format!("its name `{name}` is not a number"))?;
    let content = fs::read(path).map_err(|error| error.to_string())?;
    let (digest, encoded) = content.split_first_chunk::<32>().ok_or("it is too short")?;
    if Digest::of(encoded).as_bytes() != digest {
        return Err("its content has changed since it was written".to_owned());
    }
    let report = v1::Report::decode(encoded).map_err(|error| error.to_string())?;
    let attempt = convert::attempt_ref(report.attempt.clone()).map_err(|error| error.to_string())?;
    Ok((sequence, attempt, report))
}

fn set_aside(folder: &Path, path: &Path, problem: &str) -> io::Result<()> {
    let corrupt = folder.join(CORRUPT);
    fs::create_dir_all(&corrupt)?;
    let name = path.file_name().unwrap_or_default();
    tracing::error!(file = %path.display(), problem, "a spooled report is lost: its file is moved to {}", corrupt.display());
    fs::rename(path, corrupt.join(name))
}

enum Command {
    Write(Sequence, Box<v1::Report>),
    Delete(Sequence),
}

/// The writing thread.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: thread_channel::Sender<Command>,
    thread: thread::JoinHandle<()>,
}

impl Spool {
    pub(crate) fn start(folder: PathBuf, events: mpsc::Sender<Event>) -> io::Result<Self> {
        let (commands, receiver) = thread_channel::channel();
        let writer = Writer { folder, events, pending: Vec::new(), failing: false };
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { commands, thread })
    }

    pub(crate) fn write(&self, sequence: Sequence, report: v1::Report) {
        self.command(Command::Write(sequence, Box::new(report)));
    }

    pub(crate) fn delete(&self, sequence: Sequence) {
        self.command(Command::Delete(sequence));
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("the thread that writes the spool is gone");
        }
    }

    /// Waits until everything is written, or has been tried once more.
    pub(crate) async fn close(self) {
        let Self { commands, thread } = self;
        drop(commands);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that writes the spool has panicked");
        }
    }
}

struct Writer {
    folder: PathBuf,
    events: mpsc::Sender<Event>,
    pending: Vec<(Sequence, Box<v1::Report>)>,
    failing: bool,
}

impl Writer {
    fn run(mut self, commands: &thread_channel::Receiver<Command>) {
        loop {
            let first = if self.pending.is_empty() && !self.failing {
                commands.recv().map_err(|_| thread_channel::RecvTimeoutError::Disconnected)
            } else {
                commands.recv_timeout(RETRY)
            };
            let open = !matches!(first, Err(thread_channel::RecvTimeoutError::Disconnected));
            for command in first.into_iter().chain(commands.try_iter()).take(BATCH) {
                self.obey(command);
            }
            self.write_pending();
            if !open {
                break;
            }
        }
        for (sequence, _) in self.pending {
            tracing::error!(sequence, "a report could not be kept: the attempt will be repeated");
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Write(sequence, report) => self.pending.push((sequence, report)),
            Command::Delete(sequence) => {
                self.pending.retain(|(pending, _)| *pending != sequence);
                match fs::remove_file(self.path(sequence)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(sequence, %error, "an acknowledged report stays on disk and will be sent again");
                    }
                    _ => {}
                }
            }
        }
    }

    fn write_pending(&mut self) {
        if self.pending.is_empty() && !self.failing {
            return;
        }
        let sequences: Vec<Sequence> = self.pending.iter().map(|(sequence, _)| *sequence).collect();
        let event = match self.try_to_write() {
            Ok(()) => {
                self.pending.clear();
                self.failing = false;
                SpoolEvent::Written(sequences)
            }
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, reports = sequences.len(), "the spool cannot be written");
                self.failing = true;
                SpoolEvent::Unwritable(sequences, error.to_string())
            }
        };
        // Nobody listens any more when the agent leaves.
        let _ = self.events.blocking_send(Event::Spool(event));
    }

    fn try_to_write(&self) -> io::Result<()> {
        if self.pending.is_empty() {
            // Everything was delivered meanwhile: is the disk well again?
            let probe = self.folder.join("probe");
            durable::write_whole(&probe, b"probe")?;
            return fs::remove_file(probe);
        }
        for (sequence, report) in &self.pending {
            let encoded = report.encode_to_vec();
            let content = [Digest::of(&encoded).as_bytes(), encoded.as_slice()].concat();
            durable::write_whole(&self.path(*sequence), &content)?;
        }
        durable::sync_folder(&self.folder)
    }

    fn path(&self, sequence: Sequence) -> PathBuf {
        self.folder.join(format!("{sequence:020}.{EXTENSION}"))
    }
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::{AttemptNumber, TaskId};

    use super::*;
    use crate::report::Content;

    fn attempt() -> AttemptRef {
        AttemptRef { task: TaskId::from_digest(Digest::of(b"task")), attempt: AttemptNumber(1) }
    }

    fn report(message: &str) -> v1::Report {
        Content::HandedBack(message.to_owned()).into_report(attempt())
    }

    async fn spool(folder: &Path, reports: &[(Sequence, &v1::Report)]) {
        let (events, mut receiver) = mpsc::channel(16);
        let spool = Spool::start(folder.to_owned(), events).unwrap();
        for (sequence, report) in reports {
            spool.write(*sequence, (*report).clone());
        }
        spool.close().await;
        assert!(matches!(receiver.recv().await, Some(Event::Spool(SpoolEvent::Written(_)))));
    }

    #[tokio::test]
    async fn reports_come_back_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (report("first"), report("second"));
        spool(folder.path(), &[(9, &first), (10, &second)]).await;
        let recovered = recover(folder.path()).unwrap();
        assert_eq!(recovered.reports, [(9, attempt(), first), (10, attempt(), second)]);
        assert_eq!(recovered.next, 11);
    }

    #[tokio::test]
    async fn files_that_make_no_sense_are_moved_aside_and_the_others_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let good = report("good");
        spool(folder.path(), &[(1, &report("changed")), (2, &report("cut")), (3, &good)]).await;
        let path = |sequence: Sequence| folder.path().join(format!("{sequence:020}.{EXTENSION}"));
        let mut content = fs::read(path(1)).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(path(1), content).unwrap();
        fs::write(path(2), fs::read(path(2)).unwrap().get(..20).unwrap()).unwrap();
        fs::write(folder.path().join("half.report.partial"), b"half").unwrap();
        let recovered = recover(folder.path()).unwrap();
        assert_eq!(recovered.reports, [(3, attempt(), good)]);
        assert_eq!(fs::read_dir(folder.path().join(CORRUPT)).unwrap().count(), 2);
    }
}
