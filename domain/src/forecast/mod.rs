//! What work will take: learnt from what it took, and what follows from that for splitting, order and the time left.
//!
//! The planner states costs in passes through a network ([`PlannedTask::cost`](crate::plan::PlannedTask::cost)). How many seconds a unit of cost takes
//! is learnt per device, method, backbone and image size ([`Rates`]); what was never seen is read off its like.

mod estimate;
mod makespan;
mod rates;
mod shards;
mod work;

pub use estimate::Estimate;
pub use makespan::{Job, critical_paths, left_of, makespan};
pub use rates::{Basis, Forecast, Rate, Rates};
pub use shards::shards;
pub use work::{DeviceKind, InvalidWork, Work};
