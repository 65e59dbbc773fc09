//! The wish that an agent leaves.

use tokio_util::sync::CancellationToken;

/// How an agent is told to leave.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// It asks what runs to stop at a checkpoint, hands it back and leaves, within [`Tuning::leave_time`](crate::Tuning::leave_time).
    pub in_good_order: CancellationToken,
    /// It stops what runs as it is, hands it back and leaves, within [`Tuning::farewell`](crate::Tuning::farewell).
    pub at_once: CancellationToken,
}

impl From<CancellationToken> for Leave {
    fn from(in_good_order: CancellationToken) -> Self {
        Self { in_good_order, ..Self::default() }
    }
}
