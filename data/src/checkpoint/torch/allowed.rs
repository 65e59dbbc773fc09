//! What a pickle may ask for: descriptions of tensors, and plain data of well-known libraries that is passed over.

use super::memory::{Function, Node};
use crate::checkpoint::element::Element;

const NAME_CHARACTERS_SHOWN: usize = 80;

/// Everything a state dict may ask for.
pub(super) fn allowed(module: &str, name: &str) -> Option<Node> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Node::Function(Function::OrderedDictionary)),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Node::Function(Function::RebuildTensor)),
        ("torch._utils", "_rebuild_parameter") => Some(Node::Function(Function::RebuildParameter)),
        ("torch", storage) => storage_type(storage).map(Node::StorageType),
        _ => None,
    }
}

/// Whether a call of this function only describes a value: such values lie beside the state dict, in the notes of a training script.
///
/// Nothing is called either way. A call of anything else is refused, because a file with code in it should be noticed.
pub(super) fn describes_data(name: &str) -> bool {
    const NAMES: [&str; 30] = [
        "__builtin__.bytearray",
        "__builtin__.complex",
        "__builtin__.frozenset",
        "__builtin__.range",
        "__builtin__.set",
        "__builtin__.slice",
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.frozenset",
        "builtins.range",
        "builtins.set",
        "builtins.slice",
        "collections.Counter",
        "collections.defaultdict",
        "collections.deque",
        "copy_reg._reconstructor",
        "copyreg._reconstructor",
        "datetime.datetime",
        "datetime.timedelta",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.WindowsPath",
        "torch.Size",
        "torch.device",
    ];
    NAMES.contains(&name)
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
