//! A reader of pickles that executes nothing: it builds plain values, descriptions of tensors and inert placeholders of objects, and refuses a
//! pickle that calls anything else.

use std::collections::HashMap;
use std::rc::Rc;

use super::allowed::{allowed, describes_data, shown};
use super::bytes::{Bytes, signed};
use super::memory::{Function, Memory, Node, NodeId};
use super::opcode as op;
use super::view::{Storage, View};

const MAX_STACK: usize = 1 << 20;
const MAX_MEMO: usize = 1 << 20;
/// Limits on what many tensors may share, so that a short pickle does not describe a huge one. PyTorch allows 64 axes, names storages `0`,
/// `1`, ….
const MAX_AXES: usize = 64;
const MAX_KEY_BYTES: usize = 64;

/// Why a pickle cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleProblem {
    /// A pickle that calls a function beyond those that describe tensors and plain data.
    #[error(
        "its pickle asks for `{name}`, which is no part of a state dict; nothing in the file was executed; if you trust the file, load it in \
         PyTorch and save the weights alone with `torch.save(model.state_dict(), …)`"
    )]
    Refused {
        /// Module and name.
        name: String,
    },
    /// Ends before it says so.
    #[error("its pickle is cut short at byte {offset}")]
    CutShort {
        /// Where it ends.
        offset: usize,
    },
    /// An instruction that PyTorch does not write.
    #[error("its pickle has the instruction {opcode:#04x} at byte {offset}, which `torch.save` never writes")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Where it stands.
        offset: usize,
    },
    /// Values that do not go together.
    #[error("its pickle is broken at byte {offset}: expected {expected}")]
    Broken {
        /// Where it was noticed.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// More than any state dict needs.
    #[error("its pickle has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
}

/// What a pickle holds.
pub(super) struct Pickle {
    /// All its values.
    pub(super) memory: Memory,
    /// The one it stands for.
    pub(super) root: NodeId,
    /// Its length.
    pub(super) bytes: usize,
}

/// Reads the pickle that `pickle` begins with.
pub(super) fn read(pickle: &[u8]) -> Result<Pickle, PickleProblem> {
    let mut machine = Machine {
        bytes: Bytes::new(pickle),
        memory: Memory::default(),
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
    };
    loop {
        let at = machine.bytes.offset();
        let opcode = machine.bytes.byte()?;
        if opcode == op::STOP {
            let root = machine.pop()?;
            return Ok(Pickle { memory: machine.memory, root, bytes: machine.bytes.offset() });
        }
        machine.step(opcode, at)?;
    }
}

/// The problem of a pickle that asks for this function or class.
pub(super) fn refused(name: &str) -> PickleProblem {
    PickleProblem::Refused { name: name.to_owned() }
}

