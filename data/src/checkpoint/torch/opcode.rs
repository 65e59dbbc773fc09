//! The opcodes of pickle protocols 2 to 5 that `torch.save` uses, by the names of Python's `pickletools`.

macro_rules! opcodes {
    ($($name:ident = $byte:expr;)*) => { $(pub(super) const $name: u8 = $byte;)* };
}

opcodes! {
    MARK = b'('; STOP = b'.'; POP = b'0'; POP_MARK = b'1'; DUP = b'2';
    PROTO = 0x80; FRAME = 0x95;
    NONE = b'N'; NEWTRUE = 0x88; NEWFALSE = 0x89;
    BININT = b'J'; BININT1 = b'K'; BININT2 = b'M'; LONG1 = 0x8a; LONG4 = 0x8b;
    BINFLOAT = b'G';
    BINSTRING = b'T'; SHORT_BINSTRING = b'U'; BINUNICODE = b'X'; SHORT_BINUNICODE = 0x8c; BINUNICODE8 = 0x8d;
    BINBYTES = b'B'; SHORT_BINBYTES = b'C'; BINBYTES8 = 0x8e;
    EMPTY_TUPLE = b')'; TUPLE = b't'; TUPLE1 = 0x85; TUPLE2 = 0x86; TUPLE3 = 0x87;
    EMPTY_LIST = b']'; APPEND = b'a'; APPENDS = b'e';
    EMPTY_SET = 0x8f; ADDITEMS = 0x90; FROZENSET = 0x91;
    EMPTY_DICT = b'}'; SETITEM = b's'; SETITEMS = b'u';
    BINPUT = b'q'; LONG_BINPUT = b'r'; MEMOIZE = 0x94; BINGET = b'h'; LONG_BINGET = b'j';
    NEWOBJ = 0x81; NEWOBJ_EX = 0x92; GLOBAL = b'c'; STACK_GLOBAL = 0x93; REDUCE = b'R'; BUILD = b'b'; BINPERSID = b'Q';
}
