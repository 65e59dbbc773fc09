//! What the services and the loops share, and what follows from a committed transaction.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_domain::task::TaskState;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::looks::Ripe;
use crate::outage::Outage;
use crate::reports::Reports;
use crate::sessions::Sessions;
use crate::store::{Store, Transition};
use crate::time_left::TimesLeft;

/// What the services and the loops share.
#[derive(Debug)]
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// The workers that are here.
    pub sessions: Sessions,
    /// What they report, on its way to the database.
    pub reports: Reports,
    /// Whether the database is there.
    pub outage: Outage,
    /// Wakes the scheduling loop.
    pub dispatch: Notify,
    /// What became ready since the loop looked, where it asks for that.
    pub ripe: Ripe,
    /// Wakes the loop that removes what was deleted.
    pub removal: Notify,
    /// Held from a claim until the sessions know of it, so that nobody takes a fresh lease for a forgotten one.
    pub claiming: Mutex<()>,
    /// How long sweeps will still take, as last found.
    pub times_left: TimesLeft,
    /// Changes with every transition.
    pub changes: watch::Sender<u64>,
    /// Everything ends.
    pub stop: CancellationToken,
    /// Tasks to wait for at the end.
    pub tasks: TaskTracker,
}

impl Shared {
    /// Of a coordinator that is about to start.
    pub fn new(config: Config, store: Store, reports: Reports) -> Self {
        Self {
            config,
            store,
            sessions: Sessions::default(),
            reports,
            outage: Outage::default(),
            dispatch: Notify::new(),
            ripe: Ripe::default(),
            removal: Notify::new(),
            claiming: Mutex::new(()),
            times_left: TimesLeft::default(),
            changes: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Something changed that no transition tells of, such as new tasks.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        self.dispatch.notify_one();
    }

    /// Tells everybody concerned of transitions that are committed: the log, workers that must stop, the scheduler, those who watch.
    pub fn committed(self: &Arc<Self>, transitions: &[Transition]) {
        for transition in transitions {
            log(transition);
            if let Some((attempt, worker)) = transition.ended_attempt() {
                self.sessions.ended(worker, attempt, transition.taken_away());
            }
            let wait = transition.after.not_before.0.saturating_sub(transition.now.0);
            if transition.after.state == TaskState::Ready && wait > 0 {
                self.wake_after(Duration::from_micros(wait.unsigned_abs()));
            }
        }
        self.ripe.note(transitions.iter().filter(|it| it.after.state == TaskState::Ready).map(|it| it.task));
        if !transitions.is_empty() {
            self.changed();
        }
    }

    fn wake_after(self: &Arc<Self>, wait: Duration) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = tokio::time::sleep(wait) => shared.dispatch.notify_one(),
            }
        });
    }
}

fn log(transition: &Transition) {
    let Transition { task, label, before, after, event, .. } = transition;
    let worker = before.lease.as_ref().or(after.lease.as_ref()).map(|lease| tracing::field::display(&lease.worker));
    tracing::info!(
        task = task.short(),
        label,
        from = before.state.name(),
        to = after.state.name(),
        attempt = after.attempt.0,
        worker,
        reason = after.reason,
        "{event}"
    );
}
