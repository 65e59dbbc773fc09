//! The agent as a whole: start, work, farewell.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gauntlet_executor_ipc::Ready;
use gauntlet_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{Artifacts, Cache};
use crate::config::Config;
use crate::error::AgentError;
use crate::event::Event;
use crate::executor::{ExecutorSettings, Slot, SlotEvent};
use crate::identity::{self, StateDir};
use crate::job::Workshop;
use crate::leave::Leave;
use crate::outbox::Outbox;
use crate::runtime::{Introduction, Runtime, Start};
use crate::session::{self, Coordinators, Pauses};
use crate::spool::{self, Spool};

/// Things that wait for the agent's loop.
const EVENTS: usize = 256;

/// The agent.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Works for the coordinator until it is drained, told to leave, or its wall time is nearly over; then what runs is handed back and every executor
    /// is gone.
    ///
    /// A coordinator that is away is waited for. Must run in a Tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// Settings that make no sense, a state directory that cannot be used or is another's, executors that do not start, or a coordinator that
    /// refuses this worker from the beginning.
    pub async fn run(config: Config, leave: impl Into<Leave>) -> Result<(), AgentError> {
        config.check()?;
        let wishes: Leave = leave.into();
        let ends = config.wall_time.map(|wall_time| Instant::now() + wall_time);
        let coordinators = Coordinators::new(&config.endpoints)?;
        let artifacts = Artifacts::open(&config.artifact_store)?;
        let state = StateDir::open(&config.state_dir)?;
        let worker_id = state.worker_id(config.worker_id.as_ref())?;
        let leftovers = artifacts.clone();
        tokio::task::spawn_blocking(move || leftovers.remove_leftovers());
        let workshop = Arc::new(workshop(&config, &state, artifacts)?);

        let (events, receiver) = mpsc::channel(EVENTS);
        let spool_dir = state.spool();
        let recovered = spool::recover(&spool_dir).map_err(AgentError::state(&spool_dir))?;
        let slots = start_slots(&config, &events);
        let mut warm = WarmUp { receiver, ready: BTreeMap::new() };
        let receiver = tokio::select! {
            warmed = warm.all(slots.len()) => warmed.map(|()| Some(warm)),
            () = wishes.in_good_order.cancelled() => Ok(None),
            () = wishes.at_once.cancelled() => Ok(None),
        };
        let WarmUp { receiver, ready } = match receiver {
            Ok(Some(warm)) => warm,
            Ok(None) => return stop(slots).await,
            Err(error) => {
                stop(slots).await?;
                return Err(error);
            }
        };
        let spool = Spool::start(spool_dir.clone(), events.clone()).map_err(AgentError::state(&spool_dir))?;
        tracing::info!(worker = %worker_id, slots = slots.len(), unacknowledged = recovered.reports.len(), "the worker is up");

        let leave = CancellationToken::new();
        let pauses = Pauses { min: config.tuning.reconnect_min, max: config.tuning.reconnect_max };
        let session = tokio::spawn(session::keep(coordinators, pauses, events.clone(), leave.clone()));
        let introduction = Introduction {
            worker_id,
            hostname: identity::hostname(),
            devices: devices(ready.values().map(|(_, ready)| ready), config.device_memory_mib),
            slots: config.slots,
            labels: config.labels.clone(),
            ends,
        };
        let executors = ready.into_iter().map(|(slot, (generation, _))| (slot, generation)).collect();
        let outbox = Outbox::recovered(recovered.reports, recovered.next);
        let start = Start { tuning: config.tuning, introduction, slots, executors, outbox, spool, workshop, events };
        let result = Runtime::new(start).run(receiver, &wishes, &leave).await;
        // The runtime has let go of its end of the stream: the session says farewell by itself.
        leave.cancel();
        if let Err(error) = session.await {
            tracing::error!(%error, "the session has ended badly");
        }
        drop(state);
        result
    }
}

fn workshop(config: &Config, state: &StateDir, artifacts: Artifacts) -> Result<Workshop, AgentError> {
    let cache = state.cache();
    Ok(Workshop {
        artifacts,
        cache: Cache::open(cache.clone(), config.tuning.cache_bytes).map_err(AgentError::state(&cache))?,
        // Executors need not share our working directory.
        data_dir: std::path::absolute(&config.data_dir).map_err(AgentError::state(&config.data_dir))?,
        attempts: state.attempts(),
    })
}

fn start_slots(config: &Config, events: &mpsc::Sender<Event>) -> Vec<Slot> {
    let binary =
        std::path::absolute(&config.executor_binary).unwrap_or_else(|_| PathBuf::from(&config.executor_binary));
    let start = |slot: usize| {
        let settings = ExecutorSettings {
            binary: binary.clone(),
            device: config.devices[slot % config.devices.len()].clone(),
            threads: config.threads_per_executor,
            environment: config.executor_environment.clone(),
            start_timeout: config.tuning.executor_start_timeout,
        };
        Slot::start(slot, settings, events.clone())
    };
    (0..config.slots as usize).map(start).collect()
}

async fn stop(slots: Vec<Slot>) -> Result<(), AgentError> {
    for slot in slots {
        slot.stop().await;
    }
    Ok(())
}

/// The time before the first session, in which only executors speak.
struct WarmUp {
    receiver: mpsc::Receiver<Event>,
    ready: BTreeMap<usize, (u64, Ready)>,
}

impl WarmUp {
    async fn all(&mut self, slots: usize) -> Result<(), AgentError> {
        while self.ready.len() < slots {
            match self.receiver.recv().await {
                Some(Event::Executor { slot, event: SlotEvent::Ready { generation, ready } }) => {
                    self.ready.insert(slot, (generation, ready));
                }
                Some(Event::Executor { event: SlotEvent::FailedToStart { message }, .. }) => {
                    return Err(AgentError::Executor { message });
                }
                Some(Event::Executor { slot, event: SlotEvent::Lost { .. } }) => {
                    self.ready.remove(&slot);
                }
                Some(_) => {}
                None => return Err(AgentError::Executor { message: "its supervisor is gone".to_owned() }),
            }
        }
        Ok(())
    }
}

/// One entry per device, however many executors compute on it. What the user states of its memory goes before what the executor found.
fn devices<'a>(ready: impl Iterator<Item = &'a Ready>, stated_mib: Option<u64>) -> Vec<v1::Device> {
    let mut devices: BTreeMap<&str, v1::Device> = BTreeMap::new();
    for Ready { device, memory_mib, threads, libtorch, .. } in ready {
        let entry = devices.entry(device).or_insert_with(|| v1::Device {
            name: device.clone(),
            memory_mib: stated_mib.or(*memory_mib).unwrap_or(0),
            threads: *threads,
            libtorch: libtorch.clone(),
            slots: 0,
        });
        entry.slots += 1;
    }
    devices.into_values().collect()
}
