//! What follows from a name when the file leaves it out. Only names count and never an entry's place in the file, so adding a
//! switch changes no other.

use std::net::{Ipv4Addr, Ipv6Addr};

use pergola_model::{DeviceId, MacAddr, NodeLabel, Role, SwitchName};

/// The gateways' address on every leaf.
pub(crate) const ANYCAST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

/// The role a switch's name begins with.
pub(crate) fn role(name: &SwitchName) -> Option<Role> {
    if name.as_str().starts_with("leaf") {
        Some(Role::Leaf)
    } else if name.as_str().starts_with("spine") {
        Some(Role::Spine)
    } else {
        None
    }
}

/// The ids that follow from a role and the number a name ends in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered {
    role: Role,
    number: u16,
}

impl Numbered {
    /// `None` unless the name ends in a number from 1 to 999.
    pub fn of(name: &SwitchName, role: Role) -> Option<Self> {
        let text = name.as_str();
        let digits = text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let number = text[text.len() - digits..].parse().ok()?;
        (1..=999).contains(&number).then_some(Numbered { role, number })
    }

    fn offset(self) -> u16 {
        match self.role {
            Role::Leaf => self.number,
            Role::Spine => 1000 + self.number,
        }
    }

    fn tier(self) -> u8 {
        match self.role {
            Role::Leaf => 1,
            Role::Spine => 2,
        }
    }

    pub fn device_id(self) -> DeviceId {
        DeviceId(self.offset().into())
    }

    pub fn node_label(self) -> Option<NodeLabel> {
        NodeLabel::new(100 + u32::from(self.offset())).ok()
    }

    pub fn router_mac(self) -> MacAddr {
        let [high, low] = self.number.to_be_bytes();
        MacAddr([2, 0, 0, self.tier(), high, low])
    }

    /// There is none past 254.
    pub fn loopback_v4(self) -> Option<Ipv4Addr> {
        let last = u8::try_from(self.number).ok().filter(|n| *n < 255)?;
        Some(Ipv4Addr::new(10, 255, self.tier() - 1, last))
    }

    /// The number is written in decimal digits, as people read it.
    pub fn loopback_v6(self) -> Option<Ipv6Addr> {
        format!("fd00:ffff::{}:{}", self.tier(), self.number).parse().ok()
    }
}

/// A host's address from its name: 06:00 and the 32 bits of FNV-1a.
pub(crate) fn host_mac(name: &str) -> MacAddr {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    MacAddr::from_u64(0x0600_0000_0000 | u64::from(hash))
}
