//! State dicts saved by PyTorch: a pickle and the storages its tensors look into.
//!
//! * `archive`: the zip archive of PyTorch 1.6 and later, with an entry for each storage;
//! * `legacy`: the file of earlier versions, where the storages follow the pickle;
//! * `pickle`: the pickle, read as data by a machine that knows no functions but those that describe tensors;
//! * `allowed`: the functions it knows;
//! * `view`: tensors as views of storages, checked and gathered.

mod allowed;
mod archive;
mod bytes;
mod legacy;
mod memory;
mod opcode;
mod pickle;
mod view;

use std::collections::BTreeMap;
use std::path::Path;

use super::{NamedTensor, at_least_one};
use crate::error::{DataError, InFile};
use crate::labelled_tensors::name_some;
use archive::Archive;
use legacy::Legacy;
use memory::{Memory, Node, NodeId};
use pickle::{Pickle, refused};
use view::View;

pub use pickle::PickleProblem;
pub use view::TensorProblem;

/// Entries under which training scripts put the state dict, beside the epoch, the optimiser and so on; the first of them that holds tensors counts.
const NESTED: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "weights"];
/// A state dict lies at most so deep in such entries.
const MAX_NESTING: usize = 3;

/// Why a file is not a PyTorch state dict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TorchProblem {
    /// Another format, or the one of PyTorch before 0.1.12.
    #[error(
        "not a file that PyTorch's `torch.save` wrote: {reason}; a checkpoint in another format can be read by loading it in PyTorch and \
         saving it again with `torch.save(model.state_dict(), …)`"
    )]
    NotAnArchive {
        /// What the zip reader says.
        reason: String,
    },
    /// An archive without a pickle.
    #[error("a zip archive, but none that PyTorch's `torch.save` wrote: it has no `data.pkl`")]
    NoPickle,
    /// A compiled model.
    #[error("a TorchScript archive, which holds code; save the weights alone with `torch.save(model.state_dict(), …)`")]
    TorchScript,
    /// Saved on a machine of the other byte order.
    #[error("its numbers are in the byte order `{found}`, expected `little`")]
    ByteOrder {
        /// From the archive.
        found: String,
    },
    /// A file of PyTorch before 1.6 that is not as such files are.
    #[error("a file in the format of PyTorch before 1.6, broken at byte {offset}: expected {expected}")]
    Legacy {
        /// Where it was noticed.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// An entry that cannot be read.
    #[error("its entry `{entry}` cannot be read: {reason}")]
    Entry {
        /// Name in the archive.
        entry: String,
        /// Why.
        reason: String,
    },
    /// A pickle that cannot be read.
    #[error(transparent)]
    Pickle(#[from] PickleProblem),
    /// Something else than a dictionary.
    #[error("holds {found}, expected a state dict: a dictionary of tensors by name")]
    NotADictionary {
        /// What it holds.
        found: &'static str,
    },
    /// A dictionary without a tensor.
    #[error("holds no tensors at its top or in {}; its entries are {present}", nested())]
    NoTensors {
        /// Names of the entries, for people.
        present: String,
    },
    /// A tensor under a key that is no text.
    #[error("names a tensor by {found}, expected a text")]
    Key {
        /// What the key is.
        found: &'static str,
    },
    /// A tensor that is not in the file.
    #[error("`{tensor}` {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// Views that make much of little.
    #[error("`{tensor}` and the tensors before it have {values} values, more than a file of {file_bytes} bytes holds")]
    TooManyValues {
        /// The tensor.
        tensor: String,
        /// So far.
        values: u64,
        /// Length of the file.
        file_bytes: u64,
    },
}

type Entries = [(NodeId, NodeId)];

fn nested() -> String {
    let (last, first) = NESTED.split_last().unwrap_or((&"", &[]));
    let quoted: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
    format!("{} or `{last}`", quoted.join(", "))
}

/// The floating-point tensors of a state dict, sorted by name.
pub(super) fn read(file: &[u8], path: &Path) -> Result<Vec<NamedTensor>, DataError> {
    let (tensors, others) = state_dict(file).in_file(path)?;
    at_least_one(tensors, others, path)
}

/// The floating-point tensors and the number of other ones.
fn state_dict(file: &[u8]) -> Result<(Vec<NamedTensor>, usize), TorchProblem> {
    let (pickle, mut storages) = open(file)?;
    let views = views(&pickle.memory, pickle.root)?;
    let (mut tensors, mut values, mut others) = (Vec::with_capacity(views.len()), 0_u64, 0);
    for (name, view) in views {
        let in_tensor = |problem| TorchProblem::Tensor { tensor: name.clone(), problem };
        view.check().map_err(in_tensor)?;
        if !view.storage.element.is_float() {
            others += 1;
            continue;
        }
        values = values.saturating_add(view.values());
        // A value takes two bytes at least, so that this lets every weight be shared by two tensors.
        if values > file.len() as u64 {
            return Err(TorchProblem::TooManyValues { tensor: name, values, file_bytes: file.len() as u64 });
        }
        let values = view.gather(storages.get(&view.storage.key)?).map_err(in_tensor)?;
        tensors.push(NamedTensor { name, shape: view.shape.clone(), values });
    }
    Ok((tensors, others))
}

/// Where the bytes of tensors lie.
enum Storages<'bytes> {
    Archive(Archive<'bytes>),
    Legacy(Legacy<'bytes>),
}

impl<'bytes> Storages<'bytes> {
    fn get(&mut self, key: &str) -> Result<&'bytes [u8], TorchProblem> {
        match self {
            Self::Archive(archive) => archive.storage(key),
            Self::Legacy(legacy) => legacy.storage(key),
        }
    }
}

fn open(file: &[u8]) -> Result<(Pickle, Storages<'_>), TorchProblem> {
    if Legacy::wrote(file) {
        let (pickle, legacy) = Legacy::open(file)?;
        return Ok((pickle, Storages::Legacy(legacy)));
    }
    let mut archive = Archive::open(file)?;
    Ok((pickle::read(archive.pickle()?)?, Storages::Archive(archive)))
}

/// The tensors of the state dict, which is the whole or an entry of it.
fn views(memory: &Memory, root: NodeId) -> Result<BTreeMap<String, &View>, TorchProblem> {
    let top = match memory.node(root) {
        Node::Dictionary(top) => top,
        Node::Foreign(name) | Node::Object(name) => return Err(refused(name).into()),
        other => return Err(TorchProblem::NotADictionary { found: other.kind() }),
    };
    let mut views = BTreeMap::new();
    for (key, value) in with_tensors(memory, top, MAX_NESTING).unwrap_or(top) {
        let Node::Tensor(view) = memory.node(*value) else { continue };
        let Node::Text(name) = memory.node(*key) else {
            return Err(TorchProblem::Key { found: memory.node(*key).kind() });
        };
        views.insert(name.clone(), view);
    }
    if views.is_empty() {
        return Err(TorchProblem::NoTensors { present: entry_names(memory, top) });
    }
    Ok(views)
}

/// The dictionary of tensors in these entries: that of the first name of [`NESTED`] that leads to one, or else the entries themselves.
fn with_tensors<'memory>(memory: &'memory Memory, entries: &'memory Entries, depth: usize) -> Option<&'memory Entries> {
    let nested = NESTED.iter().filter(|_| depth > 0).find_map(|name| {
        let inner = dictionary(memory, entries, name)?;
        with_tensors(memory, inner, depth - 1)
    });
    let holds_tensors = || entries.iter().any(|(_, value)| matches!(memory.node(*value), Node::Tensor(_)));
    nested.or_else(|| holds_tensors().then_some(entries))
}

/// The last entry of this name that is a dictionary.
fn dictionary<'memory>(memory: &'memory Memory, entries: &Entries, wanted: &str) -> Option<&'memory Entries> {
    entries.iter().rev().find_map(|(key, value)| match (memory.node(*key), memory.node(*value)) {
        (Node::Text(name), Node::Dictionary(entries)) if name == wanted => Some(entries.as_slice()),
        _ => None,
    })
}

fn entry_names(memory: &Memory, entries: &Entries) -> String {
    let text = |(key, _): &(NodeId, NodeId)| match memory.node(*key) {
        Node::Text(name) => Some(name),
        _ => None,
    };
    name_some(entries.iter().filter_map(text).collect::<Vec<_>>().into_iter())
}
