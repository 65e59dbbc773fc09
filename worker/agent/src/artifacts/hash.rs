//! Digests of files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::ArtifactRef;
use sha2::{Digest as _, Sha256};

/// What a file would be called as an artifact.
pub(crate) async fn describe(path: PathBuf) -> io::Result<ArtifactRef> {
    tokio::task::spawn_blocking(move || describe_now(&path)).await.map_err(io::Error::other)?
}

fn describe_now(path: &Path) -> io::Result<ArtifactRef> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size_bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(ArtifactRef { digest: Digest::from_bytes(hasher.finalize().into()), size_bytes });
        }
        hasher.update(&buffer[..read]);
        size_bytes += read as u64;
    }
}
