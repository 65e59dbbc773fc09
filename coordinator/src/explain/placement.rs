//! Why no worker can take a task that is ready, in plain words.

use gauntlet_domain::schedule::{Demand, Fit, Lack, Requirements, WorkerView, fit, lacks_time};

use super::duration;

/// What workers lack for a task; nothing where one could take it now but for the others that wait, or where none is here.
pub fn hindrance(
    workers: &[WorkerView],
    requires: &Requirements,
    demand: &Demand,
    cost: f64,
    longest_secs: Option<f64>,
) -> Option<String> {
    let takers: Vec<&WorkerView> = workers.iter().filter(|worker| worker.takes_work).collect();
    let fits: Vec<(&WorkerView, Fit)> = takers.iter().map(|worker| (*worker, fit(worker, requires, demand))).collect();
    let large_enough = || fits.iter().filter(|(_, fit)| !matches!(fit, Fit::Never(_)));
    if large_enough().next().is_none() {
        return lacking(&fits, requires);
    }
    let with_room = large_enough().filter(|(_, fit)| matches!(fit, Fit::Now(_)));
    let lacks: Vec<Option<Lack>> =
        with_room.map(|(worker, _)| lacks_time(worker, demand, cost, longest_secs)).collect();
    match lacks.iter().flatten().next() {
        Some(Lack::Time(needed)) if lacks.iter().all(Option::is_some) => {
            let needed = duration((needed * 1e6) as i64);
            Some(format!("it is expected to need {needed}, and no worker with room for it stays that long"))
        }
        _ => {
            let idle = large_enough().any(|(worker, _)| worker.free_slots > 0);
            (idle && lacks.is_empty())
                .then(|| "slots are free, but not the memory that it needs on their devices".to_owned())
        }
    }
}

/// What all of them lack.
fn lacking(fits: &[(&WorkerView, Fit)], requires: &Requirements) -> Option<String> {
    let memory = |(worker, fit): &(&WorkerView, Fit)| match fit {
        Fit::Never(Lack::Memory(needed)) => Some((*needed, largest(worker))),
        Fit::Never(_) | Fit::Now(_) | Fit::Later(_) => None,
    };
    if let Some((needed, largest)) = fits.iter().filter_map(memory).max_by_key(|(_, largest)| *largest) {
        return Some(format!(
            "it needs {needed} MiB of memory, and the largest device of a worker that it may run on has {largest} MiB"
        ));
    }
    let labels: Vec<String> = requires.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!fits.is_empty()).then(|| format!("no connected worker carries what its sweep requires: {}", labels.join(", ")))
}

fn largest(worker: &WorkerView) -> u32 {
    worker.traits.devices.iter().filter_map(|device| device.memory_mib).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gauntlet_domain::forecast::DeviceKind;
    use gauntlet_domain::schedule::{Device, DeviceUse, WorkerTraits};

    use super::*;

    /// Four slots on 8000 MiB, of which 6000 are taken by one task.
    fn worker(zone: &str) -> WorkerView {
        let device = Device { name: "cuda:0".into(), memory_mib: Some(8000), slots: 4 };
        let labels = [("zone".to_owned(), zone.to_owned())].into();
        let traits = WorkerTraits { labels, kind: DeviceKind::of("cuda:0", 1), devices: vec![device] };
        WorkerView {
            traits: Arc::new(traits),
            uses: vec![DeviceUse { tasks: 1, memory_mib: 6000 }],
            remaining_secs: Some(600.0),
            ..WorkerView::plain("w".parse().unwrap(), 3)
        }
    }

    fn said(requires: &Requirements, peak_memory_mib: u32, cost: f64) -> String {
        let kind = DeviceKind::of("cuda:0", 1);
        let demand = Demand {
            peak_memory_mib: [(kind.clone(), peak_memory_mib)].into(),
            secs_per_cost: [(kind, 1.0)].into(),
            ..Demand::default()
        };
        hindrance(&[worker("a")], requires, &demand, cost, None).unwrap_or_default()
    }

    #[test]
    fn what_workers_lack_is_said_in_plain_words() {
        let anywhere = Requirements::default();
        let in_zone_b = Requirements { labels: [("zone".to_owned(), "b".to_owned())].into(), memory_mib: None };
        insta::assert_snapshot!([
            said(&anywhere, 1000, 1.0),
            said(&in_zone_b, 1000, 1.0),
            said(&anywhere, 9000, 1.0),
            said(&anywhere, 3000, 1.0),
            said(&anywhere, 1000, 7200.0),
        ].join("\n"), @r"

        no connected worker carries what its sweep requires: zone=b
        it needs 10350 MiB of memory, and the largest device of a worker that it may run on has 8000 MiB
        slots are free, but not the memory that it needs on their devices
        it is expected to need 2 h 0 min, and no worker with room for it stays that long
        ");
    }
}
