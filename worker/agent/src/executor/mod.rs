//! Executor processes: one per slot, kept warm, killed to cancel, replaced when they die.

mod process;
mod spawn;
mod supervisor;

pub(crate) use supervisor::{ExecutorSettings, Slot, SlotEvent};
