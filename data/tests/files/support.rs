//! Files to test with.

use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use gauntlet_data::{DataError, Places, digest_file, inspect};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{DatasetSource, DatasetSpec, Fit, ImageShape, Subset};
use gauntlet_domain::sweep::{FileContent, FileRole};
use tempfile::TempDir;

/// A folder for the files of a test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The message without the folder, which is another in each run.
pub fn message(result: Result<impl Debug, DataError>) -> String {
    let text = result.unwrap_err().to_string();
    let Some((_, rest)) = text.strip_prefix('`').and_then(|rest| rest.split_once('`')) else { return text };
    let path = Path::new(&text[1..text.len() - rest.len() - 1]);
    format!("`{}`{rest}", path.file_name().unwrap().to_string_lossy())
}

/// What `inspect` says of a file of these bytes.
pub fn inspected(role: FileRole, bytes: &[u8]) -> Result<FileContent, DataError> {
    let folder = Folder::new();
    inspect(role, &folder.file("file", bytes)).map(|facts| facts.content)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of bytes.
pub fn idx(axes: &[u32], values: &[u8]) -> Vec<u8> {
    let magic = [0, 0, 8, axes.len() as u8];
    magic.into_iter().chain(axes.iter().flat_map(|axis| axis.to_be_bytes())).chain(values.iter().copied()).collect()
}

/// A safetensors file with this header, which need not be right.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Places of files, named by their digests.
pub fn places(paths: &[&Path]) -> (Places, Vec<Digest>) {
    let digests: Vec<Digest> = paths.iter().map(|path| digest_file(path).unwrap()).collect();
    let files = digests.iter().copied().zip(paths.iter().map(|path| path.to_path_buf())).collect();
    (Places { files, ..Places::default() }, digests)
}

pub fn spec(source: DatasetSource, examples: u32, classes: u32, image: [u32; 3], fit: Fit) -> DatasetSpec {
    let [channels, height, width] = image;
    DatasetSpec {
        source,
        subset: Subset::default(),
        examples,
        classes,
        image: ImageShape { channels, height, width },
        fit,
        frequencies: None,
    }
}

/// A file that PyTorch wrote: see `make_fixtures.py` beside it.
pub fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// The data that set-up brings.
pub fn data_dir() -> PathBuf {
    let configured = std::env::var_os("GAUNTLET_DATA").map(PathBuf::from);
    let path = configured.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gauntlet/data"));
    assert!(path.is_dir(), "no data in {}: run make setup", path.display());
    path
}
