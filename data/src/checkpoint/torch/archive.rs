//! The zip archive that `torch.save` writes: `<root>/data.pkl`, and `<root>/data/<key>` for each storage; nothing compressed.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, copy, sink};
use std::ops::Range;

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::TorchProblem;

const PICKLE: &str = "/data.pkl";
const BYTE_ORDER: &str = "byteorder";
const LITTLE_ENDIAN: &[u8] = b"little";
/// Only TorchScript has it.
const SCRIPT_CONSTANTS: &str = "constants.pkl";

/// A zip archive in memory; its entries are slices of it.
pub(super) struct Archive<'bytes> {
    bytes: &'bytes [u8],
    zip: ZipArchive<Cursor<&'bytes [u8]>>,
    /// Folder that holds everything; the name is the saver's choice.
    root: String,
    /// Storages that were looked at.
    storages: BTreeMap<String, Range<usize>>,
    /// Bytes of all entries that were looked at.
    bytes_read: u64,
}

impl<'bytes> Archive<'bytes> {
    /// Reads the list of entries.
    pub(super) fn open(bytes: &'bytes [u8]) -> Result<Self, TorchProblem> {
        // Left to find out by itself where the archive starts, zip 9.8 errs on some that PyTorch wrote.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes))
            .map_err(|error| TorchProblem::NotAnArchive { reason: error.to_string() })?;
        let names = zip.file_names().filter_map(Result::ok);
        let root =
            names.filter_map(|name| name.strip_suffix(PICKLE).map(str::to_owned)).find(|root| !root.contains('/'));
        let root = root.ok_or(TorchProblem::NoPickle)?;
        let mut archive = Self { bytes, zip, root, storages: BTreeMap::new(), bytes_read: 0 };
        if archive.has(SCRIPT_CONSTANTS) {
            return Err(TorchProblem::TorchScript);
        }
        archive.check_byte_order()?;
        Ok(archive)
    }

    /// The pickle.
    pub(super) fn pickle(&mut self) -> Result<&'bytes [u8], TorchProblem> {
        let range = self.entry(&format!("{}{PICKLE}", self.root))?;
        Ok(&self.bytes[range])
    }

    /// The bytes of a storage.
    pub(super) fn storage(&mut self, key: &str) -> Result<&'bytes [u8], TorchProblem> {
        if let Some(range) = self.storages.get(key) {
            return Ok(&self.bytes[range.clone()]);
        }
        let range = self.entry(&format!("{}/data/{key}", self.root))?;
        self.storages.insert(key.to_owned(), range.clone());
        Ok(&self.bytes[range])
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.root)).is_some()
    }

    /// PyTorch before 2.1 writes no byte order; all machines it ran on were little-endian but a few.
    fn check_byte_order(&mut self) -> Result<(), TorchProblem> {
        if !self.has(BYTE_ORDER) {
            return Ok(());
        }
        let range = self.entry(&format!("{}/{BYTE_ORDER}", self.root))?;
        let found = &self.bytes[range];
        if found == LITTLE_ENDIAN {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&found[..found.len().min(16)]).into_owned();
        Err(TorchProblem::ByteOrder { found })
    }

    /// Where the entry lies in the file; its checksum is right.
    fn entry(&mut self, name: &str) -> Result<Range<usize>, TorchProblem> {
        let problem = |reason: String| TorchProblem::Entry { entry: name.to_owned(), reason };
        let mut entry = self.zip.by_name(name).map_err(|error| problem(error.to_string()))?;
        if entry.compression() != CompressionMethod::Stored || entry.size() != entry.compressed_size() {
            return Err(problem("it is compressed, which `torch.save` never does".to_owned()));
        }
        let size = entry.size();
        let available = self.bytes.len();
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(size).ok()).and_then(|(start, size)| start.checked_add(size));
        let Some((start, end)) = start.zip(end).filter(|(_, end)| *end <= available) else {
            return Err(problem(format!("it claims {size} bytes in a file of {available}")));
        };
        self.bytes_read = self.bytes_read.saturating_add(size);
        if self.bytes_read > available as u64 {
            return Err(problem("it shares its bytes with other entries".to_owned()));
        }
        // The zip reader compares the checksum at the end.
        let read = copy(&mut entry.by_ref().take(size), &mut sink()).and_then(|_| entry.read(&mut [0]));
        read.map_err(|error| problem(error.to_string()))?;
        Ok(start..end)
    }
}
