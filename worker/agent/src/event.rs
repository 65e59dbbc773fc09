//! What reaches the agent's loop from the parts around it.

use crate::attempts::Input;
use crate::duties::DutyEvent;
use crate::executor::SlotEvent;
use crate::session::SessionEvent;
use crate::spool::SpoolEvent;

/// One thing that happened somewhere.
#[derive(Debug)]
pub(crate) enum Event {
    Session(SessionEvent),
    Executor {
        slot: usize,
        event: SlotEvent,
    },
    Spool(SpoolEvent),
    /// Work in the background came to something.
    Job(Input),
    Duty(DutyEvent),
}
