//! The values a pickle builds; they refer to each other by number, so that shared and cyclic ones need no care.

use super::pickle::PickleProblem;
use super::view::{Storage, View};
use crate::checkpoint::element::Element;

/// A state dict of a thousand tensors takes some twenty thousand.
pub(super) const MAX_NODES: usize = 1 << 20;

/// Number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A plain value that says nothing of weights: none, a truth value, a float, bytes, a list, a set, a long integer.
    Plain,
    Integer(i64),
    Text(String),
    Tuple(Vec<NodeId>),
    Dictionary(Vec<(NodeId, NodeId)>),
    Function(Function),
    StorageType(Element),
    Storage(Storage),
    Tensor(View),
}

/// The functions a state dict may call; each only describes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// `collections.OrderedDict()`.
    OrderedDictionary,
    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
}

impl Node {
    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Plain => "a plain value",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::Dictionary(_) => "a dictionary",
            Self::Function(_) => "a function",
            Self::StorageType(_) => "a type",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a single tensor",
        }
    }
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Memory {
    nodes: Vec<Node>,
}

impl Memory {
    /// Takes a value in.
    pub(super) fn add(&mut self, node: Node) -> Result<NodeId, PickleProblem> {
        if self.nodes.len() == MAX_NODES {
            return Err(PickleProblem::TooMany { what: "values", limit: MAX_NODES });
        }
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// The value of this number.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The value of this number, to be changed.
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }
}
