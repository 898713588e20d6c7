//! What a packet goes through, step by step, for people: log level trace. Only the interpreter tells, so that level makes the switch
//! interpret its program.

use std::fmt::{Display, Formatter, Result, from_fn};

use super::{Ctx, Run};
use crate::program::code::*;
use crate::program::{ActionId, Program, TableId};
use crate::tables::ActionData;

/// The target of these lines.
pub(crate) const TARGET: &str = "p4switch::packet";

macro_rules! trace {
    ($($line:tt)*) => { tracing::trace!(target: crate::exec::trace::TARGET, $($line)*) };
}
pub(crate) use trace;

/// A list with commas.
fn list<T: Display>(f: &mut Formatter<'_>, items: impl Iterator<Item = T>) -> Result {
    for (at, item) in items.enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// A number of words, the most significant first.
fn hex(f: &mut Formatter<'_>, mut words: impl Iterator<Item = u64>) -> Result {
    write!(f, "{:#x}", words.next().unwrap_or(0))?;
    words.try_for_each(|word| write!(f, "{word:016x}"))
}

/// The headers that are valid.
pub fn headers<'a>(code: &'a Code, ctx: &'a Ctx) -> impl Display + 'a {
    from_fn(move |f| {
        let valid = (0..code.headers.len() as u16).filter(|&header| ctx.is_valid(header));
        let valid = valid.map(|header| &code.headers[usize::from(header)]).filter(|header| !header.metadata);
        list(f, valid.map(|header| &header.name))
    })
}

/// A table's name and the packed key.
pub fn look_up<'a>(program: &'a Program, table: TableId, key: &'a [u64]) -> impl Display + 'a {
    from_fn(move |f| {
        write!(f, "table {} [", program.tables[table].name)?;
        let parts = program.tables[table].fields.iter().zip(&program.code.tables[table].key);
        let field = |(field, part): (&'a crate::program::MatchField, &'a KeyPart)| {
            from_fn(move |f| {
                write!(f, "{} = ", field.name)?;
                let word = usize::from(part.word);
                if part.more.is_empty() {
                    let mask = if part.width >= 64 { u64::MAX } else { (1 << part.width) - 1 };
                    return hex(f, std::iter::once(key[word] >> part.shift & mask));
                }
                hex(f, key[word..word + part.more.len()].iter().copied())
            })
        };
        list(f, parts.map(field))?;
        write!(f, "]")
    })
}

/// An action and its parameters.
pub fn call<'a>(program: &'a Program, action: ActionId, words: &'a [u64]) -> impl Display + 'a {
    let info = &program.actions[action];
    from_fn(move |f| {
        write!(f, "{}(", info.name)?;
        let param = |(param, &first): (&'a crate::program::ParamInfo, &'a u16)| {
            from_fn(move |f| {
                write!(f, "{} = ", param.name)?;
                let first = usize::from(first);
                let len = param.bitwidth.div_ceil(64).max(1) as usize;
                hex(f, words.get(first..first + len).unwrap_or_default().iter().rev().copied())
            })
        };
        list(f, info.params.iter().zip(&info.words).map(param))?;
        write!(f, ")")
    })
}

impl Run<'_> {
    /// What a table came to.
    pub(super) fn tell(&self, table: TableId, hit: bool, data: Option<&ActionData>) {
        let program = &self.rt.program;
        let (name, found) = (&program.tables[table].name, if hit { "hit" } else { "miss" });
        match data {
            Some(data) => trace!("table {name}: {found}, {}", call(program, data.action, &data.words)),
            None => trace!("table {name}: {found}, no action"),
        }
    }
}
