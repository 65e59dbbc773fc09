//! Calls to a coordinator.

use std::time::Duration;

use anyhow::Context as _;
use gauntlet_proto::MAX_MESSAGE_BYTES;
use gauntlet_proto::v1::fleet_service_client::FleetServiceClient;
use gauntlet_proto::v1::sweep_service_client::SweepServiceClient;
use tonic::transport::{Channel, Endpoint};

/// A connection to a coordinator.
#[derive(Clone)]
pub struct Client {
    pub sweeps: SweepServiceClient<Channel>,
    pub fleet: FleetServiceClient<Channel>,
}

impl Client {
    /// Connects to `endpoint`, such as `http://127.0.0.1:7878`.
    ///
    /// # Errors
    /// The address is malformed or nobody answers.
    pub async fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let channel = Endpoint::from_shared(url)
            .with_context(|| format!("`{endpoint}` is not an address such as http://127.0.0.1:7878"))?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect()
            .await
            .with_context(|| format!("no coordinator answers at {endpoint}"))?;
        Ok(Self {
            sweeps: SweepServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            fleet: FleetServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
        })
    }
}

/// The coordinator's own words for a failed call.
pub fn refused(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unavailable => anyhow::anyhow!("the coordinator is unavailable: {}", status.message()),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}
