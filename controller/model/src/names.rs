//! Names of things people declare: short labels, safe in keys, URLs and interface names.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::value::{ValueError, string_form};

/// What a name looks like, as a regular expression.
pub const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const ALLOWED: &str = "1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends (a DNS label in lower case)";

fn check(what: &'static str, text: &str) -> Result<(), ValueError> {
    let bytes = text.as_bytes();
    let good = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| good(b) || *b == b'-')
        && bytes.first().is_some_and(good)
        && bytes.last().is_some_and(good);
    if ok { Ok(()) } else { Err(ValueError::new(what, text, ALLOWED)) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $schema:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $type(Arc<str>);

        impl Ord for $type {
            /// Most names that are compared are one and the same text.
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $type {
            /// Refuses what is not a DNS label in lower case.
            pub fn new(text: &str) -> Result<Self, ValueError> {
                check($what, text)?;
                Ok($type(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text without a copy.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                $type::new(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        string_form!($type, $schema, $what, NAME_PATTERN);
    };
}

name!(
    /// A switch of the fabric (`leaf1`).
    SwitchName, "SwitchName", "switch name"
);
name!(
    /// A server or other end station (`h1`).
    HostName, "HostName", "host name"
);
name!(
    /// A subnet, which is one VLAN and its addresses.
    SubnetName, "SubnetName", "subnet name"
);
name!(
    /// A policy: a list of access rules.
    PolicyName, "PolicyName", "policy name"
);
name!(
    /// A multicast group with fixed receivers.
    GroupName, "GroupName", "multicast group name"
);
name!(
    /// An access device: an OLT, a base station.
    AccessName, "AccessName", "access device name"
);
name!(
    /// The site.
    SiteName, "SiteName", "site name"
);
name!(
    /// A routing domain: subnets and routes of one domain reach one another and nothing else.
    DomainName, "DomainName", "routing domain name"
);

impl Default for DomainName {
    /// `default`, the domain of everything that names none.
    fn default() -> Self {
        static NAME: std::sync::OnceLock<DomainName> = std::sync::OnceLock::new();
        NAME.get_or_init(|| DomainName("default".into())).clone()
    }
}

impl DomainName {
    /// Whether this is the domain of everything that names none.
    pub fn is_default(&self) -> bool {
        &*self.0 == "default"
    }
}

impl SubnetName {
    /// Sorts before every name people can give.
    pub(crate) fn lowest() -> Self {
        SubnetName("".into())
    }
}

impl SwitchName {
    /// Sorts before every name people can give.
    pub(crate) fn lowest() -> Self {
        SwitchName("".into())
    }
}
