//! Why a process ended, as far as it can be told, and what that says of its task.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use gauntlet_domain::task::FailureClass;
use nix::sys::signal::Signal;

/// What programs say when memory cannot be had.
const OUT_OF_MEMORY: [&str; 4] = ["memory allocation of", "bad_alloc", "can't allocate memory", "out of memory"];

/// Processes that the kernel has killed for lack of memory since the machine started, in control groups or at large; none where it does not tell.
pub(super) fn oom_kills() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The most memory that a process took so far, in MiB.
pub(super) fn peak_mib(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    u32::try_from(kib.div_ceil(1024)).ok()
}

/// How a process ended, for people, and which kind of failure that is. `killed_for_memory` says whether the kernel killed any process for lack of memory
/// about then, as far as it tells.
pub(super) fn judge(
    status: Option<ExitStatus>,
    killed_for_memory: Option<bool>,
    last_lines: &str,
) -> (FailureClass, String) {
    let Some(status) = status else { return (FailureClass::Crash, "the executor is gone".to_owned()) };
    let (how, killed) = match (status.code(), status.signal()) {
        (Some(code), _) => (format!("the executor exited with status {code}"), false),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or_else(|_| String::new(), |signal| format!(" ({signal})"));
            (format!("the executor was killed by signal {signal}{name}"), signal == Signal::SIGKILL as i32)
        }
        (None, None) => (format!("the executor ended: {status}"), false),
    };
    match (killed, killed_for_memory) {
        (true, Some(true)) => (FailureClass::Resource, format!("{how}, by the kernel for lack of memory")),
        // Nobody kills himself so: it came from outside, and the kernel had no reason.
        (true, Some(false)) => (FailureClass::Transient, format!("{how}, not for lack of memory: somebody killed it")),
        (true, None) => (FailureClass::Crash, format!("{how}, perhaps for lack of memory")),
        (false, _) if OUT_OF_MEMORY.iter().any(|sign| last_lines.contains(sign)) => {
            (FailureClass::Resource, format!("{how}, out of memory"))
        }
        (false, _) => (FailureClass::Crash, how),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_against_the_task_only_where_the_kernel_did_it_or_nobody_can_tell() {
        let killed = |memory| judge(Some(ExitStatus::from_raw(9)), memory, "");
        assert_eq!(killed(Some(true)).0, FailureClass::Resource);
        assert_eq!(killed(Some(false)).0, FailureClass::Transient);
        let (class, text) = killed(None);
        assert_eq!(class, FailureClass::Crash);
        assert_eq!(text, "the executor was killed by signal 9 (SIGKILL), perhaps for lack of memory");
    }

    #[test]
    fn an_end_of_its_own_doing_is_a_crash_unless_it_said_that_memory_was_lacking() {
        let aborted = |lines| judge(Some(ExitStatus::from_raw(6)), Some(true), lines);
        assert_eq!(
            aborted("assertion failed"),
            (FailureClass::Crash, "the executor was killed by signal 6 (SIGABRT)".to_owned())
        );
        assert_eq!(aborted("memory allocation of 8 bytes failed").0, FailureClass::Resource);
        assert_eq!(
            aborted("terminate called after throwing an instance of 'std::bad_alloc'").0,
            FailureClass::Resource
        );
        let exited = judge(Some(ExitStatus::from_raw(3 << 8)), Some(false), "");
        assert_eq!(exited, (FailureClass::Crash, "the executor exited with status 3".to_owned()));
        assert_eq!(judge(None, None, "").0, FailureClass::Crash);
    }

    #[test]
    fn the_peak_of_a_living_process_can_be_read_and_that_of_none_cannot() {
        assert!(peak_mib(std::process::id()).is_some_and(|mib| mib > 0));
        assert_eq!(peak_mib(u32::MAX), None);
    }
}
