//! A worker's first message.

use std::collections::BTreeSet;

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

/// What a hello says, checked, and the tasks whose checkpoints the worker holds.
pub fn understand(wire: v1::Hello) -> Result<(Hello, BTreeSet<TaskId>), Error> {
    if wire.protocol_version != PROTOCOL_VERSION {
        return Err(Error::Precondition(format!(
            "this coordinator speaks version {PROTOCOL_VERSION} of the worker protocol and the worker version {}; run the same version of gauntlet on both",
            wire.protocol_version
        )));
    }
    let v1::Hello { worker_id, hostname, devices, slots, labels, attempts, held_tasks, remaining_secs, .. } = wire;
    if slots == 0 || slots > MAX_SLOTS {
        return Err(InvalidField::new("slots", format!("{slots} is not between 1 and {MAX_SLOTS}")).into());
    }
    for (field, entries) in [
        ("devices", devices.len()),
        ("labels", labels.len()),
        ("attempts", attempts.len()),
        ("held_tasks", held_tasks.len()),
    ] {
        if entries > MAX_ENTRIES {
            return Err(InvalidField::new(field, format!("{entries} entries are too many")).into());
        }
    }
    let attempts = attempts.into_iter().map(AttemptRef::try_from).collect::<Result<Vec<_>, _>>()?;
    let held = held_tasks.iter().map(|task| convert::parse(task, "held_tasks")).collect::<Result<_, _>>()?;
    let hello = Hello {
        worker: convert::parse(&worker_id, "worker_id")?,
        hostname: text(&hostname),
        slots,
        devices: devices.iter().map(device_json).collect(),
        labels: labels.iter().map(|(name, value)| (text(name), text(value))).collect(),
        attempts,
        remaining_secs: convert::seconds(remaining_secs, "remaining_secs")?.map(|secs| secs.min(MAX_REMAINING_SECS)),
    };
    Ok((hello, held))
}

fn device_json(device: &v1::Device) -> serde_json::Value {
    serde_json::json!({
        "name": text(&device.name),
        "memory_mib": device.memory_mib,
        "threads": device.threads,
        "libtorch": text(&device.libtorch),
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
    }
}
