//! From the tree to typed forms. Every wrong field is noted and reading goes on, so that one run shows all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::ops::Deref;
use std::str::FromStr;

use pergola_model::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::node::{Mark, Node, Shape};
use crate::problem::Problem;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub value: T,
    pub at: Mark,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Something that can be read from a node. `None` means that it cannot, and that the reader has noted why.
pub(crate) trait Read: Sized {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
}

/// Where reading is, and what was wrong so far.
#[derive(Default)]
pub(crate) struct Reader {
    path: String,
    pub problems: Vec<Problem>,
}

impl Reader {
    pub fn problem(&mut self, at: Mark, found: impl ToString, allowed: impl Into<String>) {
        let (path, found, allowed) = (self.path.clone(), found.to_string(), allowed.into());
        self.problems.push(Problem { at, path, found, allowed });
    }

    /// Reads with the path one step further: `.key` or `[index]`.
    pub fn within<R>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let out = read(self);
        self.path.truncate(length);
        out
    }

    pub fn text<'a>(&mut self, node: &'a Node, allowed: &str) -> Option<&'a str> {
        match &node.shape {
            Shape::Scalar { text, .. } => Some(text),
            _ => {
                self.problem(node.at, node.describe(), allowed);
                None
            }
        }
    }

    /// The entries of a map; nothing at all counts as an empty map.
    pub fn map<'a>(&mut self, node: &'a Node) -> Option<&'a [(Node, Node)]> {
        match &node.shape {
            Shape::Map(entries) => Some(entries),
            Shape::Null => Some(&[]),
            _ => {
                self.problem(node.at, node.describe(), "a map");
                None
            }
        }
    }

    /// Notes each key that is none of these.
    pub fn only(&mut self, entries: &[(Node, Node)], allowed: &[&str]) {
        for (key, _) in entries {
            let name = key.describe();
            if !allowed.contains(&&*name) {
                let list = allowed.join(", ");
                self.within(&name, |r| r.problem(key.at, &name, format!("one of {list}")));
            }
        }
    }

    pub fn optional<T: Read>(&mut self, entries: &[(Node, Node)], name: &str) -> Option<At<T>> {
        let (_, node) = entries.iter().find(|(key, _)| key.describe() == name)?;
        if matches!(node.shape, Shape::Null) {
            return None;
        }
        self.within(name, |r| At::read(node, r))
    }

    pub fn required<T: Read>(&mut self, node: &Node, entries: &[(Node, Node)], name: &str) -> Option<At<T>> {
        let present = entries.iter().find(|(key, _)| key.describe() == name);
        match present {
            Some((_, value)) if !matches!(value.shape, Shape::Null) => self.within(name, |r| At::read(value, r)),
            _ => {
                let at = present.map_or(node.at, |(key, _)| key.at);
                self.within(name, |r| r.problem(at, "nothing", "this field is required"));
                None
            }
        }
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        Some(At { value: T::read(node, reader)?, at: node.at })
    }
}

/// Types that say themselves what is wrong.
macro_rules! read_values {
    ($($type:ty),*) => {
        $(impl Read for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                match reader.text(node, "one value")?.parse::<$type>() {
                    Ok(value) => Some(value),
                    Err(ValueError { found, allowed, .. }) => {
                        reader.problem(node.at, found, allowed);
                        None
                    }
                }
            }
        })*
    };
}

read_values!(
    SiteName,
    SwitchName,
    HostName,
    SubnetName,
    PolicyName,
    GroupName,
    AccessName,
    DomainName,
    PortNo,
    VlanId,
    NodeLabel,
    Dscp,
    PortId,
    MacAddr,
    MacMatch,
    Prefix,
    IfAddr,
    Endpoint,
    SecretRef,
    EthType,
    IpProto,
    PortRange,
    TcpFlags,
    crate::words::VlanRef,
    crate::words::PortSpan,
    crate::words::Speed
);

/// Types of the standard library, with what they allow.
macro_rules! read_plain {
    ($($type:ty: $allowed:literal),*) => {
        $(impl Read for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let text = reader.text(node, $allowed)?;
                match <$type>::from_str(text) {
                    Ok(value) => Some(value),
                    Err(_) => {
                        reader.problem(node.at, text, $allowed);
                        None
                    }
                }
            }
        })*
    };
}

read_plain!(
    bool: "true or false",
    u8: "0 to 255",
    u16: "0 to 65535",
    u32: "0 to 4294967295",
    u64: "0 to 18446744073709551615",
    NonZeroU16: "1 to 65535",
    NonZeroU32: "1 to 4294967295",
    NonZeroU64: "1 to 18446744073709551615",
    IpAddr: "an IP address",
    Ipv4Addr: "an IPv4 address",
    Ipv6Addr: "an IPv6 address"
);

impl Read for String {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.text(node, "a text").map(str::to_owned)
    }
}

impl Read for DeviceId {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        u64::read(node, reader).map(DeviceId)
    }
}

