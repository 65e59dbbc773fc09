//! Memory: what the device has, and what a task took of it at most.
//!
//! tch tells neither of a CUDA device: there nothing is known.

use std::fs;

use gauntlet_lab::DeviceName;

const KIB_PER_MIB: u64 = 1024;

/// Memory of the device in MiB, where it is known: of the CPU, what the machine has or the control group of this process may take.
pub(crate) fn of_device(device: DeviceName) -> Option<u64> {
    let DeviceName::Cpu = device else { return None };
    let machine = kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")? / KIB_PER_MIB;
    let limit = group_limits().into_iter().map(|bytes| bytes >> 20).min();
    Some(limit.map_or(machine, |limit| limit.min(machine)))
}

/// Limits of the control groups around this process, of either version, in bytes. In a container the group's folder is the root.
fn group_limits() -> Vec<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let ancestors = std::path::Path::new(path).ancestors().map(|folder| folder.to_string_lossy().into_owned());
        for folder in ancestors {
            let text = fs::read_to_string(format!("{root}{}/{file}", folder.trim_end_matches('/')));
            limits.extend(text.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits
}

/// Measures the memory that this process takes from its start on.
#[derive(Debug)]
pub(crate) struct Meter {
    measures: bool,
}

impl Meter {
    /// Starts anew: what was freed goes back to the kernel, and its count of the most that was ever taken falls to what is taken now.
    pub(crate) fn start(device: DeviceName) -> Self {
        let measures = device == DeviceName::Cpu && start_anew();
        Self { measures }
    }

    /// The most that was taken since, in MiB; none where it cannot be told.
    pub(crate) fn peak_mib(&self) -> Option<u32> {
        if !self.measures {
            return None;
        }
        let kib = kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")?;
        u32::try_from(kib.div_ceil(KIB_PER_MIB)).ok()
    }
}

fn start_anew() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and has no preconditions. An executor has glibc keep freed memory while it computes; between two tasks that would
    // count the memory of the one before.
    unsafe {
        libc::malloc_trim(0);
    }
    // See proc(5): 5 resets the peak of the resident set.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The number of a line such as `VmHWM:   1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_a_task_is_its_own_and_not_that_of_the_one_before() {
        let fill = |mib: usize| {
            let block = vec![1u8; mib << 20];
            assert!(std::hint::black_box(block).iter().all(|byte| *byte == 1));
        };
        let large = Meter::start(DeviceName::Cpu);
        fill(200);
        let large = large.peak_mib().unwrap();
        let small = Meter::start(DeviceName::Cpu);
        fill(20);
        let small = small.peak_mib().unwrap();
        assert!(large >= 200 && (20..150).contains(&small), "{large} {small}");
    }

    #[test]
    fn the_memory_of_the_cpu_is_known_and_that_of_cuda_is_not() {
        let machine = kib(&fs::read_to_string("/proc/meminfo").unwrap(), "MemTotal:").unwrap() / 1024;
        let known = of_device(DeviceName::Cpu).unwrap();
        assert!(known > 0 && known <= machine, "{known} {machine}");
        assert_eq!(of_device(DeviceName::Cuda(0)), None);
        assert_eq!(Meter::start(DeviceName::Cuda(0)).peak_mib(), None);
    }
}
