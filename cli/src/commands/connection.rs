//! Which coordinator a command talks to.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::args::Global;
use crate::client::Client;
use crate::local::Local;

/// A coordinator to talk to: somebody else's, or one that lives as long as this command.
pub struct Connection {
    pub client: Client,
    local: Option<Local>,
}

impl Connection {
    /// The coordinator the user named; else the one `gauntlet up` runs in the state directory; else one of this command's own,
    /// on the database of the state directory: enough to ask questions, but nobody works.
    ///
    /// # Errors
    /// The named one does not answer, or the database does not start.
    pub async fn to_any(global: &Global) -> anyhow::Result<Self> {
        if let Some(client) = running(global).await? {
            return Ok(Self { client, local: None });
        }
        let known = global.database_url.is_some() || global.state_dir.join("postgres").exists();
        anyhow::ensure!(
            known,
            "{} holds no database yet: run a sweep first, or name a coordinator with --endpoint",
            global.state_dir.display()
        );
        Self::to_own(global).await
    }

    /// A coordinator of this command's own.
    ///
    /// # Errors
    /// The database does not start.
    pub async fn to_own(global: &Global) -> anyhow::Result<Self> {
        let local = Local::start(global, "127.0.0.1:0").await?;
        let client = local.client().await?;
        Ok(Self { client, local: Some(local) })
    }

    /// The coordinator the user named, or the one `gauntlet up` runs in the state directory.
    ///
    /// # Errors
    /// There is none.
    pub async fn to_running(global: &Global) -> anyhow::Result<Self> {
        let client = running(global).await?.context(
            "no coordinator is running: start one with `gauntlet up`, or name one with --endpoint; `gauntlet run` does without",
        )?;
        Ok(Self { client, local: None })
    }

    /// Stops what this command started.
    pub async fn close(self) {
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// The file in which `gauntlet up` says where it listens.
pub fn endpoint_file(global: &Global) -> PathBuf {
    global.state_dir.join("endpoint")
}

/// A connection to the coordinator the user named, or to the one that `gauntlet up` runs in the state directory; none if nothing runs.
pub async fn running(global: &Global) -> anyhow::Result<Option<Client>> {
    if let Some(endpoint) = &global.endpoint {
        return Client::connect(endpoint).await.map(Some);
    }
    let Ok(endpoint) = std::fs::read_to_string(endpoint_file(global)) else { return Ok(None) };
    // Left behind by a killed `gauntlet up` if nobody answers.
    Ok(Client::connect(endpoint.trim()).await.ok())
}
