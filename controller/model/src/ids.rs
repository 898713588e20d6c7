//! Numbers and compound ids of the fabric: ports, links, VLANs, labels, devices.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::SwitchName;
use crate::value::{ValueError, ranged_number, string_form};

ranged_number!(
    /// A port's number on its switch, as P4Runtime and the pipeline know it.
    PortNo, u32, (1..=u32::MAX), "port number", "1 to 4294967295"
);
ranged_number!(
    /// A VLAN id (IEEE 802.1Q 9.6: 0 and 4095 are reserved).
    VlanId, u16, (1..=4094), "VLAN id", "1 to 4094"
);
ranged_number!(
    /// A node label: the MPLS label that stands for a switch (RFC 3032 2.1: 0 to 15 are reserved).
    NodeLabel, u32, (16..=1_048_575), "node label", "16 to 1048575"
);
ranged_number!(
    /// A differentiated services code point (RFC 2474).
    Dscp, u8, (0..=63), "DSCP", "0 to 63"
);

/// A P4Runtime device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeviceId(pub u64);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port of the fabric, written `leaf1/3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    pub switch: SwitchName,
    pub port: PortNo,
}

impl PortId {
    pub fn new(switch: SwitchName, port: PortNo) -> Self {
        PortId { switch, port }
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.switch, self.port)
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PortId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some((switch, port)) = text.split_once('/') else {
            return Err(ValueError::new("port", text, "SWITCH/NUMBER, such as leaf1/3"));
        };
        Ok(PortId { switch: switch.parse()?, port: port.parse()? })
    }
}

string_form!(
    PortId,
    "PortId",
    "a port: SWITCH/NUMBER, such as leaf1/3",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[1-9][0-9]{0,9}$"
);

/// A link between two ports, written `leaf1/3~spine1/1`. The smaller end always comes first, so either order of writing
/// names the same link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    a: PortId,
    b: PortId,
}

impl LinkId {
    /// Orders the two ends; refuses a port linked to itself.
    pub fn new(one: PortId, other: PortId) -> Result<Self, ValueError> {
        match one.cmp(&other) {
            std::cmp::Ordering::Less => Ok(LinkId { a: one, b: other }),
            std::cmp::Ordering::Greater => Ok(LinkId { a: other, b: one }),
            std::cmp::Ordering::Equal => Err(ValueError::new("link", format!("{one}~{other}"), "two different ports")),
        }
    }

    /// The smaller end.
    pub fn a(&self) -> &PortId {
        &self.a
    }

    /// The larger end.
    pub fn b(&self) -> &PortId {
        &self.b
    }

    /// Both ends, the smaller first.
    pub fn ends(&self) -> [&PortId; 2] {
        [&self.a, &self.b]
    }

    /// The end at `switch` and the end away from it; `None` when the link does not touch `switch`. A link from a switch
    /// to itself gives its smaller end first.
    pub fn seen_from(&self, switch: &SwitchName) -> Option<(&PortId, &PortId)> {
        if self.a.switch == *switch {
            Some((&self.a, &self.b))
        } else if self.b.switch == *switch {
            Some((&self.b, &self.a))
        } else {
            None
        }
    }

    /// The end that is not `port`.
    pub fn other_end(&self, port: &PortId) -> Option<&PortId> {
        if self.a == *port {
            Some(&self.b)
        } else if self.b == *port {
            Some(&self.a)
        } else {
            None
        }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.a, self.b)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LinkId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some((a, b)) = text.split_once('~') else {
            return Err(ValueError::new("link", text, "PORT~PORT, such as leaf1/3~spine1/1"));
        };
        LinkId::new(a.parse()?, b.parse()?)
    }
}

string_form!(
    LinkId,
    "LinkId",
    "a link: PORT~PORT, such as leaf1/3~spine1/1",
    "^[a-z0-9-]{1,63}/[1-9][0-9]{0,9}~[a-z0-9-]{1,63}/[1-9][0-9]{0,9}$"
);
