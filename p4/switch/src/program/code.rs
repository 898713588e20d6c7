//! The compact form of a program that the packet path runs: offsets and indices, no names.

pub use super::lower::InitialEntry;
use crate::exec::wide::Wide;

/// The end of a control flow or of the parser.
pub const END: u32 = u32::MAX;

/// A field of at most 64 bits that lies within one 8-byte window of the frame.
///
/// Value = (big-endian load of 8 bytes at `off`) >> `shift` & `mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fld {
    pub off: u32,
    pub shift: u8,
    pub width: u8,
    /// The field has the first 1, 2, 4 or 8 bytes of the window to itself, so that these alone are read and written; 0 where it
    /// shares its bytes.
    pub own: u8,
    pub mask: u64,
}

/// Bits anywhere in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Offset of the most significant bit from the start of the frame.
    pub bit: u32,
    pub width: u32,
}

/// Where a field lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldRef {
    Narrow(Fld),
    Wide(Bits),
    /// The validity bit of a header, readable as a 1-bit field.
    Valid(u16),
    /// The variable-length field of a header.
    Var(u16),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub width: u32,
    pub signed: bool,
    pub at: FieldRef,
    /// 1 while the value of a signed field is 2^width more than its bits say (see `lower::surplus`).
    pub surplus: Option<Fld>,
}

/// The variable-length field of a header. The frame holds the fixed part without it and the field's bytes apart.
#[derive(Clone, Debug)]
pub struct Var {
    /// Bits of the header before the field.
    pub at: u32,
    /// Where its bytes are in the frame.
    pub area: u32,
    pub max_bytes: u32,
    /// Index of its current length in bytes.
    pub slot: usize,
}

/// One header or metadata instance.
#[derive(Clone, Debug)]
pub struct Header {
    pub name: String,
    pub ty: usize,
    pub metadata: bool,
    /// Byte offset in the frame.
    pub base: u32,
    /// Bytes on the wire without the variable-length field.
    pub fixed: u32,
    /// Bytes in the frame behind these: what its fields have besides their bits.
    pub tail: u32,
    pub fields: Vec<Field>,
    pub var: Option<Var>,
    /// Length of the variable field for programs that give it by the type (P4_14).
    pub var_len: Option<Num>,
    /// The other members of the header union this one is in.
    pub rivals: Vec<u16>,
}

impl Header {
    /// Bytes of the frame from `base` that go where the header's contents go.
    pub fn held(&self) -> u32 {
        self.fixed + self.tail
    }
}

/// A header stack or, with `union_members`, a stack of unions.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Headers, or unions for a union stack.
    pub items: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumOp {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Shl,
    ShrUnsigned,
    ShrSigned,
    Div,
    Rem,
}

