//! How the fake executor behaves: chosen by the seed of the task.

/// Does its work: an attack's outcomes, or a training of two epochs with a checkpoint after the first.
pub const SUCCEED: u64 = 0;
/// Says that it has begun and then nothing more.
pub const HANG: u64 = 1;
/// Writes last words and is killed by signal 9.
pub const DIE: u64 = 2;
/// Says what is not a message.
pub const TALK_NONSENSE: u64 = 3;
/// Says something without end.
pub const TALK_ENDLESSLY: u64 = 4;
/// Says that the task itself is bad.
pub const FAIL: u64 = 5;
/// Finishes with outcomes of another number of examples.
pub const MISCOUNT: u64 = 6;
/// Writes a checkpoint, and is killed by signal 9.
pub const DIE_AFTER_CHECKPOINT: u64 = 7;
/// Finishes as soon as a file `go` lies in the data folder.
pub const WAIT_FOR_GO: u64 = 8;

/// Works until it is asked to stop; a training then writes a checkpoint of two epochs first.
pub const WORK_UNTIL_ASKED: u64 = 9;
/// Writes last words and aborts.
pub const ABORT: u64 = 100;
/// Takes memory until there is no more, within a limit that it sets itself.
pub const EXHAUST_MEMORY: u64 = 101;
/// Finishes only if it is told to spare memory, and says how it is out of memory otherwise.
pub const NEEDS_TO_SPARE: u64 = 102;

/// Name of the variable with a folder in which each process leaves a file named by its id.
pub const PIDS: &str = "FAKE_EXECUTOR_PIDS";
/// Name of the variable that makes it never say that it is ready.
pub const NEVER_READY: &str = "FAKE_EXECUTOR_NEVER_READY";