/// Python's pickle machine, without its powers.
struct Machine<'pickle> {
    bytes: Bytes<'pickle>,
    memory: Memory,
    stack: Vec<NodeId>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8, at: usize) -> Result<(), PickleProblem> {
        match opcode {
            op::PROTO => self.bytes.take(1).map(drop),
            op::FRAME => self.bytes.take(8).map(drop),
            op::MARK | op::POP | op::POP_MARK | op::DUP => self.arrange(opcode),
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE | op::BINGET | op::LONG_BINGET => self.recall(opcode),
            op::EMPTY_DICT | op::SETITEM | op::SETITEMS => self.dictionary(opcode),
            op::EMPTY_TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 | op::TUPLE => self.tuple(opcode),
            op::EMPTY_LIST | op::APPEND | op::APPENDS | op::EMPTY_SET | op::ADDITEMS | op::FROZENSET => {
                self.collection(opcode)
            }
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::LONG4 => self.integer(opcode),
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 | op::BINSTRING | op::SHORT_BINSTRING => {
                self.text(opcode)
            }
            op::GLOBAL | op::STACK_GLOBAL => self.global(opcode),
            op::REDUCE => self.call(),
            op::NEWOBJ | op::NEWOBJ_EX => self.object(opcode),
            op::BUILD => self.build(),
            op::BINPERSID => self.storage(),
            _ => self.plain(opcode, at),
        }
    }

    /// Values that say nothing of weights.
    fn plain(&mut self, opcode: u8, at: usize) -> Result<(), PickleProblem> {
        let length = match opcode {
            op::NEWTRUE | op::NEWFALSE => return self.push_new(Node::Truth(opcode == op::NEWTRUE)),
            op::NONE => 0,
            op::BINFLOAT => 8,
            op::SHORT_BINBYTES => self.bytes.length(1)?,
            op::BINBYTES => self.bytes.length(4)?,
            op::BINBYTES8 => self.bytes.length(8)?,
            _ => return Err(PickleProblem::Opcode { opcode, offset: at }),
        };
        self.bytes.take(length)?;
        self.push_new(Node::Plain)
    }

    fn arrange(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        match opcode {
            op::MARK if self.marks.len() == MAX_STACK => {
                return Err(PickleProblem::TooMany { what: "marks", limit: MAX_STACK });
            }
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => drop(self.pop()?),
            op::POP_MARK => drop(self.pop_to_mark()?),
            _ => {
                let top = self.top()?;
                self.push(top)?;
            }
        }
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let index = match opcode {
            op::BINPUT | op::BINGET => self.bytes.number(1)?,
            op::LONG_BINPUT | op::LONG_BINGET => self.bytes.number(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(opcode, op::BINGET | op::LONG_BINGET) {
            let known = self.memo.get(&index).copied();
            return self.push(known.ok_or_else(|| self.broken("a value that was seen before"))?);
        }
        let top = self.top()?;
        self.memo.insert(index, top);
        if self.memo.len() > MAX_MEMO {
            return Err(PickleProblem::TooMany { what: "remembered values", limit: MAX_MEMO });
        }
        Ok(())
    }

    fn dictionary(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        if opcode == op::EMPTY_DICT {
            return self.push_new(Node::Dictionary(Vec::new()));
        }
        let items = if opcode == op::SETITEMS { self.pop_to_mark()? } else { self.pop_some(2)? };
        let (pairs, rest) = items.as_chunks::<2>();
        let (broken, top) = (self.broken("a dictionary, then keys and values"), self.top()?);
        match self.memory.node_mut(top) {
            Node::Dictionary(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            Node::Object(_) => Ok(()),
            _ => Err(broken),
        }
    }

    fn tuple(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let items = match opcode {
            op::TUPLE => self.pop_to_mark()?,
            op::TUPLE1 => self.pop_some(1)?,
            op::TUPLE2 => self.pop_some(2)?,
            op::TUPLE3 => self.pop_some(3)?,
            _ => Vec::new(),
        };
        self.push_new(Node::Tuple(items))
    }

    /// Lists and sets: nothing in a state dict needs to know what is in a set.
    fn collection(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let items = match opcode {
            op::EMPTY_LIST => return self.push_new(Node::List(Vec::new())),
            op::EMPTY_SET => return self.push_new(Node::Plain),
            op::FROZENSET => {
                self.pop_to_mark()?;
                return self.push_new(Node::Plain);
            }
            op::APPEND => vec![self.pop()?],
            _ => self.pop_to_mark()?,
        };
        let (broken, top) = (self.broken("a list or a set, then its items"), self.top()?);
        match self.memory.node_mut(top) {
            Node::List(list) => list.extend(items),
            Node::Plain | Node::Object(_) => {}
            _ => return Err(broken),
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let value = match opcode {
            op::BININT1 => i64::try_from(self.bytes.number(1)?).ok(),
            op::BININT2 => i64::try_from(self.bytes.number(2)?).ok(),
            op::BININT => signed(self.bytes.take(4)?),
            _ => {
                let length = self.bytes.length(if opcode == op::LONG1 { 1 } else { 4 })?;
                signed(self.bytes.take(length)?)
            }
        };
        self.push_new(value.map_or(Node::Plain, Node::Integer))
    }

    fn text(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let length = self.bytes.length(match opcode {
            op::SHORT_BINUNICODE | op::SHORT_BINSTRING => 1,
            op::BINUNICODE | op::BINSTRING => 4,
            _ => 8,
        })?;
        // Python also pickles lone surrogates; they are no text, and no name.
        let text = String::from_utf8_lossy(self.bytes.take(length)?).into_owned();
        self.push_new(Node::Text(text))
    }

    fn global(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let (module, name) = if opcode == op::GLOBAL {
            (self.bytes.line()?, self.bytes.line()?)
        } else {
            let names = self.pop_some(2)?;
            match [self.memory.node(names[0]), self.memory.node(names[1])] {
                [Node::Text(module), Node::Text(name)] => (module.clone(), name.clone()),
                _ => return Err(self.broken("the names of a module and of something in it")),
            }
        };
        let node = allowed(&module, &name).unwrap_or_else(|| Node::Foreign(shown(&module, &name).into()));
        self.push_new(node)
    }

    fn call(&mut self) -> Result<(), PickleProblem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let result = match (self.memory.node(function), self.memory.node(arguments)) {
            (Node::Function(function), Node::Tuple(arguments)) => self.result(*function, arguments)?,
            (Node::Foreign(name), Node::Tuple(_)) if describes_data(name) => Node::Object(Rc::clone(name)),
            (Node::Foreign(name), _) => return Err(refused(name)),
            _ => return Err(self.broken("a function and its arguments")),
        };
        self.push_new(result)
    }

    /// `NEWOBJ` makes an object of a class without initialising it; here it is a placeholder.
    fn object(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        let parts = self.pop_some(if opcode == op::NEWOBJ { 2 } else { 3 })?;
        let object = match self.memory.node(parts[0]) {
            Node::Foreign(class) => Node::Object(Rc::clone(class)),
            _ => return Err(self.broken("a class and what its object is made of")),
        };
        self.push_new(object)
    }

    fn result(&self, function: Function, arguments: &[NodeId]) -> Result<Node, PickleProblem> {
        match function {
            Function::OrderedDictionary if arguments.is_empty() => Ok(Node::Dictionary(Vec::new())),
            Function::OrderedDictionary => Err(self.broken("an OrderedDict without arguments")),
            Function::RebuildTensor => self.tensor(arguments),
            Function::RebuildParameter => self.parameter(arguments),
        }
    }

    fn tensor(&self, arguments: &[NodeId]) -> Result<Node, PickleProblem> {
        let broken = || self.broken("a tensor: storage, offset, shape and strides of at most 64 axes");
        let &[storage, offset, shape, stride, ..] = arguments else {
            return Err(broken());
        };
        let Node::Storage(storage) = self.memory.node(storage) else {
            return Err(broken());
        };
        let view = View {
            storage: storage.clone(),
            offset: self.count(offset).ok_or_else(broken)?,
            shape: self.counts(shape).ok_or_else(broken)?,
            stride: self.counts(stride).ok_or_else(broken)?,
        };
        Ok(Node::Tensor(view))
    }

    fn parameter(&self, arguments: &[NodeId]) -> Result<Node, PickleProblem> {
        match arguments.first().map(|first| self.memory.node(*first)) {
            Some(Node::Tensor(view)) => Ok(Node::Tensor(view.clone())),
            _ => Err(self.broken("a parameter made of a tensor")),
        }
    }

    /// `BUILD` sets attributes, such as the version numbers (`_metadata`) of a state dict; they are passed over.
    fn build(&mut self) -> Result<(), PickleProblem> {
        self.pop()?;
        let top = self.top()?;
        match self.memory.node(top) {
            Node::Dictionary(_) | Node::Tensor(_) | Node::Object(_) => Ok(()),
            _ => Err(self.broken("a dictionary or a tensor to set attributes of")),
        }
    }

    /// `BINPERSID` names a storage: `("storage", type, key, device, length)`; before PyTorch 1.6 a sixth part, none, follows.
    fn storage(&mut self) -> Result<(), PickleProblem> {
        let id = self.pop()?;
        let described = match self.memory.node(id) {
            Node::Tuple(parts) => match parts.get(1).map(|element| self.memory.node(*element)) {
                Some(Node::Foreign(name)) => return Err(refused(name)),
                _ => self.described_storage(parts),
            },
            _ => None,
        };
        let storage = described.ok_or_else(|| self.broken("the type, key and length of a storage"))?;
        self.push_new(Node::Storage(storage))
    }

    fn described_storage(&self, parts: &[NodeId]) -> Option<Storage> {
        let (&[tag, element, key, _device, length], rest) = parts.split_first_chunk()?;
        if !matches!(rest.iter().map(|part| self.memory.node(*part)).collect::<Vec<_>>()[..], [] | [Node::Plain]) {
            return None;
        }
        match [tag, element, key].map(|part| self.memory.node(part)) {
            [Node::Text(tag), Node::StorageType(element), Node::Text(key)]
                if tag == "storage" && key.len() <= MAX_KEY_BYTES =>
            {
                Some(Storage { element: *element, key: key.clone(), length: self.count(length)? })
            }
            _ => None,
        }
    }

    fn count(&self, id: NodeId) -> Option<u64> {
        match self.memory.node(id) {
            Node::Integer(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn counts(&self, id: NodeId) -> Option<Vec<u64>> {
        match self.memory.node(id) {
            Node::Tuple(items) if items.len() <= MAX_AXES => items.iter().map(|item| self.count(*item)).collect(),
            _ => None,
        }
    }

    fn push(&mut self, id: NodeId) -> Result<(), PickleProblem> {
        if self.stack.len() == MAX_STACK {
            return Err(PickleProblem::TooMany { what: "values in a row", limit: MAX_STACK });
        }
        self.stack.push(id);
        Ok(())
    }

    fn push_new(&mut self, node: Node) -> Result<(), PickleProblem> {
        let id = self.memory.add(node)?;
        self.push(id)
    }

    /// Number of values on the stack above the last mark.
    fn available(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, PickleProblem> {
        match self.stack.last() {
            Some(top) if self.available() > 0 => Ok(*top),
            _ => Err(self.broken("a value")),
        }
    }

    fn pop(&mut self) -> Result<NodeId, PickleProblem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_some(&mut self, count: usize) -> Result<Vec<NodeId>, PickleProblem> {
        if self.available() < count {
            return Err(self.broken("more values"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, PickleProblem> {
        let mark = self.marks.pop().ok_or_else(|| self.broken("a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    const fn broken(&self, expected: &'static str) -> PickleProblem {
        PickleProblem::Broken { offset: self.bytes.offset(), expected }
    }
}