/// A numeric expression that fits 64 bits, computed modulo 2^64.
#[derive(Clone, Debug)]
pub enum Num {
    Const(u64),
    Fld(Fld),
    Signed(Fld),
    /// Up to 64 bits that do not lie in one window.
    Bits(Bits),
    SignedBits(Bits),
    Valid(u16),
    Param(u16),
    Op(NumOp, Box<(Num, Num)>),
    And(Box<Num>, u64),
    Add(Box<Num>, u64),
    Not(Box<Num>),
    SignExtend(Box<Num>, u8),
    ClampSigned(Box<Num>, i64, i64),
    ClampUnsigned(Box<Num>, u64),
    Pick(Box<(Bool, Num, Num)>),
    FromBool(Box<Bool>),
    StackCount(u16),
    StackLast(u16),
    UnionStackCount(u16),
    UnionStackLast(u16),
    Register(u16, Box<Num>),
    /// A field of a header that is known only at run time.
    Dyn(Box<Hdr>, u16),
    /// The low 64 bits of a wide expression.
    Low(Box<Big>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BigOp {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Div,
    Rem,
}

/// A numeric expression of any width.
#[derive(Clone, Debug)]
pub enum Big {
    Const(Wide),
    Num(Num, bool),
    Bits(Bits, bool),
    Var(u16),
    Param { word: u16, words: u16 },
    Op(BigOp, Box<(Big, Big)>),
    Not(Box<Big>),
    SignExtend(Box<Big>, u32),
    Saturate(Box<Big>, u32, bool),
    Pick(Box<(Bool, Big, Big)>),
    Register(u16, Box<Num>),
    Dyn(Box<Hdr>, u16, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A truth value.
#[derive(Clone, Debug)]
pub enum Bool {
    Const(bool),
    Valid(u16),
    NonZero(Num),
    BigNonZero(Box<Big>),
    Cmp(Cmp, bool, Box<(Num, Num)>),
    FieldIs(Fld, u64),
    FieldIsNot(Fld, u64),
    BigCmp(Cmp, Box<(Big, Big)>),
    And(Box<(Bool, Bool)>),
    Or(Box<(Bool, Bool)>),
    Not(Box<Bool>),
    Same(Box<(Bool, Bool)>),
    ValidHdr(Box<Hdr>),
    ValidUnion(Box<Union>),
    SameHdr(Box<(Hdr, Hdr)>),
    SameUnion(Box<(Union, Union)>),
    Pick(Box<(Bool, Bool, Bool)>),
}

/// A header, possibly chosen at run time.
#[derive(Clone, Debug)]
pub enum Hdr {
    Fixed(u16),
    Stack(u16, Num),
    /// The last extracted header of a stack.
    Last(u16),
    Member(Box<Union>, u16),
}

/// A header union, possibly chosen at run time.
#[derive(Clone, Debug)]
pub enum Union {
    Fixed(u16),
    Stack(u16, Num),
    Last(u16),
}

/// Where a value is written.
#[derive(Clone, Debug)]
pub enum Dst {
    Fld(Fld),
    Bits(Bits),
    Dyn(Hdr, u16),
    Register(u16, Num),
    /// An unsigned number into a signed field of this width and its surplus.
    Surplus(Box<Dst>, Fld, u32),
    /// Written values are lost, for example to a validity bit.
    Nowhere,
}

/// A value to write, of whatever width.
#[derive(Clone, Debug)]
pub enum Val {
    Num(Num),
    Big(Big),
}

/// One primitive of an action.
#[derive(Clone, Debug)]
pub enum Op {
    Nop,
    SetConst(Fld, u64),
    SetField(Fld, Fld),
    SetParam(Fld, u16),
    SetNum(Fld, Num),
    Set(Dst, Val),
    /// Bytes from one place of the frame to another.
    CopyBytes {
        dst: u32,
        src: u32,
        len: u32,
    },
    AssignVar {
        dst: u16,
        src: u16,
    },
    AssignHeader(Hdr, Hdr),
    AssignUnion(Union, Union),
    AssignStack(u16, u16),
    AssignUnionStack(u16, u16),
    AddHeader(Hdr),
    RemoveHeader(Hdr),
    Push(u16, Num),
    Pop(u16, Num),
    PushUnion(u16, Num),
    PopUnion(u16, Num),
    Jump(usize),
    JumpIfZero(Num, usize),
    JumpUnless(Bool, usize),
    Exit,
    Assert(Bool, &'static str),
    Log(String, Vec<Val>),
    MarkToDrop {
        spec: Option<Fld>,
        group: Option<Fld>,
    },
    Digest(Num),
    CloneIngress(Num, Num),
    CloneEgress(Num, Num),
    Resubmit(Num),
    Recirculate(Num),
    Truncate(Num),
    Hash {
        dst: Dst,
        base: Num,
        calc: u16,
        size: Num,
    },
    Random {
        dst: Dst,
        low: Num,
        high: Num,
    },
    Meter {
        meter: u16,
        index: Num,
        dst: Dst,
    },
    Count {
        counter: u16,
        index: Num,
    },
    RegisterRead {
        dst: Dst,
        register: u16,
        index: Num,
    },
    RegisterWrite {
        register: u16,
        index: Num,
        value: Val,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Action {
    pub ops: Vec<Op>,
    /// Registers it touches, sorted: they are locked for the whole action, as BMv2 does.
    pub registers: Vec<u16>,
}

/// One part of a parser's select key; each is padded to whole bytes.
#[derive(Clone, Debug)]
pub enum SelectPart {
    Num(Num, u32),
    Bits(Bits),
    Lookahead { offset: u32, width: u32 },
    Big(Big, u32),
}

#[derive(Clone, Debug)]
pub enum SelectCase {
    Match { value: Box<[u8]>, mask: Box<[u8]>, next: u32 },
    Set { set: u16, mask: Option<Box<[u8]>>, next: u32 },
}

#[derive(Clone, Debug)]
pub enum ParseOp {
    Extract(u16),
    ExtractVar(u16, Num),
    ExtractStack(u16, Option<Num>),
    ExtractUnionStack(u16, u16, Option<Num>),
    Lookahead { dst: Dst, offset: u32, width: u32 },
    Verify(Bool, Num),
    Advance(Num),
    Do(Op),
}

/// The transitions of a state.
#[derive(Clone, Debug)]
pub enum Select {
    Always(u32),
    /// The whole key fits one word: (value, mask, next).
    Word {
        parts: Vec<SelectPart>,
        cases: Vec<(u64, u64, u32)>,
        default: u32,
    },
    Bytes {
        parts: Vec<SelectPart>,
        len: usize,
        cases: Vec<SelectCase>,
        default: u32,
    },
}

#[derive(Clone, Debug)]
pub struct State {
    pub name: String,
    pub ops: Vec<ParseOp>,
    pub select: Select,
    pub registers: Vec<u16>,
}

/// Which node follows a table.
#[derive(Clone, Debug)]
pub enum Next {
    Same(u32),
    HitMiss(u32, u32),
    /// By the action that ran; else the default.
    ByAction(Vec<(usize, u32)>, u32),
}

#[derive(Clone, Debug)]
pub enum Node {
    Table {
        table: usize,
        next: Next,
    },
    /// `text` is the condition in the program's source, where the JSON has it.
    If {
        cond: Bool,
        yes: u32,
        no: u32,
        text: Box<str>,
    },
    Call {
        action: usize,
        next: u32,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    pub nodes: Vec<Node>,
    pub start: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algo {
    Crc16,
    Crc32,
    CrcCcitt,
    Crc8Custom,
    Crc16Custom,
    Crc32Custom,
    Crc64Custom,
    Csum16,
    Xor16,
    Xor32,
    Identity,
    Random,
    RoundRobin,
    Toeplitz,
    Xxh64,
    HashEx,
}

#[derive(Clone, Debug)]
pub enum CalcPart {
    /// A field, left out when its header is not valid.
    Field(u16, FieldRef, u32),
    /// Whole bytes of a header, left out when it is not valid.
    Bytes {
        header: u16,
        off: u32,
        len: u32,
    },
    Header(u16),
    Const(Vec<u64>, u32),
}

/// A named calculation: an algorithm over a list of fields.
#[derive(Clone, Debug)]
pub struct Calc {
    pub algo: Algo,
    pub parts: Vec<CalcPart>,
    pub payload: bool,
}

#[derive(Clone, Debug)]
pub struct Checksum {
    pub header: u16,
    pub target: FieldRef,
    pub calc: u16,
    pub cond: Option<Bool>,
}

/// Where one field of a table's key goes in the packed key.
#[derive(Clone, Debug)]
pub struct KeyPart {
    pub src: Num,
    /// The value is zero unless this header is valid.
    pub of: Option<u16>,
    /// Word of the packed key, and how far the value is shifted left in it.
    pub word: u16,
    pub shift: u8,
    /// For a wide field instead of `src`: the bits of each word and a mask, most significant word first.
    pub more: Vec<(Bits, u64)>,
    pub width: u32,
    /// Bits of a narrow field that the program's mask keeps; `src` has only these.
    pub keep: u64,
}

/// What the packet path needs to know of a table.
#[derive(Clone, Debug)]
pub struct TableCode {
    pub key: Vec<KeyPart>,
    pub words: usize,
    /// Selector hash input.
    pub selector: Option<u16>,
    /// The same where it is the value of one field.
    pub selector_field: Option<Fld>,
    pub meter_target: Option<Dst>,
}

/// The fields of standard metadata that the switch itself reads or writes.
#[derive(Clone, Debug, Default)]
pub struct Standard {
    pub ingress_port: Option<Fld>,
    pub egress_spec: Option<Fld>,
    pub egress_port: Option<Fld>,
    pub instance_type: Option<Fld>,
    pub packet_length: Option<Fld>,
    pub parser_error: Option<Fld>,
    pub checksum_error: Option<Fld>,
    pub mcast_grp: Option<Fld>,
    pub egress_rid: Option<Fld>,
    pub priority: Option<Fld>,
    pub qid: Option<Fld>,
    pub ingress_timestamp: Option<Fld>,
    pub egress_timestamp: Option<Fld>,
    pub enq_timestamp: Option<Fld>,
    pub enq_qdepth: Option<Fld>,
    pub deq_timedelta: Option<Fld>,
    pub deq_qdepth: Option<Fld>,
}

/// Room behind the fields so that windows may be loaded near their end.
pub const FRAME_PAD: usize = 16;

#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Fields' bytes and [`FRAME_PAD`].
    pub frame_len: usize,
    /// Metadata lies in `0..metadata_len` of the frame.
    pub metadata_len: usize,
    pub headers: Vec<Header>,
    pub stacks: Vec<Stack>,
    pub unions: Vec<Vec<u16>>,
    pub union_stacks: Vec<Stack>,
    /// Validity bits, which stand behind the frame's fields, with those of metadata instances set.
    pub valid0: Vec<u8>,
    pub var_slots: usize,
    pub states: Vec<State>,
    pub start: u32,
    pub ingress: Pipeline,
    pub egress: Pipeline,
    pub actions: Vec<Action>,
    pub deparse: Vec<u16>,
    pub verify: Vec<Checksum>,
    pub update: Vec<Checksum>,
    pub calcs: Vec<Calc>,
    pub tables: Vec<TableCode>,
    /// Most words of any table key.
    pub max_key: usize,
    /// Fields kept across clone, resubmit and recirculate, by list id.
    pub lists: Vec<Vec<FieldRef>>,
    pub digests: Vec<Vec<FieldRef>>,
    /// Digest index by the JSON's list id.
    pub digest_by_id: Vec<Option<u16>>,
    pub initial: Vec<InitialEntry>,
    pub std: Standard,
    /// Parser errors by the core library's names.
    pub err: CoreErrors,
}

/// Values of the core library's parser errors in this program.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreErrors {
    pub none: u32,
    pub packet_too_short: u32,
    pub stack_out_of_bounds: u32,
    pub header_too_short: u32,
    pub invalid_argument: u32,
}
