//! A worker's first message.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::forecast::DeviceKind;
use gauntlet_domain::schedule::{Device, Place, WorkerTraits};
use gauntlet_domain::{AttemptRef, TaskId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::{PROTOCOL_VERSION, v1};

use crate::reports::text;
use crate::status::Error;
use crate::store::Hello;

/// Most slots of one worker.
const MAX_SLOTS: u32 = 4096;
/// Longest wall time that makes sense, in seconds: ten years.
const MAX_REMAINING_SECS: f64 = 10.0 * 366.0 * 86_400.0;
/// Most entries of any list.
const MAX_ENTRIES: usize = 100_000;

/// What a hello says, checked.
#[derive(Debug)]
pub struct Understood {
    /// For the database.
    pub hello: Hello,
    /// The tasks whose checkpoints the worker holds.
    pub holds: BTreeSet<TaskId>,
    /// What it is.
    pub traits: WorkerTraits,
    /// Where it runs what.
    pub places: BTreeMap<AttemptRef, Place>,
}

/// What a hello says, checked.
pub fn understand(wire: v1::Hello) -> Result<Understood, Error> {
    if wire.protocol_version != PROTOCOL_VERSION {
        return Err(Error::Precondition(format!(
            "this coordinator speaks version {PROTOCOL_VERSION} of the worker protocol and the worker version {}; run the same version of gauntlet on both",
            wire.protocol_version
        )));
    }
    let v1::Hello { worker_id, hostname, devices, slots, labels, attempts, held_tasks, remaining_secs, places, .. } =
        wire;
    if slots == 0 || slots > MAX_SLOTS {
        return Err(InvalidField::new("slots", format!("{slots} is not between 1 and {MAX_SLOTS}")).into());
    }
    for (field, entries) in [
        ("devices", devices.len()),
        ("labels", labels.len()),
        ("attempts", attempts.len()),
        ("held_tasks", held_tasks.len()),
        ("places", places.len()),
    ] {
        if entries > MAX_ENTRIES {
            return Err(InvalidField::new(field, format!("{entries} entries are too many")).into());
        }
    }
    let attempts = attempts.into_iter().map(AttemptRef::try_from).collect::<Result<Vec<_>, _>>()?;
    let holds = held_tasks.iter().map(|task| convert::parse(task, "held_tasks")).collect::<Result<_, _>>()?;
    let hello = Hello {
        worker: convert::parse(&worker_id, "worker_id")?,
        hostname: text(&hostname),
        slots,
        devices: devices.iter().map(device_json).collect(),
        labels: labels.iter().map(|(name, value)| (text(name), text(value))).collect(),
        attempts,
        remaining_secs: convert::seconds(remaining_secs, "remaining_secs")?.map(|secs| secs.min(MAX_REMAINING_SECS)),
    };
    let traits = traits(&devices, hello.labels.clone());
    Ok(Understood { hello, holds, places: places_of(places, &traits)?, traits })
}

fn traits(devices: &[v1::Device], labels: BTreeMap<String, String>) -> WorkerTraits {
    let kind = DeviceKind::of_worker(devices.iter().map(|device| DeviceKind::of(&device.name, device.threads)));
    let tells = devices.iter().all(|device| device.slots > 0);
    let known = |device: &v1::Device| Device {
        name: device.name.clone(),
        memory_mib: Some(u32::try_from(device.memory_mib).unwrap_or(u32::MAX)).filter(|mib| *mib > 0),
        slots: device.slots,
    };
    WorkerTraits { labels, kind, devices: if tells { devices.iter().map(known).collect() } else { Vec::new() } }
}

fn places_of(places: Vec<v1::AttemptPlace>, traits: &WorkerTraits) -> Result<BTreeMap<AttemptRef, Place>, Error> {
    let mut known = BTreeMap::new();
    for v1::AttemptPlace { attempt, device, memory_mib } in places {
        let device = traits.devices.iter().position(|known| known.name == device);
        known.insert(convert::attempt_ref(attempt)?, Place { device, memory_mib });
    }
    Ok(known)
}

fn device_json(device: &v1::Device) -> serde_json::Value {
    serde_json::json!({
        "name": text(&device.name),
        "memory_mib": device.memory_mib,
        "threads": device.threads,
        "libtorch": text(&device.libtorch),
        "slots": device.slots,
    })
}

/// A device as [`understand`] stored it.
pub fn device(json: &serde_json::Value) -> v1::Device {
    let string = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    v1::Device {
        name: string("name"),
        memory_mib: json["memory_mib"].as_u64().unwrap_or(0),
        threads: json["threads"].as_u64().and_then(|threads| threads.try_into().ok()).unwrap_or(0),
        libtorch: string("libtorch"),
        slots: json["slots"].as_u64().and_then(|slots| slots.try_into().ok()).unwrap_or(0),
    }
}