/// Enums of the model whose outside form is one word.
macro_rules! read_words {
    ($($type:ty: $($text:literal => $value:expr),+;)*) => {
        $(impl Read for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                const ALLOWED: &str = concat!("one of" $(, " ", $text)+);
                match reader.text(node, ALLOWED)? {
                    $($text => Some($value),)+
                    other => {
                        reader.problem(node.at, other, ALLOWED);
                        None
                    }
                }
            }
        }
        impl crate::words::Word for $type {
            fn word(&self) -> &'static str {
                match self {
                    $(value if *value == $value => $text,)+
                    _ => unreachable!("every value has its word"),
                }
            }
        })*
    };
}

read_words! {
    Role: "leaf" => Role::Leaf, "spine" => Role::Spine;
    Target: "pergola" => Target::Pergola, "bmv2" => Target::Bmv2, "other" => Target::Other;
    AdminState: "unlocked" => AdminState::Unlocked, "locked" => AdminState::Locked;
    PlaintextReason: "lab" => PlaintextReason::Lab;
    HostBinding: "expected" => HostBinding::Expected, "pinned" => HostBinding::Pinned, "learned" => HostBinding::Learned;
    DhcpClient: "no" => DhcpClient::No, "v4" => DhcpClient::V4, "v6" => DhcpClient::V6, "both" => DhcpClient::Both;
    AccessKind: "olt" => AccessKind::Olt, "enb" => AccessKind::Enb, "gnb" => AccessKind::Gnb;
}

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct Many<T> {
    pub items: Vec<At<T>>,
    /// Whether it was written as a list: then items have an index in their path.
    pub list: bool,
}

impl<T: Read> Read for Many<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.shape {
            Shape::List(nodes) => {
                let mut items = Vec::new();
                for (i, node) in nodes.iter().enumerate() {
                    items.extend(reader.within(&format!("[{i}]"), |r| At::read(node, r)));
                }
                Some(Many { items, list: true })
            }
            _ => Some(Many { items: vec![At::read(node, reader)?], list: false }),
        }
    }
}

impl<T: Clone> Many<T> {
    pub fn values(&self) -> Vec<T> {
        self.items.iter().map(|item| item.value.clone()).collect()
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Many_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A list.
#[derive(Debug, Clone)]
pub(crate) struct List<T>(pub Vec<At<T>>);

impl<T: Read> Read for List<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Shape::List(nodes) = &node.shape else {
            reader.problem(node.at, node.describe(), "a list");
            return None;
        };
        let mut items = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            items.extend(reader.within(&format!("[{i}]"), |r| At::read(node, r)));
        }
        Some(List(items))
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("List_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": items })
    }
}

/// A map from names to forms, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entries<K, V> {
    pub entries: Vec<(At<K>, V)>,
    /// Every key as it stands, also of entries that could not be read.
    pub names: Vec<String>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Entries { entries: Vec::new(), names: Vec::new() }
    }
}

impl<K: Read, V: Read> Read for Entries<K, V> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut out = Entries::default();
        let mut seen: BTreeMap<String, Mark> = BTreeMap::new();
        for (key, value) in reader.map(node)? {
            let name = key.describe();
            reader.within(&name, |r| {
                if let Some(first) = seen.insert(name.clone(), key.at) {
                    r.problem(key.at, &name, format!("each once; it is also in line {}", first.line));
                }
                // Both, so that a bad key does not hide a bad value.
                let (k, v) = (At::<K>::read(key, r), V::read(value, r));
                out.entries.extend(k.zip(v));
            });
            out.names.push(name);
        }
        Some(out)
    }
}

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Entries<K, V> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_{}_{}", K::schema_name(), V::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<K>();
        let values = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "propertyNames": keys, "additionalProperties": values })
    }
}

/// A value, or the word `none` where leaving it out would mean a default.
#[derive(Debug, Clone)]
pub(crate) enum OrNone<T> {
    None,
    Some(T),
}

impl<T: Read> Read for OrNone<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.shape {
            Shape::Scalar { text, .. } if text == "none" => Some(OrNone::None),
            _ => T::read(node, reader).map(OrNone::Some),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrNone<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OrNone_{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "none" }, value] })
    }
}

/// A struct read from a map: its fields, which of them must be there, the reader and the JSON Schema.
macro_rules! form {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$fmeta:meta])* $kind:ident $field:ident $(as $key:literal)?: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$fmeta])* $(#[schemars(rename = $key)])? pub $field: $crate::read::form!(@type $kind $type),)*
        }

        impl $crate::read::Read for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::read::Reader) -> Option<Self> {
                let entries = reader.map(node)?;
                reader.only(entries, &[$($crate::read::form!(@key $field $($key)?)),*]);
                $(let $field = $crate::read::form!(
                    @read $kind reader node entries ($crate::read::form!(@key $field $($key)?))
                );)*
                Some($name { $($field: $crate::read::form!(@take $kind $field),)* })
            }
        }
    };
    (@type must $type:ty) => { $crate::read::At<$type> };
    (@type may $type:ty) => { Option<$crate::read::At<$type>> };
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident) => { stringify!($field) };
    (@read must $reader:ident $node:ident $entries:ident ($key:expr)) => { $reader.required($node, $entries, $key) };
    (@read may $reader:ident $node:ident $entries:ident ($key:expr)) => { $reader.optional($entries, $key) };
    (@take must $field:ident) => { $field? };
    (@take may $field:ident) => { $field };
}
pub(crate) use form;
