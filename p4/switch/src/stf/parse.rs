//! The syntax of STF.

/// A statement that cannot be read or that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct StfError {
    pub line: usize,
    pub problem: String,
}

/// A statement and its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub number: usize,
    pub statement: Statement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Packets,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub action: String,
    pub args: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub table: String,
    pub priority: Option<i32>,
    pub key: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Packet {
        port: u32,
        data: Vec<u8>,
    },
    /// Hexadecimal digits and `*`; `exact` when nothing may follow.
    Expect {
        port: u32,
        digits: Option<String>,
        exact: bool,
    },
    NoPacket,
    Wait,
    Add {
        entry: Entry,
        call: Call,
        label: Option<String>,
    },
    SetDefault {
        table: String,
        call: Call,
    },
    RemoveAll,
    RemoveLabel(String),
    Remove(Entry),
    CheckCounter {
        name: String,
        index: String,
        check: Vec<(Unit, Op, u128)>,
    },
    /// A command with its words: mc_*, mirroring_*, counter_*, register_*, meter_*.
    Command(String, Vec<String>),
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn done(&mut self) -> bool {
        self.skip();
        self.rest.is_empty()
    }

    fn eat(&mut self, text: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A run of characters up to one of `stops` or a blank; quotes keep everything together.
    fn word(&mut self, stops: &[char]) -> Result<&'a str, String> {
        self.skip();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or("a quote is not closed")?;
            self.rest = &quoted[end + 1..];
            return Ok(&quoted[..end]);
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || stops.contains(&c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err(format!("expected a name or a number before \"{}\"", self.rest)) } else { Ok(word) }
    }
}

fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("found \"{text}\", expected {what}"))
}

fn op(words: &mut Words<'_>) -> Op {
    for (text, op) in
        [("==", Op::Eq), ("!=", Op::Ne), ("<=", Op::Le), (">=", Op::Ge), ("<", Op::Lt), (">", Op::Gt), ("=", Op::Eq)]
    {
        if words.eat(text) {
            return op;
        }
    }
    Op::Eq
}

/// `bytes == 5`, `packets 3`, any number of times.
pub fn checks(text: &str) -> Result<Vec<(Unit, Op, u128)>, String> {
    let mut words = Words { rest: text };
    let mut found = Vec::new();
    while !words.done() {
        let unit = match words.word(&['=', '<', '>', '!'])? {
            "bytes" => Unit::Bytes,
            "packets" => Unit::Packets,
            other => return Err(format!("found \"{other}\", expected bytes or packets")),
        };
        let op = op(&mut words);
        found.push((unit, op, value(words.word(&[','])?)?));
        words.eat(",");
    }
    Ok(found)
}

/// `== 5`, or 5 alone.
pub fn check(text: &str) -> Result<Option<(Op, u128)>, String> {
    let mut words = Words { rest: text };
    if words.done() {
        return Ok(None);
    }
    let op = op(&mut words);
    let found = (op, value(words.word(&[])?)?);
    if words.done() { Ok(Some(found)) } else { Err(format!("found \"{}\" after the value", words.rest)) }
}

/// A number in any of the usual bases.
pub fn value(text: &str) -> Result<u128, String> {
    let (digits, base) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0b" | "0B") => (&text[2..], 2),
        Some("0o" | "0O") => (&text[2..], 8),
        _ => (text, 10),
    };
    u128::from_str_radix(digits, base).map_err(|_| format!("found \"{text}\", expected a number"))
}

fn call(words: &mut Words<'_>) -> Result<Call, String> {
    let action = words.word(&['('])?.to_owned();
    let mut args = Vec::new();
    if !words.eat("(") {
        return Err(format!("expected ( after the action \"{action}\""));
    }
    while !words.eat(")") {
        let name = words.word(&[':', ',', ')'])?.to_owned();
        if !words.eat(":") {
            return Err(format!("expected : after the parameter \"{name}\""));
        }
        args.push((name, words.word(&[',', ')'])?.to_owned()));
        if !words.eat(",") {
            words.skip();
            if !words.rest.starts_with(')') {
                return Err(format!("expected , or ) before \"{}\"", words.rest));
            }
        }
    }
    Ok(Call { action, args })
}

