//! Takes slots back for sweeps that may preempt others: what runs is asked to stop at a checkpoint and is handed back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gauntlet_domain::schedule::{
    Demand, DemandKey, Outlook, QueueView, RunningView, Snapshot, WorkerView, outlook, preemptions,
};

use crate::dispatch::Memory;
use crate::shared::Shared;
use crate::store::{Contenders, Error, Front, Marks};

/// Tasks of a preempting sweep that are looked at.
const LOOK: usize = 64;

/// Asks for as much as the preempting sweeps could start and may take, of what runs on the workers of this coordinator.
pub async fn pass(shared: &Arc<Shared>, memory: &mut Memory) -> Result<(), Error> {
    let Contenders { users, mut queues, .. } = memory.looks.contenders(shared).await?;
    memory.turns.seat(&users, &queues);
    queues.retain(|queue| queue.preempts);
    if queues.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<DemandKey> = queues.iter().flat_map(|queue| queue.demands.iter().copied()).collect();
    let kinds = shared.sessions.device_kinds();
    let demands = memory.demands.of(&keys, &kinds, shared.config.learning_interval, &shared.store).await?;
    // Those that are full too: they are what it is about.
    let workers = shared.sessions.views(shared.config.silence());
    let queues = fronts(shared, queues, memory.looks.marks(), &demands, &workers).await?;
    if queues.is_empty() {
        return Ok(());
    }
    let longest_secs = shared.sessions.longest_secs();
    let snapshot = Snapshot { workers, users, queues, demands, longest_secs };
    let running = running(shared).await?;
    for attempt in preemptions(&snapshot, &memory.turns, &running) {
        if let Some(victim) = running.iter().find(|running| running.attempt == attempt) {
            ask_back(shared, victim);
        }
    }
    Ok(())
}

/// The queues with what could run on these workers, if need be once they are free.
async fn fronts(
    shared: &Shared,
    queues: Vec<QueueView>,
    marks: &Marks,
    demands: &BTreeMap<DemandKey, Demand>,
    workers: &[WorkerView],
) -> Result<Vec<QueueView>, Error> {
    let unknown = Demand::default();
    let front = |queue: &QueueView| {
        let fits =
            |key: &DemandKey| outlook(workers, &queue.requires, demands.get(key).unwrap_or(&unknown)) > Outlook::Never;
        Front { queue: queue.key, demands: queue.demands.iter().copied().filter(fits).collect(), count: LOOK }
    };
    let wanted: Vec<Front> = queues.iter().map(front).collect();
    let mut ready = shared.store.fronts(&wanted, marks, false).await?;
    let seen = queues.into_iter().filter_map(|queue| Some(QueueView { ready: ready.remove(&queue.key)?, ..queue }));
    Ok(seen.collect())
}

/// What runs on the workers that are here.
async fn running(shared: &Shared) -> Result<Vec<RunningView>, Error> {
    let here = shared.sessions.running();
    let rows = shared.store.preemptible(&here.keys().copied().collect::<Vec<_>>()).await?;
    let view = |row: crate::store::PreemptibleRow| {
        let (worker, leaving) = here.get(&row.attempt)?.clone();
        Some(RunningView {
            attempt: row.attempt,
            worker,
            queue: row.queue,
            user: row.user,
            priority: row.priority,
            repeated_secs: row.repeated_secs,
            started_at: row.started_at,
            leaving,
        })
    };
    Ok(rows.into_iter().filter_map(view).collect())
}

fn ask_back(shared: &Shared, victim: &RunningView) {
    let RunningView { attempt, worker, .. } = victim;
    let asked = shared.sessions.hand_back(worker, *attempt, "a sweep of higher priority needs its slot");
    if asked {
        tracing::info!(task = attempt.task.short(), attempt = attempt.attempt.0, %worker, "preempted");
    }
}
