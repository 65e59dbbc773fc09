//! Artifacts: immutable files named by their digest, in a store that all workers share.

mod cache;
mod hash;
mod leftovers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use futures::StreamExt as _;
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::ArtifactRef;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) use cache::Cache;
pub(crate) use hash::describe;

use crate::durable;
use crate::error::AgentError;

const CHUNK_BYTES: usize = 8 << 20;
/// Tries of an upload or download before an attempt suffers.
const TRIES: usize = 4;

/// Where in a store the artifact with this digest lies.
pub fn artifact_path(digest: &Digest) -> object_store::path::Path {
    let name = digest.to_string();
    object_store::path::Path::from_iter(["sha256", &name[..2], &name])
}

/// Why an artifact cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("artifact {digest} is not in the artifact store {store}")]
    Missing { digest: Digest, store: String },
    #[error("artifact {expected} in the artifact store {store} is damaged: {problem}")]
    Damaged { expected: Digest, store: String, problem: String },
    #[error("the artifact store {store} failed: {source}")]
    Store { store: String, source: object_store::Error },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

impl ArtifactError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Whether the file itself, not the store, is not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    fn may_pass(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::Damaged { .. })
    }
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Artifacts {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    name: String,
}

impl fmt::Display for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Artifacts {
    /// The store at a path or URL.
    pub(crate) fn open(location: &str) -> Result<Self, AgentError> {
        let refuse = |problem: String| AgentError::setting("artifact_store", problem);
        let folder = local_folder(location).map_err(refuse)?;
        std::fs::create_dir_all(&folder).map_err(|error| refuse(format!("{}: {error}", folder.display())))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), folder, name: location.to_owned() })
    }

    /// Removes what workers that were killed left of their uploads. Nothing depends on it: what cannot be removed is logged and stays.
    pub(crate) fn remove_leftovers(&self) {
        match leftovers::remove(&self.folder, SystemTime::now()) {
            Ok(removed) if removed.files == 0 => {}
            Ok(removed) => {
                tracing::info!(removed.files, removed.size_bytes, store = %self, "half-written uploads were removed")
            }
            Err(error) => tracing::warn!(%error, store = %self, "half-written uploads could not be removed"),
        }
    }

    /// Puts a file there under its digest, unless it is there; when this returns it is durable.
    pub(crate) async fn put(&self, path: &Path) -> Result<ArtifactRef, ArtifactError> {
        let artifact = describe(path.to_owned()).await.map_err(ArtifactError::file(path))?;
        self.patiently(|| self.put_once(path, &artifact)).await?;
        Ok(artifact)
    }

    async fn put_once(&self, path: &Path, artifact: &ArtifactRef) -> Result<(), ArtifactError> {
        let location = artifact_path(&artifact.digest);
        match self.store.head(&location).await {
            Ok(found) if found.size == artifact.size_bytes => return Ok(()),
            Ok(found) => {
                tracing::warn!(digest = %artifact.digest, found.size, "an artifact has the wrong size and is replaced")
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(self.failed(source)),
        }
        let mut upload = BufWriter::with_capacity(Arc::clone(&self.store), location, CHUNK_BYTES);
        match self.copy_into(path, &mut upload).await {
            Ok(()) => upload.shutdown().await.map_err(|error| self.failed(unwrapped(error))),
            Err(error) => {
                // Nothing of it is visible anyway.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    async fn copy_into(&self, path: &Path, upload: &mut BufWriter) -> Result<(), ArtifactError> {
        let mut file = tokio::fs::File::open(path).await.map_err(ArtifactError::file(path))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk).await.map_err(ArtifactError::file(path))?;
            if read == 0 {
                return Ok(());
            }
            upload.put(Bytes::copy_from_slice(&chunk[..read])).await.map_err(|source| self.failed(source))?;
        }
    }

    /// Removes an artifact that nobody refers to any more; it may be gone already.
    pub(crate) async fn delete(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let location = artifact_path(digest);
        self.patiently(|| async {
            match self.store.delete(&location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(source) => Err(self.failed(source)),
            }
        })
        .await
    }

    /// Brings an artifact into a new file, whole and verified, or not at all.
    pub(crate) async fn fetch(&self, artifact: &ArtifactRef, path: &Path) -> Result<(), ArtifactError> {
        self.patiently(|| self.fetch_once(artifact, path)).await
    }

    async fn fetch_once(&self, artifact: &ArtifactRef, path: &Path) -> Result<(), ArtifactError> {
        let partial = durable::partial(path);
        let fetched = self.download(artifact, &partial).await;
        match fetched {
            Ok(()) => tokio::fs::rename(&partial, path).await.map_err(ArtifactError::file(path)),
            Err(error) => {
                // Whether it is there or not, it is removed at the next start at the latest.
                let _ = tokio::fs::remove_file(&partial).await;
                Err(error)
            }
        }
    }

    async fn download(&self, artifact: &ArtifactRef, path: &Path) -> Result<(), ArtifactError> {
        let found =
            self.store.get(&artifact_path(&artifact.digest)).await.map_err(|error| self.not_had(artifact, error))?;
        if found.meta.size != artifact.size_bytes {
            return Err(self.damaged(artifact, format!("{} bytes instead of {}", found.meta.size, artifact.size_bytes)));
        }
        let mut file = tokio::fs::File::create(path).await.map_err(ArtifactError::file(path))?;
        let mut hasher = Sha256::new();
        let mut size_bytes = 0;
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.not_had(artifact, error))?;
            size_bytes += chunk.len() as u64;
            if size_bytes > artifact.size_bytes {
                return Err(self.damaged(artifact, format!("more than {} bytes", artifact.size_bytes)));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(ArtifactError::file(path))?;
        }
        file.flush().await.map_err(ArtifactError::file(path))?;
        let digest = Digest::from_bytes(hasher.finalize().into());
        if digest == artifact.digest { Ok(()) } else { Err(self.damaged(artifact, format!("its SHA-256 is {digest}"))) }
    }

    async fn patiently<T, F>(&self, action: impl FnMut() -> F) -> Result<T, ArtifactError>
    where
        F: Future<Output = Result<T, ArtifactError>>,
    {
        let pauses = ExponentialBuilder::default().with_jitter().with_max_times(TRIES - 1);
        action
            .retry(pauses.with_min_delay(std::time::Duration::from_millis(200)))
            .when(ArtifactError::may_pass)
            .notify(|error, pause| tracing::warn!(%error, ?pause, "the artifact store is tried again"))
            .await
    }

    fn failed(&self, source: object_store::Error) -> ArtifactError {
        ArtifactError::Store { store: self.name.clone(), source }
    }

    fn not_had(&self, artifact: &ArtifactRef, error: object_store::Error) -> ArtifactError {
        match error {
            object_store::Error::NotFound { .. } => {
                ArtifactError::Missing { digest: artifact.digest, store: self.name.clone() }
            }
            other => self.failed(other),
        }
    }

    fn damaged(&self, artifact: &ArtifactRef, problem: String) -> ArtifactError {
        ArtifactError::Damaged { expected: artifact.digest, store: self.name.clone(), problem }
    }
}

/// The error that a writer of the store wraps.
fn unwrapped(error: std::io::Error) -> object_store::Error {
    match error.downcast::<object_store::Error>() {
        Ok(inner) => inner,
        Err(other) => object_store::Error::Generic { store: "artifacts", source: Box::new(other) },
    }
}

fn local_folder(location: &str) -> Result<PathBuf, String> {
    const SUPPORTED: &str = "this build supports a folder, as a path or as `file:///path`";
    match location.split_once("://") {
        None if location.is_empty() => Err(format!("it is empty; {SUPPORTED}")),
        None => Ok(PathBuf::from(location)),
        Some(("file", path)) if path.starts_with('/') && !path.contains('%') => Ok(PathBuf::from(path)),
        Some(("file", _)) => {
            Err(format!("`{location}` is not `file://` and an absolute path without escapes; a plain path does it too"))
        }
        Some((scheme, _)) => Err(format!("`{scheme}://` is not supported: {SUPPORTED}")),
    }
}

#[cfg(test)]
mod tests;
