//! What a pickle may ask for: descriptions of tensors, and nothing that does anything.

use super::memory::{Function, Node};
use crate::checkpoint::element::Element;

const NAME_CHARACTERS_SHOWN: usize = 80;

/// Everything a state dict may ask for.
pub(super) fn allowed(module: &str, name: &str) -> Option<Node> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Node::Function(Function::OrderedDictionary)),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Node::Function(Function::RebuildTensor)),
        ("torch._utils", "_rebuild_parameter") => Some(Node::Function(Function::RebuildParameter)),
        ("torch", storage) => storage_type(storage).map(Node::StorageType),
        _ => None,
    }
}

fn storage_type(name: &str) -> Option<Element> {
    match name {
        "FloatStorage" => Some(Element::Float32),
        "DoubleStorage" => Some(Element::Float64),
        "HalfStorage" => Some(Element::Float16),
        "BFloat16Storage" => Some(Element::BFloat16),
        "LongStorage" => Some(Element::Other(8)),
        "IntStorage" => Some(Element::Other(4)),
        "ShortStorage" => Some(Element::Other(2)),
        "CharStorage" | "ByteStorage" | "BoolStorage" => Some(Element::Other(1)),
        _ => None,
    }
}

/// The name in a message: no control characters, and not too long.
pub(super) fn shown(module: &str, name: &str) -> String {
    let whole = format!("{module}.{name}");
    let mut shown: String = whole.chars().take(NAME_CHARACTERS_SHOWN).flat_map(char::escape_debug).collect();
    if whole.chars().count() > NAME_CHARACTERS_SHOWN {
        shown.push('…');
    }
    shown
}
