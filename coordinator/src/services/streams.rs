//! Answers that come in pieces, at the pace of whoever reads them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gauntlet_domain::results::ResultRow;
use gauntlet_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::wire;
use crate::shared::Shared;
use crate::status::Error;
use crate::store::SweepStatus;
use crate::time_left;

/// Messages that may wait to be read.
const AHEAD: usize = 16;
/// Rows of results read at once.
const PAGE: i64 = 1000;
/// Least time between two looks at a watched sweep.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Most time between two looks: progress and other coordinators tell nobody.
const GLANCE: Duration = Duration::from_secs(1);

type Answers<T> = mpsc::Sender<Result<T, Status>>;

/// Runs what makes the answers until it is done, nobody reads them, or the coordinator stops.
fn stream<T, F, Fut>(shared: &Arc<Shared>, make: F) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    F: FnOnce(Answers<T>) -> Fut,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (answers, receiver) = mpsc::channel(AHEAD);
    let making = make(answers.clone());
    let stop = shared.stop.clone();
    shared.tasks.spawn(async move {
        let result = tokio::select! {
            result = making => result,
            () = answers.closed() => Ok(()),
            () = stop.cancelled() => Err(Error::ShuttingDown),
        };
        if let Err(error) = result {
            drop(answers.try_send(Err(error.into())));
        }
    });
    ReceiverStream::new(receiver)
}

/// A sweep whenever something changed, until it has ended. It outlives an absence of the database.
pub fn watch(shared: Arc<Shared>, first: SweepStatus) -> ReceiverStream<Result<v1::Sweep, Status>> {
    let watcher = Arc::clone(&shared);
    stream(&shared, |answers| async move {
        let mut changes = watcher.changes.subscribe();
        let mut status = first;
        let id = status.id.clone();
        let mut said: Option<v1::Sweep> = None;
        loop {
            let over = status.is_over();
            let mut now = wire::sweep(&watcher, status.clone());
            now.seconds_left = time_left::of(&watcher, &status).await.unwrap_or_default();
            if said.as_ref() != Some(&now) && answers.send(Ok(now.clone())).await.is_err() || over {
                return Ok(());
            }
            said = Some(now);
            changes.mark_unchanged();
            let looked = Instant::now();
            let fresh = watcher.outage.note(watcher.store.sweep_status(&id).await);
            match fresh {
                Ok(Some(fresh)) => status = fresh,
                Ok(None) => return Err(Error::NotFound(format!("sweep `{id}` was deleted"))),
                Err(error) if error.is_unavailable() => {}
                Err(error) => return Err(error.into()),
            }
            // A big sweep takes longer to look at, and is looked at less often.
            tokio::time::sleep(DEBOUNCE.max(looked.elapsed() * 10).min(Duration::from_secs(5))).await;
            drop(tokio::time::timeout(GLANCE.saturating_sub(DEBOUNCE), changes.changed()).await);
        }
    })
}

/// The results of a sweep.
pub fn results(shared: Arc<Shared>, sweep: String) -> ReceiverStream<Result<v1::ResultRow, Status>> {
    let reader = Arc::clone(&shared);
    stream(&shared, |answers| async move {
        let mut position = None;
        loop {
            let page = reader.outage.note(reader.store.results_after(&sweep, position, PAGE).await)?;
            if page.last.is_none() {
                return still_there(&reader, &sweep).await;
            }
            position = page.last;
            for row in page.rows {
                if answers.send(Ok(row.into())).await.is_err() {
                    return Ok(());
                }
            }
        }
    })
}

/// What the analyses of a sweep came to.
pub fn analyses(shared: Arc<Shared>, sweep: String) -> ReceiverStream<Result<v1::AnalysisRow, Status>> {
    let reader = Arc::clone(&shared);
    stream(&shared, |answers| async move {
        let mut place = None;
        loop {
            let page = reader.outage.note(reader.store.analyses_after(&sweep, place, PAGE).await)?;
            if page.last.is_none() {
                return still_there(&reader, &sweep).await;
            }
            place = page.last;
            for row in page.rows {
                if answers.send(Ok(row.into())).await.is_err() {
                    return Ok(());
                }
            }
        }
    })
}

/// The images that the analyses of a sweep left, one analysis at a time.
pub fn analysis_images(shared: Arc<Shared>, sweep: String) -> ReceiverStream<Result<v1::AnalysisImageRow, Status>> {
    let reader = Arc::clone(&shared);
    stream(&shared, |answers| async move {
        let mut position = None;
        while let Some(images) = reader.outage.note(reader.store.images_after(&sweep, position).await)? {
            position = Some(images.position);
            for row in images.rows {
                if answers.send(Ok(row.into())).await.is_err() {
                    return Ok(());
                }
            }
        }
        still_there(&reader, &sweep).await
    })
}

/// The outcomes of a sweep, one row of the results at a time.
pub fn outcomes(shared: Arc<Shared>, sweep: String) -> ReceiverStream<Result<v1::OutcomeBatch, Status>> {
    let reader = Arc::clone(&shared);
    stream(&shared, |answers| async move {
        let mut position = None;
        while let Some(cell) = reader.outage.note(reader.store.outcomes_after(&sweep, position).await)? {
            position = Some(cell.position);
            let ResultRow { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, .. } = cell.row;
            let outcomes = Some(cell.outcomes.into());
            let batch = v1::OutcomeBatch { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, outcomes };
            // Batches are big: the next one is read when this one is taken.
            let Ok(place) = answers.reserve_many(AHEAD).await else { return Ok(()) };
            let Some(place) = place.into_iter().next() else { return Ok(()) };
            place.send(Ok(batch));
        }
        still_there(&reader, &sweep).await
    })
}

/// Whoever read a sweep that was deleted meanwhile must not take a part for the whole.
async fn still_there(shared: &Shared, sweep: &str) -> Result<(), Error> {
    match shared.outage.note(shared.store.sweep_status(sweep).await)? {
        Some(_) => Ok(()),
        None => Err(Error::NotFound(format!("sweep `{sweep}` was deleted while it was read"))),
    }
}
