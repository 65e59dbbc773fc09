//! State dicts saved by PyTorch 1.6 or later: a zip archive of a pickle and, stored one by one, the storages its tensors look into.
//!
//! * `archive`: the zip file;
//! * `pickle`: the pickle, read as data by a machine that knows no functions but those that describe tensors;
//! * `allowed`: the functions it knows;
//! * `view`: tensors as views of storages, checked and gathered.

mod allowed;
mod archive;
mod bytes;
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
use memory::{Memory, Node, NodeId};
use view::View;

pub use pickle::PickleProblem;
pub use view::TensorProblem;

/// Entries under which training scripts put the state dict, beside the epoch, the optimiser and so on.
const NESTED: [&str; 2] = ["state_dict", "model"];

/// Why a file is not a PyTorch state dict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TorchProblem {
    /// Another format, or the one of PyTorch before 1.6.
    #[error(
        "not a zip archive, as PyTorch writes them since version 1.6: {reason}; an older checkpoint can be read by loading it in PyTorch and \
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
    #[error("holds no tensors at its top, in `state_dict` or in `model`; its entries are {present}")]
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

/// The floating-point tensors of a state dict, sorted by name.
pub(super) fn read(file: &[u8], path: &Path) -> Result<Vec<NamedTensor>, DataError> {
    let (tensors, others) = state_dict(file).in_file(path)?;
    at_least_one(tensors, others, path)
}

/// The floating-point tensors and the number of other ones.
fn state_dict(file: &[u8]) -> Result<(Vec<NamedTensor>, usize), TorchProblem> {
    let mut archive = Archive::open(file)?;
    let (memory, root) = pickle::read(archive.pickle()?)?;
    let views = views(&memory, root)?;
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
        let values = view.gather(archive.storage(&view.storage.key)?).map_err(in_tensor)?;
        tensors.push(NamedTensor { name, shape: view.shape.clone(), values });
    }
    Ok((tensors, others))
}

/// The tensors of the state dict, which is the whole or an entry of it.
fn views(memory: &Memory, root: NodeId) -> Result<BTreeMap<String, &View>, TorchProblem> {
    let Node::Dictionary(top) = memory.node(root) else {
        return Err(TorchProblem::NotADictionary { found: memory.node(root).kind() });
    };
    let nested = NESTED.iter().find_map(|name| dictionary(memory, top, name));
    let mut views = BTreeMap::new();
    for (key, value) in nested.unwrap_or(top) {
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

/// The last entry of this name that is a dictionary.
fn dictionary<'memory>(
    memory: &'memory Memory,
    entries: &[(NodeId, NodeId)],
    wanted: &str,
) -> Option<&'memory Vec<(NodeId, NodeId)>> {
    entries.iter().rev().find_map(|(key, value)| match (memory.node(*key), memory.node(*value)) {
        (Node::Text(name), Node::Dictionary(entries)) if name == wanted => Some(entries),
        _ => None,
    })
}

fn entry_names(memory: &Memory, entries: &[(NodeId, NodeId)]) -> String {
    let text = |(key, _): &(NodeId, NodeId)| match memory.node(*key) {
        Node::Text(name) => Some(name),
        _ => None,
    };
    name_some(entries.iter().filter_map(text).collect::<Vec<_>>().into_iter())
}
