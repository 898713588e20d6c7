//! Short forms that only the site file has: VLANs by name, spans of ports, speeds with a suffix.

use std::fmt;
use std::str::FromStr;

use pergola_model::{PortId, PortNo, SubnetName, SwitchName, ValueError, VlanId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// An enum whose outside form is one word.
pub(crate) trait Word {
    fn word(&self) -> &'static str;
}

/// A VLAN by its number, or by the name of its subnet. A word of digits is a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VlanRef {
    Id(VlanId),
    Subnet(SubnetName),
}

impl FromStr for VlanRef {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text.strip_prefix('-').unwrap_or(text);
        if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(VlanRef::Id);
        }
        text.parse()
            .map(VlanRef::Subnet)
            .map_err(|_| ValueError::new("VLAN", text, "a VLAN id, 1 to 4094, or the name of a subnet"))
    }
}

impl JsonSchema for VlanRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VlanRef".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let id = generator.subschema_for::<VlanId>();
        let name = generator.subschema_for::<SubnetName>();
        json_schema!({ "description": "a VLAN by its number or by its subnet's name", "anyOf": [id, name] })
    }
}

/// One port or several in a row: `leaf1/3`, `leaf1/3-10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortSpan {
    switch: SwitchName,
    low: PortNo,
    high: PortNo,
}

/// So many ports one span may have.
const SPAN_MAX: u32 = 1024;

impl PortSpan {
    pub fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        (self.low.get()..=self.high.get()).filter_map(|n| Some(PortId::new(self.switch.clone(), PortNo::new(n).ok()?)))
    }
}

impl FromStr for PortSpan {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("ports", text, "SWITCH/PORT or SWITCH/LOW-HIGH with at most 1024 ports");
        let (switch, ports) = text.split_once('/').ok_or_else(error)?;
        let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
        let span = PortSpan {
            switch: switch.parse()?,
            low: low.parse().map_err(|_| error())?,
            high: high.parse().map_err(|_| error())?,
        };
        if span.low > span.high || span.high.get() - span.low.get() >= SPAN_MAX {
            return Err(error());
        }
        Ok(span)
    }
}

impl JsonSchema for PortSpan {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortSpan".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "a port or several in a row: leaf1/3, leaf1/3-10",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[1-9][0-9]{0,9}(-[1-9][0-9]{0,9})?$",
        })
    }
}

/// Bits a second, with an optional K, M, G or T for powers of a thousand: `10G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speed(pub u64);

const SUFFIXES: [(char, u64); 4] = [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('K', 1_000)];

impl FromStr for Speed {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let suffix = SUFFIXES.iter().find(|(letter, _)| text.ends_with(*letter));
        let (digits, factor) = match suffix {
            Some((letter, factor)) => (text.trim_end_matches(*letter), *factor),
            None => (text, 1),
        };
        let value = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        match value {
            Some(value) if value > 0 && text.starts_with(|c: char| c.is_ascii_digit()) => Ok(Speed(value)),
            _ => Err(ValueError::new("speed", text, "bits a second: a number, or with K, M, G, T: 10G")),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SUFFIXES.iter().find(|(_, factor)| self.0.is_multiple_of(*factor)) {
            Some((letter, factor)) => write!(f, "{}{letter}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

impl JsonSchema for Speed {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Speed".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "bits a second: a number, or with K, M, G, T: 10G",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+[KMGT]?$" }],
        })
    }
}
