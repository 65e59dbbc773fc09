//! The gRPC services: thin. They translate, and leave the work to the store and the loops.

mod fleet;
mod hello;
mod streams;
mod sweep;
mod wire;
mod worker;

pub use fleet::Fleet;
pub use sweep::Sweeps;
pub use worker::Workers;
