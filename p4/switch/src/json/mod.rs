//! Reading BMv2 JSON: a cursor over the document that remembers where it is, so that every error names the JSON path.

use std::fmt;
use std::rc::Rc;

use serde_json::Value;

/// Why a document is not a BMv2 JSON program that this switch can run.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{path}: {problem}")]
pub struct LoadError {
    /// Where in the document, for example `$.pipelines[0].tables[3].key[0].match_type`.
    pub path: String,
    /// What was found and what is allowed.
    pub problem: String,
}

enum Path<'a> {
    Root,
    Key(Rc<Path<'a>>, &'a str),
    Index(Rc<Path<'a>>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => f.write_str("$"),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// One value of the document and its path.
#[derive(Clone)]
pub struct Node<'a> {
    value: &'a Value,
    path: Rc<Path<'a>>,
}

/// Deepest nesting of objects and arrays that is accepted.
const MAX_DEPTH: usize = 2_000;

/// Parses the text of a document. Deep nesting is refused before the parser recurses into it.
pub fn parse(bytes: &[u8]) -> Result<Value, LoadError> {
    let root = |problem: String| LoadError { path: "$".into(), problem };
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(root(format!("nested deeper than {MAX_DEPTH} levels")));
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    let value =
        <Value as serde::Deserialize>::deserialize(&mut reader).map_err(|error| root(format!("not JSON: {error}")))?;
    reader.end().map_err(|error| root(format!("not JSON: {error}")))?;
    Ok(value)
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) if s.len() <= 60 => format!("the string \"{s}\""),
        Value::String(s) => format!("a string of {} bytes", s.len()),
        Value::Array(a) => format!("an array of {}", a.len()),
        Value::Object(_) => "an object".into(),
    }
}

impl<'a> Node<'a> {
    /// The whole document.
    pub fn root(value: &'a Value) -> Self {
        Node { value, path: Rc::new(Path::Root) }
    }

    /// An error at this place.
    pub fn err(&self, problem: impl Into<String>) -> LoadError {
        LoadError { path: self.path.to_string(), problem: problem.into() }
    }

    fn wrong(&self, wanted: &str) -> LoadError {
        self.err(format!("found {}, expected {wanted}", kind(self.value)))
    }

    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub fn is_string(&self) -> bool {
        self.value.is_string()
    }

    pub fn is_array(&self) -> bool {
        self.value.is_array()
    }

    fn child(&self, key: &'a str, value: &'a Value) -> Node<'a> {
        Node { value, path: Rc::new(Path::Key(self.path.clone(), key)) }
    }

    /// A required member of an object.
    pub fn get(&self, key: &'a str) -> Result<Node<'a>, LoadError> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        match object.get(key) {
            Some(value) => Ok(self.child(key, value)),
            None => Err(self.err(format!("the member \"{key}\" is missing"))),
        }
    }

    /// A member that may be missing or null.
    pub fn opt(&self, key: &'a str) -> Result<Option<Node<'a>>, LoadError> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        Ok(object.get(key).filter(|value| !value.is_null()).map(|value| self.child(key, value)))
    }

    /// The members of an object.
    pub fn members(&self) -> Result<Vec<(&'a str, Node<'a>)>, LoadError> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        Ok(object.iter().map(|(key, value)| (key.as_str(), self.child(key, value))).collect())
    }

    /// The elements of an array.
    pub fn items(&self) -> Result<Vec<Node<'a>>, LoadError> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        let at = |(index, value)| Node { value, path: Rc::new(Path::Index(self.path.clone(), index)) };
        Ok(array.iter().enumerate().map(at).collect())
    }

    /// The elements of an optional array member; none when it is missing.
    pub fn list(&self, key: &'a str) -> Result<Vec<Node<'a>>, LoadError> {
        self.opt(key)?.map_or_else(|| Ok(Vec::new()), |node| node.items())
    }

    /// Exactly `N` elements.
    pub fn tuple<const N: usize>(&self) -> Result<[Node<'a>; N], LoadError> {
        self.items()?
            .try_into()
            .map_err(|items: Vec<_>| self.err(format!("found {} elements, expected {N}", items.len())))
    }

    pub fn str(&self) -> Result<&'a str, LoadError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub fn bool(&self) -> Result<bool, LoadError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub fn int(&self) -> Result<i64, LoadError> {
        self.value.as_i64().ok_or_else(|| self.wrong("an integer"))
    }

    /// A number from 0 to `max`.
    pub fn uint(&self, max: u64) -> Result<u64, LoadError> {
        match self.value.as_u64() {
            Some(number) if number <= max => Ok(number),
            _ => Err(self.wrong(&format!("a number from 0 to {max}"))),
        }
    }

    /// A hexadecimal string such as `0x0a` or `-0x1`: the sign and the magnitude's bytes, most significant first.
    pub fn hex(&self) -> Result<(bool, Vec<u8>), LoadError> {
        let text = self.str()?;
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        if digits.is_empty() || digits.len() > 4_096 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.wrong("a hexadecimal string of at most 4096 digits"));
        }
        let nibble = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
        let digits = digits.as_bytes();
        let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
        let (head, rest) = digits.split_at(digits.len() % 2);
        bytes.extend(head.iter().map(|&b| nibble(b)));
        bytes.extend(rest.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
        Ok((negative, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_path_and_what_was_found() {
        let value = parse(br#"{"tables":[{"name":"a"},{"name":7}]}"#).unwrap();
        let tables = Node::root(&value).get("tables").unwrap().items().unwrap();
        assert_eq!(tables[0].get("name").unwrap().str().unwrap(), "a");
        assert_eq!(
            tables[1].get("name").unwrap().str().unwrap_err().to_string(),
            "$.tables[1].name: found the number 7, expected a string"
        );
        assert_eq!(tables[1].get("id").err().unwrap().to_string(), "$.tables[1]: the member \"id\" is missing");
        assert!(parse(b"{").is_err() && parse(b"{} x").is_err());
        assert!(parse("[".repeat(5_000).as_bytes()).unwrap_err().problem.contains("nested"));
    }

    #[test]
    fn hexadecimal_strings() {
        let value: Value = serde_json::from_str(r#"["0x0a0b","-0x1","abc","0x","zz"]"#).unwrap();
        let items = Node::root(&value).items().unwrap();
        assert_eq!(items[0].hex().unwrap(), (false, vec![0x0a, 0x0b]));
        assert_eq!(items[1].hex().unwrap(), (true, vec![1]));
        assert_eq!(items[2].hex().unwrap(), (false, vec![0x0a, 0xbc]));
        assert!(items[3].hex().is_err() && items[4].hex().is_err());
    }
}
