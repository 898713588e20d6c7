//! Expressions: from JSON to an untyped tree, and from there to truth values, headers and wide numbers.

use super::super::code::*;
use super::{Lower, MAX_EXPR_DEPTH, Param, Result};
use crate::exec::wide::Wide;
use crate::json::Node;

/// An expression as the JSON has it, names resolved.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Field(u16, usize),
    Const(Wide),
    Bool(bool),
    Local(usize),
    Header(u16),
    Stack(u16),
    Union(u16),
    UnionStack(u16),
    StackField(u16, usize),
    UnionStackField(u16, usize, usize),
    Register(u16, Box<Expr>),
    Member(Box<Expr>, usize),
    UnionMember(Box<Expr>, usize),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<(Expr, Expr)>),
    Pick(Box<(Expr, Expr, Expr)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    BitNot,
    Valid,
    ValidUnion,
    ToBool,
    ToData,
    LastIndex,
    Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Math(BigOp),
    Cmp(Cmp),
    And,
    Or,
    SignExtend,
    SatSigned,
    SatUnsigned,
    StackAt,
    UnionStackAt,
}

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Data,
    Bool,
    Header,
    Union,
    Other,
}

impl Expr {
    pub(super) fn sort(&self) -> Sort {
        match self {
            Expr::Bool(_) => Sort::Bool,
            Expr::Header(_) | Expr::UnionMember(..) => Sort::Header,
            Expr::Union(_) => Sort::Union,
            Expr::Stack(_) | Expr::UnionStack(_) => Sort::Other,
            Expr::Unary(Unary::Not | Unary::Valid | Unary::ValidUnion | Unary::ToBool, _) => Sort::Bool,
            Expr::Binary(op, _) => match op {
                Binary::Cmp(_) | Binary::And | Binary::Or => Sort::Bool,
                Binary::StackAt => Sort::Header,
                Binary::UnionStackAt => Sort::Union,
                _ => Sort::Data,
            },
            Expr::Pick(parts) => parts.1.sort(),
            _ => Sort::Data,
        }
    }
}

