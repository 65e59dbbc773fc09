//! The file that `torch.save` wrote before PyTorch 1.6: pickles of a magic number, a version, facts about the machine, what was saved and the keys
//! of its storages, then the storages, each as the number of its values and their bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::TorchProblem;
use super::memory::{Memory, Node, NodeId};
use super::pickle::{self, Pickle};
use crate::checkpoint::element::Element;

/// Protocol 2 and the number 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 15] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const VERSION: i64 = 1001;

/// Such a file in memory.
pub(super) struct Legacy<'bytes> {
    bytes: &'bytes [u8],
    storages: BTreeMap<String, Range<usize>>,
}

impl<'bytes> Legacy<'bytes> {
    /// Whether these bytes begin as such files do.
    pub(super) fn wrote(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// What was saved, and where its storages lie.
    pub(super) fn open(bytes: &'bytes [u8]) -> Result<(Pickle, Self), TorchProblem> {
        let mut offset = MAGIC.len();
        let mut next = || -> Result<Pickle, TorchProblem> {
            let read = pickle::read(&bytes[offset..])?;
            offset += read.bytes;
            Ok(read)
        };
        let (version, machine, saved, keys) = (next()?, next()?, next()?, next()?);
        if version.memory.node(version.root) != &Node::Integer(VERSION) {
            return Err(TorchProblem::Legacy { offset, expected: "version 1001 of the format" });
        }
        check_byte_order(&machine)?;
        let mut legacy = Self { bytes, storages: BTreeMap::new() };
        legacy.locate(&saved.memory, &keys, offset)?;
        Ok((saved, legacy))
    }

    /// The bytes of a storage.
    pub(super) fn storage(&self, key: &str) -> Result<&'bytes [u8], TorchProblem> {
        let range = self.storages.get(key).ok_or_else(|| TorchProblem::Entry {
            entry: key.to_owned(),
            reason: "the file has no storage of this key".to_owned(),
        })?;
        Ok(&self.bytes[range.clone()])
    }

    fn locate(&mut self, saved: &Memory, keys: &Pickle, mut offset: usize) -> Result<(), TorchProblem> {
        let elements = elements(saved);
        let Node::List(listed) = keys.memory.node(keys.root) else {
            return Err(TorchProblem::Legacy { offset, expected: "the list of its storages" });
        };
        for key in listed {
            let problem = |expected| TorchProblem::Legacy { offset, expected };
            let key = text(&keys.memory, *key).ok_or_else(|| problem("the key of a storage"))?;
            let element = elements.get(key).ok_or_else(|| problem("a storage that a tensor looks into"))?;
            let (count, rest) =
                self.bytes[offset..].split_first_chunk().ok_or_else(|| problem("the length of a storage"))?;
            let length = u64::from_le_bytes(*count).checked_mul(element.bytes());
            let length = length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= rest.len());
            let start = offset + count.len();
            let end = start + length.ok_or_else(|| problem("all values of a storage"))?;
            self.storages.insert(key.to_owned(), start..end);
            offset = end;
        }
        Ok(())
    }
}

/// Types of the storages that the saved values name.
fn elements(saved: &Memory) -> BTreeMap<&str, Element> {
    let mut elements = BTreeMap::new();
    for node in saved.nodes() {
        if let Node::Storage(storage) = node {
            elements.insert(storage.key.as_str(), storage.element);
        }
    }
    elements
}

fn check_byte_order(machine: &Pickle) -> Result<(), TorchProblem> {
    let Node::Dictionary(facts) = machine.memory.node(machine.root) else { return Ok(()) };
    let big = facts.iter().any(|(key, value)| {
        text(&machine.memory, *key) == Some("little_endian") && machine.memory.node(*value) == &Node::Truth(false)
    });
    if big { Err(TorchProblem::ByteOrder { found: "big".to_owned() }) } else { Ok(()) }
}

fn text(memory: &Memory, id: NodeId) -> Option<&str> {
    match memory.node(id) {
        Node::Text(text) => Some(text),
        _ => None,
    }
}
