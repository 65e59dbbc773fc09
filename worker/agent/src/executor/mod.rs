//! Executor processes: one per slot, kept warm, killed to cancel, replaced when they die.

mod evidence;
mod process;
mod spawn;
mod supervisor;

pub(crate) use supervisor::{ExecutorSettings, Loss, Slot, SlotEvent};