impl Lower {
    /// Reads a type-value object.
    pub(super) fn expr(&mut self, node: &Node<'_>) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_EXPR_DEPTH {
            return Err(node.err(format!("an expression nests deeper than {MAX_EXPR_DEPTH}")));
        }
        let expr = self.expr_inner(node, None);
        self.depth -= 1;
        expr
    }

    /// An expression in a header type, where fields are named without their header.
    pub(super) fn expr_in_header(&mut self, node: &Node<'_>, header: u16) -> Result<Expr> {
        self.expr_inner(node, Some(header))
    }

    fn expr_inner(&mut self, node: &Node<'_>, within: Option<u16>) -> Result<Expr> {
        let ty = node.get("type")?;
        let value = node.get("value")?;
        Ok(match ty.str()? {
            "expression" => {
                if value.opt("op")?.is_some() {
                    self.operation(&value, within)?
                } else {
                    self.nested(&value, within)?
                }
            }
            "field" => match within {
                Some(header) if !value.is_array() => {
                    let name = value.str()?;
                    let fields = &self.code.headers[usize::from(header)].fields;
                    let index = fields.iter().position(|f| f.name == name);
                    Expr::Field(header, index.ok_or_else(|| value.err("no such field in this header"))?)
                }
                _ => {
                    let (header, index) = self.field(&value)?;
                    Expr::Field(header, index)
                }
            },
            "hexstr" => {
                let (negative, bytes) = value.hex()?;
                let wide = Wide::from_bytes(&bytes);
                Expr::Const(if negative { wide.neg() } else { wide })
            }
            "bool" => Expr::Bool(value.bool()?),
            "local" | "runtime_data" => {
                let index = value.uint(10_000)? as usize;
                if index >= self.params.len() {
                    return Err(value.err(format!("the action has {} parameters", self.params.len())));
                }
                Expr::Local(index)
            }
            "header" => match self.header_ids.get(value.str()?) {
                Some(&header) => Expr::Header(header),
                // p4c says so of a union in a stack; BMv2 does not survive it.
                None => Expr::Union(self.named(&self.union_ids, &value, "header")?),
            },
            "header_stack" => Expr::Stack(self.named(&self.stack_ids, &value, "header stack")?),
            "header_union" => Expr::Union(self.named(&self.union_ids, &value, "header union")?),
            "header_union_stack" => {
                Expr::UnionStack(self.named(&self.union_stack_ids, &value, "header union stack")?)
            }
            "stack_field" => {
                let [stack, field] = value.tuple::<2>()?;
                let id = self.named(&self.stack_ids, &stack, "header stack")?;
                let header = self.code.stacks[usize::from(id)].items[0];
                match self.field_of(header, &field) {
                    // The last element as a whole, as p4c's back end writes it.
                    Err(_) if field.str()? == "last" => {
                        let last = Expr::Unary(Unary::LastIndex, Box::new(Expr::Stack(id)));
                        Expr::Binary(Binary::StackAt, Box::new((Expr::Stack(id), last)))
                    }
                    field => Expr::StackField(id, field?),
                }
            }
            "union_stack_field" => {
                let [stack, member, field] = value.tuple::<3>()?;
                let id = self.named(&self.union_stack_ids, &stack, "header union stack")?;
                let (member, header) = self.union_member(id, &member)?;
                Expr::UnionStackField(id, member, self.field_of(header, &field)?)
            }
            "register" => {
                let [name, index] = value.tuple::<2>()?;
                let id = self.named(&self.register_ids, &name, "register")?;
                Expr::Register(id, Box::new(self.nested(&index, within)?))
            }
            other => return Err(ty.err(format!("found \"{other}\", which is not a kind of value"))),
        })
    }

    fn nested(&mut self, node: &Node<'_>, within: Option<u16>) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_EXPR_DEPTH {
            return Err(node.err(format!("an expression nests deeper than {MAX_EXPR_DEPTH}")));
        }
        let expr = self.expr_inner(node, within);
        self.depth -= 1;
        expr
    }

    /// Index of a field in headers of this one's type.
    pub(super) fn field_of(&mut self, header: u16, node: &Node<'_>) -> Result<usize> {
        let name = node.str()?;
        if name == "$valid$" {
            return Ok(Self::VALID);
        }
        let fields = &self.code.headers[usize::from(header)].fields;
        fields.iter().position(|f| f.name == name).ok_or_else(|| node.err(format!("no field is called \"{name}\"")))
    }

    /// Index of a union's member by its name in the instances (`stack[0].member`), and one such header.
    pub(super) fn union_member(&mut self, stack: u16, node: &Node<'_>) -> Result<(usize, u16)> {
        let name = node.str()?;
        let union = self.code.union_stacks[usize::from(stack)].items[0];
        let members = &self.code.unions[usize::from(union)];
        let suffix = format!(".{name}");
        let found = members.iter().position(|&h| self.code.headers[usize::from(h)].name.ends_with(&suffix));
        found
            .map(|index| (index, members[index]))
            .ok_or_else(|| node.err(format!("the union has no member \"{name}\"")))
    }

    fn operation(&mut self, node: &Node<'_>, within: Option<u16>) -> Result<Expr> {
        let op_node = node.get("op")?;
        let op = op_node.str()?;
        let left = node.opt("left")?;
        let right = node.get("right")?;
        if let "access_field" | "access_union_header" = op {
            let left = left.ok_or_else(|| node.err("the member \"left\" is missing"))?;
            let base = Box::new(self.nested(&left, within)?);
            let index = right.uint(4_096)? as usize;
            return Ok(if op == "access_field" { Expr::Member(base, index) } else { Expr::UnionMember(base, index) });
        }
        if op == "?" {
            let cond = self.nested(&node.get("cond")?, within)?;
            let left = self.nested(&node.get("left")?, within)?;
            return Ok(Expr::Pick(Box::new((cond, left, self.nested(&right, within)?))));
        }
        let unary = match op {
            "not" => Some(Unary::Not),
            "~" => Some(Unary::BitNot),
            "valid" => Some(Unary::Valid),
            "valid_union" => Some(Unary::ValidUnion),
            "d2b" => Some(Unary::ToBool),
            "b2d" => Some(Unary::ToData),
            "last_stack_index" => Some(Unary::LastIndex),
            "size_stack" => Some(Unary::Size),
            _ => None,
        };
        if let Some(unary) = unary {
            return Ok(Expr::Unary(unary, Box::new(self.nested(&right, within)?)));
        }
        let binary = match op {
            "+" => Binary::Math(BigOp::Add),
            "-" => Binary::Math(BigOp::Sub),
            "*" => Binary::Math(BigOp::Mul),
            "/" => Binary::Math(BigOp::Div),
            "%" => Binary::Math(BigOp::Rem),
            "&" => Binary::Math(BigOp::And),
            "|" => Binary::Math(BigOp::Or),
            "^" => Binary::Math(BigOp::Xor),
            "<<" => Binary::Math(BigOp::Shl),
            ">>" => Binary::Math(BigOp::Shr),
            "==" | "==h" | "==u" | "==b" => Binary::Cmp(Cmp::Eq),
            "!=" | "!=h" | "!=u" | "!=b" => Binary::Cmp(Cmp::Ne),
            "<" => Binary::Cmp(Cmp::Lt),
            "<=" => Binary::Cmp(Cmp::Le),
            ">" => Binary::Cmp(Cmp::Gt),
            ">=" => Binary::Cmp(Cmp::Ge),
            "and" => Binary::And,
            "or" => Binary::Or,
            "two_comp_mod" => Binary::SignExtend,
            "sat_cast" => Binary::SatSigned,
            "usat_cast" => Binary::SatUnsigned,
            "dereference_stack" | "dereference_header_stack" => Binary::StackAt,
            "dereference_union_stack" => Binary::UnionStackAt,
            other => return Err(op_node.err(format!("the operator \"{other}\" is not known"))),
        };
        let left = match left {
            Some(left) => self.nested(&left, within)?,
            None if matches!(op, "+" | "-") => Expr::Const(Wide::from_u64(0)),
            None => return Err(node.err("the member \"left\" is missing")),
        };
        let right = self.nested(&right, within)?;
        let (l, r) = (left.sort(), right.sort());
        let fits = match binary {
            Binary::Cmp(Cmp::Eq | Cmp::Ne) => l == r && l != Sort::Other,
            Binary::StackAt => matches!(left, Expr::Stack(_)) && r == Sort::Data,
            Binary::UnionStackAt => matches!(left, Expr::UnionStack(_)) && r == Sort::Data,
            _ => [l, r].iter().all(|s| matches!(s, Sort::Data | Sort::Bool)),
        };
        if !fits {
            return Err(node.err(format!("the operands do not suit the operator \"{op}\"")));
        }
        Ok(Expr::Binary(binary, Box::new((left, right))))
    }

    /// A truth value; a number counts as true when it is not zero.
    pub(super) fn bool(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Bool> {
        Ok(match expr {
            Expr::Bool(value) => Bool::Const(*value),
            Expr::Unary(Unary::Not, x) => Bool::Not(Box::new(self.bool(x, node)?)),
            Expr::Unary(Unary::Valid, x) => match self.header(x, node)? {
                Hdr::Fixed(header) => Bool::Valid(header),
                header => Bool::ValidHdr(Box::new(header)),
            },
            Expr::Unary(Unary::ValidUnion, x) => Bool::ValidUnion(Box::new(self.union(x, node)?)),
            Expr::Unary(Unary::ToBool | Unary::ToData, x) => self.bool(x, node)?,
            Expr::Binary(Binary::And, x) => Bool::And(Box::new((self.bool(&x.0, node)?, self.bool(&x.1, node)?))),
            Expr::Binary(Binary::Or, x) => Bool::Or(Box::new((self.bool(&x.0, node)?, self.bool(&x.1, node)?))),
            Expr::Binary(Binary::Cmp(cmp), x) => {
                let negate = |is_eq: bool, b: Bool| if is_eq { b } else { Bool::Not(Box::new(b)) };
                let eq = *cmp == Cmp::Eq;
                match x.0.sort() {
                    Sort::Bool if matches!(cmp, Cmp::Eq | Cmp::Ne) => {
                        negate(eq, Bool::Same(Box::new((self.bool(&x.0, node)?, self.bool(&x.1, node)?))))
                    }
                    Sort::Header => {
                        negate(eq, Bool::SameHdr(Box::new((self.header(&x.0, node)?, self.header(&x.1, node)?))))
                    }
                    Sort::Union => {
                        negate(eq, Bool::SameUnion(Box::new((self.union(&x.0, node)?, self.union(&x.1, node)?))))
                    }
                    _ => self.compare(*cmp, &x.0, &x.1, node)?,
                }
            }
            Expr::Pick(x) if x.1.sort() == Sort::Bool => {
                Bool::Pick(Box::new((self.bool(&x.0, node)?, self.bool(&x.1, node)?, self.bool(&x.2, node)?)))
            }
            _ => match self.exact(expr, node)? {
                Some((Num::Valid(header), _)) => Bool::Valid(header),
                Some((num, _)) => Bool::NonZero(num),
                None => Bool::BigNonZero(Box::new(self.big(expr, node)?)),
            },
        })
    }

    fn compare(&mut self, cmp: Cmp, left: &Expr, right: &Expr, node: &Node<'_>) -> Result<Bool> {
        if let (Some((l, a)), Some((r, b))) = (self.exact(left, node)?, self.exact(right, node)?) {
            let (low, high) = (a.0.min(b.0), a.1.max(b.1));
            let signed = high <= i128::from(i64::MAX) && low >= i128::from(i64::MIN);
            if signed || low >= 0 {
                return Ok(match (cmp, &l, &r) {
                    (Cmp::Eq, &Num::Fld(f), &Num::Const(c)) => Bool::FieldIs(f, c),
                    (Cmp::Ne, &Num::Fld(f), &Num::Const(c)) => Bool::FieldIsNot(f, c),
                    (Cmp::Eq, &Num::Valid(h), Num::Const(1)) => Bool::Valid(h),
                    _ => Bool::Cmp(cmp, signed && low < 0, Box::new((l, r))),
                });
            }
        }
        Ok(Bool::BigCmp(cmp, Box::new((self.big(left, node)?, self.big(right, node)?))))
    }

    pub(super) fn header(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Hdr> {
        match expr {
            Expr::Header(header) => Ok(Hdr::Fixed(*header)),
            Expr::Binary(Binary::StackAt, x) => {
                let Expr::Stack(stack) = x.0 else { return Err(node.err("expected a header stack")) };
                let index = self.low(&x.1, 64, node)?;
                let items = &self.code.stacks[usize::from(stack)].items;
                if let Num::Const(c) = index
                    && let Some(&header) = items.get(c as usize)
                {
                    return Ok(Hdr::Fixed(header));
                }
                Ok(Hdr::Stack(stack, index))
            }
            Expr::UnionMember(x, member) => {
                let union = self.union(x, node)?;
                let count = self.code.unions[usize::from(self.sample_union(&union))].len();
                if *member >= count {
                    return Err(node.err(format!("the union has {count} members")));
                }
                match union {
                    Union::Fixed(union) => Ok(Hdr::Fixed(self.code.unions[usize::from(union)][*member])),
                    union => Ok(Hdr::Member(Box::new(union), *member as u16)),
                }
            }
            _ => Err(node.err("expected a header")),
        }
    }

    pub(super) fn union(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Union> {
        match expr {
            Expr::Union(union) => Ok(Union::Fixed(*union)),
            Expr::Binary(Binary::UnionStackAt, x) => {
                let Expr::UnionStack(stack) = x.0 else {
                    return Err(node.err("expected a header union stack"));
                };
                let index = self.low(&x.1, 64, node)?;
                let items = &self.code.union_stacks[usize::from(stack)].items;
                if let Num::Const(c) = index
                    && let Some(&union) = items.get(c as usize)
                {
                    return Ok(Union::Fixed(union));
                }
                Ok(Union::Stack(stack, index))
            }
            _ => Err(node.err("expected a header union")),
        }
    }

    fn sample_union(&self, union: &Union) -> u16 {
        match union {
            Union::Fixed(union) => *union,
            Union::Stack(stack, _) | Union::Last(stack) => self.code.union_stacks[usize::from(*stack)].items[0],
        }
    }

    /// A header of the type that `header` yields.
    pub(super) fn sample(&self, header: &Hdr) -> u16 {
        match header {
            Hdr::Fixed(header) => *header,
            Hdr::Stack(stack, _) | Hdr::Last(stack) => self.code.stacks[usize::from(*stack)].items[0],
            Hdr::Member(union, member) => self.code.unions[usize::from(self.sample_union(union))][usize::from(*member)],
        }
    }

    /// A field of a header chosen at run time: the header, the field's index, width and sign.
    pub(super) fn dynamic(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Option<(Hdr, usize, u32, bool)>> {
        let (header, index) = match expr {
            Expr::Member(x, index) => (self.header(x, node)?, *index),
            Expr::StackField(stack, index) => (Hdr::Last(*stack), *index),
            Expr::UnionStackField(stack, member, index) => {
                (Hdr::Member(Box::new(Union::Last(*stack)), *member as u16), *index)
            }
            _ => return Ok(None),
        };
        let fields = &self.code.headers[usize::from(self.sample(&header))].fields;
        // One past the last field is the validity bit.
        if index == Self::VALID || index == fields.len() {
            return Ok(Some((header, Self::VALID, 1, false)));
        }
        let field = fields.get(index).ok_or_else(|| node.err(format!("the header has {} fields", fields.len())))?;
        if matches!(field.at, FieldRef::Var(_)) {
            return Err(node.err("a variable-length field cannot be read here"));
        }
        Ok(Some((header, index, field.width, field.signed)))
    }

    /// A number of any width.
    pub(super) fn big(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Big> {
        if let Some((num, range)) = self.exact(expr, node)? {
            return Ok(Big::Num(num, range.0 < 0));
        }
        if let Some((header, index, _, signed)) = self.dynamic(expr, node)? {
            return Ok(Big::Dyn(Box::new(header), index as u16, signed));
        }
        if let Expr::Field(header, index) = expr
            && let Some(flag) = self.surplus_of(*header, *index)
        {
            let (at, width) = self.field_at(*header, *index);
            let bits = match at {
                FieldRef::Narrow(fld) => Big::Num(Num::Signed(fld), true),
                FieldRef::Wide(bits) => Big::Bits(bits, true),
                _ => return Err(node.err("expected a number")),
            };
            let width = Big::Const(Wide::from_u64(width.into()));
            let more = Big::Op(BigOp::Shl, Box::new((Big::Num(Num::Fld(flag), false), width)));
            return Ok(Big::Op(BigOp::Add, Box::new((bits, more))));
        }
        Ok(match expr {
            Expr::Field(header, index) => match self.field_at(*header, *index).0 {
                FieldRef::Wide(bits) => Big::Bits(bits, self.code.headers[usize::from(*header)].fields[*index].signed),
                FieldRef::Var(header) => Big::Var(header),
                FieldRef::Narrow(fld) => Big::Num(Num::Fld(fld), false),
                FieldRef::Valid(header) => Big::Num(Num::Valid(header), false),
            },
            Expr::Const(value) => Big::Const(value.clone()),
            Expr::Local(index) => {
                let Param { word, width, signed } = self.params[*index];
                let param = Big::Param { word, words: width.div_ceil(64) as u16 };
                if signed { Big::SignExtend(Box::new(param), width) } else { param }
            }
            Expr::Register(id, index) => Big::Register(*id, Box::new(self.low(index, 64, node)?)),
            Expr::Unary(Unary::BitNot, x) => Big::Not(Box::new(self.big(x, node)?)),
            Expr::Binary(Binary::Math(op), x) => Big::Op(*op, Box::new((self.big(&x.0, node)?, self.big(&x.1, node)?))),
            Expr::Binary(Binary::SignExtend, x) => {
                let bits = self.width_const(&x.1, node)?;
                Big::SignExtend(Box::new(self.big(&x.0, node)?), bits)
            }
            Expr::Binary(op @ (Binary::SatSigned | Binary::SatUnsigned), x) => {
                let bits = self.width_const(&x.1, node)?;
                Big::Saturate(Box::new(self.big(&x.0, node)?), bits, *op == Binary::SatSigned)
            }
            Expr::Pick(x) => {
                Big::Pick(Box::new((self.bool(&x.0, node)?, self.big(&x.1, node)?, self.big(&x.2, node)?)))
            }
            _ => return Err(node.err("expected a number")),
        })
    }

    /// The width of a cast: a constant.
    pub(super) fn width_const(&self, expr: &Expr, node: &Node<'_>) -> Result<u32> {
        match expr {
            Expr::Const(value) if !value.negative() && (1..=4_096).contains(&value.low()) => Ok(value.low() as u32),
            _ => Err(node.err("expected a constant width from 1 to 4096")),
        }
    }

    /// Whatever is cheapest that yields the low `width` bits.
    pub(super) fn val(&mut self, expr: &Expr, width: u32, node: &Node<'_>) -> Result<Val> {
        if width <= 64 {
            return Ok(Val::Num(self.low(expr, width, node)?));
        }
        if let Some((num, range)) = self.exact(expr, node)?
            && range.0 >= 0
        {
            return Ok(Val::Num(num));
        }
        Ok(match self.big(expr, node)? {
            // A sign matters beyond 64 bits, so the wide form stays.
            Big::Num(num, false) => Val::Num(num),
            big => Val::Big(big),
        })
    }
}
