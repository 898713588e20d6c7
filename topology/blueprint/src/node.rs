//! YAML as a tree in which every node knows where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A position in the file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark {
    pub line: u32,
    pub column: u32,
}

/// A node of the document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub at: Mark,
    /// Byte offset and length of a scalar in the text.
    span: Option<(usize, usize)>,
    pub shape: Shape,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Null,
    /// A scalar's text. YAML takes some for numbers or booleans; those keep the text as it stands in the file, so that
    /// `010` and `1e5` are still the names somebody wrote.
    Scalar {
        text: String,
        typed: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Reads one YAML document.
    pub fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
        let mut node: Node = serde_saphyr::from_str(text)?;
        node.restore(text);
        Ok(node)
    }

    fn restore(&mut self, source: &str) {
        let span = self.span;
        match &mut self.shape {
            Shape::Scalar { text, typed: true } => {
                let raw = span.and_then(|(start, len)| source.get(start..start + len));
                if let Some(raw) = raw.map(str::trim).filter(|raw| !raw.is_empty()) {
                    *text = raw.to_owned();
                }
            }
            Shape::Null | Shape::Scalar { .. } => {}
            Shape::List(items) => items.iter_mut().for_each(|item| item.restore(source)),
            Shape::Map(entries) => {
                for (key, value) in entries {
                    key.restore(source);
                    value.restore(source);
                    if key.at.line == 0 {
                        key.at = value.at;
                    }
                }
            }
        }
    }

    /// What the node is, for an error.
    pub fn describe(&self) -> String {
        match &self.shape {
            Shape::Null => "nothing".into(),
            Shape::Scalar { text, .. } => text.clone(),
            Shape::List(_) => "a list".into(),
            Shape::Map(_) => "a map".into(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Shape>::deserialize(d)?;
        let location = spanned.referenced;
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let bytes = spanned.defined.span();
        let span = match (bytes.byte_offset(), bytes.byte_len()) {
            (Some(start), Some(len)) => Some((start as usize, len as usize)),
            _ => None,
        };
        let at = Mark { line: narrow(location.line()), column: narrow(location.column()) };
        Ok(Node { at, span, shape: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

fn typed(text: impl ToString) -> Shape {
    Shape::Scalar { text: text.to_string(), typed: true }
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar { text: text.to_owned(), typed: false })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(typed(value))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Shape, D::Error> {
        Shape::deserialize(d)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }
}
