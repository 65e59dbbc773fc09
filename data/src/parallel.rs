//! Work spread over threads.

use std::sync::Mutex;
use std::thread;

/// Does `work` on every item. Of several errors the one of the earliest item is given, whatever the threads do.
pub(crate) fn for_each<I, E>(items: I, threads: usize, work: impl Fn(I::Item) -> Result<(), E> + Sync) -> Result<(), E>
where
    I: Iterator + Send,
    E: Send,
{
    let items = Mutex::new(Some(items.enumerate()));
    let first: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let take = || lock(&items).as_mut().and_then(Iterator::next);
    let run = || {
        while let Some((index, item)) = take() {
            if let Err(error) = work(item) {
                // What comes before this item was taken before it; nothing after it matters.
                *lock(&items) = None;
                let mut first = lock(&first);
                if first.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                    *first = Some((index, error));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(run);
        }
        run();
    });
    let found = lock(&first).take();
    found.map_or(Ok(()), |(_, error)| Err(error))
}

/// The lock, also after a panic elsewhere: what it guards is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As many threads as the machine has cores for this process.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