/// A table, a priority if a bare number follows, and the key fields.
fn entry(words: &mut Words<'_>) -> Result<Entry, String> {
    let mut entry = Entry { table: words.word(&[])?.to_owned(), priority: None, key: Vec::new() };
    loop {
        let before = words.rest;
        if words.done() {
            break;
        }
        let name = words.word(&[':', '('])?;
        if words.eat(":") {
            entry.key.push((name.to_owned(), words.word(&[])?.to_owned()));
        } else if entry.priority.is_none() && entry.key.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            entry.priority = Some(number(name, "a priority")?);
        } else {
            // The action's name.
            words.rest = before;
            break;
        }
    }
    Ok(entry)
}

fn statement(line: &str) -> Result<Statement, String> {
    let mut words = Words { rest: line };
    let keyword = words.word(&[])?.to_ascii_lowercase();
    let done = |mut words: Words<'_>, statement| {
        if words.done() { Ok(statement) } else { Err(format!("found \"{}\" after the statement", words.rest)) }
    };
    match keyword.as_str() {
        "packet" => {
            let port = number(words.word(&[])?, "a port number")?;
            let digits: String = words.rest.split_whitespace().collect();
            if !digits.len().is_multiple_of(2) {
                return Err(format!("{} hexadecimal digits are not whole bytes", digits.len()));
            }
            let data: Option<Vec<u8>> = digits
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect();
            Ok(Statement::Packet {
                port,
                data: data.ok_or("packet data has a character that is no hexadecimal digit")?,
            })
        }
        "expect" => {
            let port = number(words.word(&[])?, "a port number")?;
            let mut digits: String = words.rest.split_whitespace().collect();
            let exact = digits.ends_with('$');
            digits.truncate(digits.len() - usize::from(exact));
            if let Some(bad) = digits.chars().find(|c| !c.is_ascii_hexdigit() && *c != '*') {
                return Err(format!("found \"{bad}\", expected hexadecimal digits, * or a final $"));
            }
            let digits = (exact || !digits.is_empty()).then_some(digits);
            Ok(Statement::Expect { port, digits, exact })
        }
        "no_packet" => done(words, Statement::NoPacket),
        "wait" => Ok(Statement::Wait),
        "add" => {
            let entry = entry(&mut words)?;
            let call = call(&mut words)?;
            let label = if words.eat("=") { Some(words.word(&[])?.to_owned()) } else { None };
            done(words, Statement::Add { entry, call, label })
        }
        "setdefault" => {
            let table = words.word(&[])?.to_owned();
            let call = call(&mut words)?;
            done(words, Statement::SetDefault { table, call })
        }
        "remove" => {
            let before = words.rest;
            let first = words.word(&[])?.to_owned();
            if words.done() {
                let all = first.eq_ignore_ascii_case("all");
                return Ok(if all { Statement::RemoveAll } else { Statement::RemoveLabel(first) });
            }
            words.rest = before;
            let entry = entry(&mut words)?;
            done(words, Statement::Remove(entry))
        }
        "check_counter" => {
            let name = words.word(&['('])?.to_owned();
            if !words.eat("(") {
                return Err("expected ( after the counter's name".into());
            }
            let index = words.word(&[')'])?.to_owned();
            if !words.eat(")") {
                return Err("expected ) after the index".into());
            }
            Ok(Statement::CheckCounter { name, index, check: checks(words.rest)? })
        }
        "mc_mgrp_create"
        | "mc_mgrp_destroy"
        | "mc_node_create"
        | "mc_node_update"
        | "mc_node_destroy"
        | "mc_node_associate"
        | "mc_node_dissociate"
        | "mirroring_add"
        | "mirroring_add_mc"
        | "mirroring_delete"
        | "mirroring_get"
        | "counter_read"
        | "counter_write"
        | "counter_reset"
        | "register_read"
        | "register_write"
        | "register_reset"
        | "meter_get_rates"
        | "meter_set_rates"
        | "meter_array_set_rates" => {
            let mut list = Vec::new();
            while !words.done() {
                list.push(words.word(&[])?.to_owned());
            }
            Ok(Statement::Command(keyword, list))
        }
        other => Err(format!("\"{other}\" is not a statement")),
    }
}

/// Reads a test.
///
/// # Errors
/// The first line that is not a statement.
pub fn parse(text: &str) -> Result<Vec<Line>, StfError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let number = index + 1;
        let statement = statement(line).map_err(|problem| StfError { line: number, problem })?;
        lines.push(Line { number, statement });
    }
    Ok(lines)
}
