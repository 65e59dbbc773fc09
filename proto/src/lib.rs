//! The wire: types generated from `gauntlet/v1/*.proto`, and the only conversions between them and the domain ([`convert`]).
//!
//! This crate must **not** know: SQL, tch, files, or what anybody does with a message.

/// Version of the worker protocol; workers of another version are refused.
pub const PROTOCOL_VERSION: u32 = 5;

/// Most bytes of one message, in either direction: outcomes of some hundred thousand examples.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Generated types of package `gauntlet.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("gauntlet.v1");

    /// The compiled protos, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gauntlet_v1.descriptor"));
}

pub mod convert;
