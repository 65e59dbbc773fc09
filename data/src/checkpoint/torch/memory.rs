//! The values a pickle builds; they refer to each other by number, so that shared and cyclic ones need no care.

use std::rc::Rc;

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
    /// A plain value that says nothing of weights: none, a float, bytes, a set, a long integer.
    Plain,
    Truth(bool),
    Integer(i64),
    Text(String),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Dictionary(Vec<(NodeId, NodeId)>),
    Function(Function),
    StorageType(Element),
    Storage(Storage),
    Tensor(View),
    /// A class or function, by name, that no state dict needs: it is never looked up, let alone called.
    Foreign(Rc<str>),
    /// What would be an object of such a class. What is in it is passed over.
    Object(Rc<str>),
}

/// The functions a state dict may call; each only describes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// `collections.OrderedDict()`.
    OrderedDictionary,
    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`, and its predecessor without the last two.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
}

impl Node {
    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Plain => "a plain value",
            Self::Truth(_) => "a truth value",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dictionary(_) => "a dictionary",
            Self::Function(_) | Self::Foreign(_) => "a function",
            Self::StorageType(_) => "a type",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a single tensor",
            Self::Object(_) => "an object",
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

    /// All values, in the order in which they came.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The value of this number, to be changed.
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }
}
