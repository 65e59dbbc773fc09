//! Images decoded ahead of whoever uses them.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::{DataError, InFile};
use crate::folder::ImageFolder;
use crate::images::black;
use crate::picture::{ImageProblem, View};

/// Batches that are asked for ahead of the one that is used.
const AHEAD: usize = 3;

/// An image to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the example.
    pub example: usize,
    /// What of it.
    pub view: View,
}

/// Threads that decode the images of batches in the order in which they are asked for.
///
/// At most [`AHEAD`] batches are held, so memory is bounded. Dropping it stops the threads after the image each is at.
pub struct Loader {
    folder: Arc<ImageFolder>,
    tasks: Option<Sender<Task>>,
    done: Receiver<Done>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    batches: VecDeque<Batch>,
    /// Number of the first of `batches`.
    first: usize,
}

struct Task {
    batch: usize,
    row: usize,
    wanted: Wanted,
}

struct Done {
    batch: usize,
    row: usize,
    pixels: Result<Vec<u8>, DataError>,
}

/// A batch on its way.
struct Batch {
    pixels: Vec<u8>,
    missing: usize,
    /// Of the first row that failed.
    error: Option<(usize, DataError)>,
}

impl Loader {
    /// Starts so many threads.
    pub fn new(folder: Arc<ImageFolder>, threads: usize) -> Self {
        let (tasks, queue) = mpsc::channel();
        let (results, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let stopped = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let (folder, queue) = (Arc::clone(&folder), Arc::clone(&queue));
            let (results, stopped) = (results.clone(), Arc::clone(&stopped));
            thread::spawn(move || work(&folder, &queue, &results, &stopped))
        };
        let threads = (0..threads.max(1)).map(start).collect();
        Self { folder, tasks: Some(tasks), done, stopped, threads, batches: VecDeque::new(), first: 0 }
    }

    /// Whether another batch may be asked for before one is taken.
    pub fn has_room(&self) -> bool {
        self.batches.len() < AHEAD
    }

    /// Asks for a batch.
    ///
    /// # Errors
    /// No memory for it.
    pub fn ask(&mut self, wanted: &[Wanted]) -> Result<(), DataError> {
        let batch = self.first + self.batches.len();
        self.batches.push_back(Batch {
            pixels: black(wanted.len(), self.folder.shape())?,
            missing: wanted.len(),
            error: None,
        });
        for (row, wanted) in wanted.iter().enumerate() {
            let task = Task { batch, row, wanted: *wanted };
            // The threads live as long as this does.
            let _sent = self.tasks.as_ref().map(|tasks| tasks.send(task));
        }
        Ok(())
    }

    /// The pixels u8 \[n,C,H,W\] of the earliest batch that was asked for and not taken; none if there is none.
    ///
    /// # Errors
    /// A file of it that is damaged or not the one of the manifest: of several, the first of the batch.
    pub fn take(&mut self) -> Option<Result<Vec<u8>, DataError>> {
        while self.batches.front()?.missing > 0 {
            let Done { batch, row, pixels } = self.done.recv().ok()?;
            self.note(batch, row, pixels);
        }
        self.first += 1;
        let batch = self.batches.pop_front()?;
        Some(batch.error.map_or(Ok(batch.pixels), |(_, error)| Err(error)))
    }

    fn note(&mut self, batch: usize, row: usize, pixels: Result<Vec<u8>, DataError>) {
        let Some(batch) = self.batches.get_mut(batch - self.first) else { return };
        batch.missing -= 1;
        match pixels {
            Ok(pixels) => batch.pixels[row * pixels.len()..][..pixels.len()].copy_from_slice(&pixels),
            Err(error) if batch.error.as_ref().is_none_or(|(earlier, _)| row < *earlier) => {
                batch.error = Some((row, error));
            }
            Err(_) => {}
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A panic was an error of its image.
            let _ended = thread.join();
        }
    }
}

fn work(folder: &ImageFolder, queue: &Mutex<Receiver<Task>>, results: &Sender<Done>, stopped: &AtomicBool) {
    let mut reader = folder.reader();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { batch, row, wanted }) = next else { return };
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let Wanted { example, view } = wanted;
        let read = panic::catch_unwind(AssertUnwindSafe(|| reader.read(example, view)));
        let pixels = read.unwrap_or_else(|_| {
            reader = folder.reader();
            let problem = ImageProblem::Damaged { reason: "the decoder gave up".to_owned() };
            Err(problem).in_file(&folder.path(example))
        });
        if results.send(Done { batch, row, pixels }).is_err() {
            return;
        }
    }
}
