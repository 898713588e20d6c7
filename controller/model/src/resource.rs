//! What every resource has in common: a kind, a name within its kind, a store key and a stored form.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::AccessDevice;
use crate::host::HostIntent;
use crate::link::Link;
use crate::multicast::{GroupMembers, MulticastGroup};
use crate::observed::{CablingFault, DeviceState, HostLocation, LinkState, PortState};
use crate::policy::Policy;
use crate::port::Port;
use crate::route::Route;
use crate::site::Site;
use crate::subnet::Subnet;
use crate::switch::Switch;
use crate::value::ValueError;

/// The format of stored values. A reader refuses a higher number than it knows.
pub const FORMAT_VERSION: u32 = 1;

/// A thing kept in the store. Stored at `KIND/NAME` as JSON `{"v": FORMAT_VERSION, "body": ...}`.
pub trait Resource:
    Serialize + DeserializeOwned + JsonSchema + Clone + fmt::Debug + PartialEq + Send + Sync + 'static
{
    const KIND: Kind;

    /// The name within the kind; the second part of the key.
    fn name(&self) -> String;

    fn key(&self) -> Key {
        Key { kind: Self::KIND, name: self.name().into() }
    }

    /// The stored bytes.
    fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads stored bytes and refuses unknown fields, unknown versions and values out of range.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }
}

#[derive(Serialize)]
struct StoredRef<'a, T> {
    v: u32,
    body: &'a T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    v: u32,
    body: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    // Every resource is structs, strings and numbers: nothing JSON cannot say.
    serde_json::to_vec(&StoredRef { v: FORMAT_VERSION, body }).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match serde_json::from_slice::<Stored<T>>(bytes) {
        Ok(stored) if stored.v == FORMAT_VERSION => Ok(stored.body),
        Ok(stored) => Err(DecodeError::Version(stored.v)),
        // A newer format may fail on its body first: say the version, which is the reason.
        Err(error) => match serde_json::from_slice::<VersionOnly>(bytes) {
            Ok(VersionOnly { v }) if v != FORMAT_VERSION => Err(DecodeError::Version(v)),
            _ => Err(DecodeError::Json(error.to_string())),
        },
    }
}

/// Why stored bytes are not a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("key: {0}")]
    Key(#[from] ValueError),
    #[error("format version: found {0}, allowed: {FORMAT_VERSION}")]
    Version(u32),
    #[error("value: {0}")]
    Json(String),
    #[error("key: found `{key}`, but the value names itself `{named}`")]
    NameDiffers { key: String, named: String },
}

/// A store key: `switch/leaf1`, `port/leaf1/3`, `host-location/02:00:00:00:00:01/10`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub name: Box<str>,
}

impl Key {
    pub fn new(kind: Kind, name: impl ToString) -> Self {
        Key { kind, name: name.to_string().into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Key {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('/') {
            Some((kind, name)) if !name.is_empty() => Ok(Key { kind: kind.parse()?, name: name.into() }),
            _ => Err(ValueError::new("key", text, "KIND/NAME, such as switch/leaf1")),
        }
    }
}

crate::value::string_form!(Key, "Key", "a resource: KIND/NAME, such as switch/leaf1", "^[a-z-]+/.+$");

macro_rules! resources {
    ($($variant:ident($type:ty) = $text:literal, $intent:literal;)*) => {
        /// The kinds of resources.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $($variant,)*
        }

        impl Kind {
            /// Every kind: first the intents, in the order in which they depend on one another, then the observations.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The first part of the key.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$variant => $text,)*
                }
            }

            /// Whether people ask for it (an intent), or the network shows it (an observation).
            pub const fn is_intent(self) -> bool {
                match self {
                    $(Kind::$variant => $intent,)*
                }
            }

            /// The JSON Schema of this kind's body.
            pub fn schema(self) -> schemars::Schema {
                match self {
                    $(Kind::$variant => schemars::schema_for!($type),)*
                }
            }
        }

        impl FromStr for Kind {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $($text => Ok(Kind::$variant),)*
                    _ => Err(ValueError::new("kind", text, concat!("one of" $(, " ", $text)*))),
                }
            }
        }

        /// A resource of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyResource {
            $($variant($type),)*
        }

        impl AnyResource {
            pub fn kind(&self) -> Kind {
                match self {
                    $(AnyResource::$variant(_) => Kind::$variant,)*
                }
            }

            pub fn name(&self) -> String {
                match self {
                    $(AnyResource::$variant(r) => r.name(),)*
                }
            }

            /// The stored bytes.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(AnyResource::$variant(r) => r.encode(),)*
                }
            }

            /// The body as a JSON value, without the format version.
            pub fn to_json(&self) -> serde_json::Value {
                match self {
                    $(AnyResource::$variant(r) => serde_json::to_value(r).unwrap_or_default(),)*
                }
            }

            /// Reads a body without the format version, as a request carries it. Takes any serde format, so that a
            /// caller can keep paths or positions.
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(kind: Kind, d: D) -> Result<Self, D::Error> {
                match kind {
                    $(Kind::$variant => <$type>::deserialize(d).map(AnyResource::$variant),)*
                }
            }

            /// Reads stored bytes of a kind.
            pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
                match kind {
                    $(Kind::$variant => <$type>::decode(bytes).map(AnyResource::$variant),)*
                }
            }
        }

        $(impl From<$type> for AnyResource {
            fn from(resource: $type) -> Self {
                AnyResource::$variant(resource)
            }
        }

        impl TryFrom<AnyResource> for $type {
            type Error = AnyResource;
            fn try_from(any: AnyResource) -> Result<Self, AnyResource> {
                match any {
                    AnyResource::$variant(r) => Ok(r),
                    other => Err(other),
                }
            }
        })*
    };
}

resources! {
    Site(Site) = "site", true;
    Switch(Switch) = "switch", true;
    Subnet(Subnet) = "subnet", true;
    Port(Port) = "port", true;
    Link(Link) = "link", true;
    Host(HostIntent) = "host", true;
    Route(Route) = "route", true;
    Policy(Policy) = "policy", true;
    Multicast(MulticastGroup) = "multicast", true;
    AccessDevice(AccessDevice) = "access-device", true;
    DeviceState(DeviceState) = "device-state", false;
    PortState(PortState) = "port-state", false;
    LinkState(LinkState) = "link-state", false;
    HostLocation(HostLocation) = "host-location", false;
    CablingFault(CablingFault) = "cabling-fault", false;
    GroupMembers(GroupMembers) = "group-members", false;
}

impl Kind {
    /// Whether checks of other intents ([`View::check`](crate::View::check)) never look at one of this kind, so that two of
    /// them can be checked and written at the same time.
    pub const fn stands_apart(self) -> bool {
        matches!(self, Kind::Route | Kind::Policy)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl AnyResource {
    pub fn key(&self) -> Key {
        Key { kind: self.kind(), name: self.name().into() }
    }

    /// Reads a stored key and its value, and refuses a value stored under another's key.
    pub fn from_stored(key: &str, value: &[u8]) -> Result<Self, DecodeError> {
        let parsed: Key = key.parse()?;
        let resource = AnyResource::decode(parsed.kind, value)?;
        let named = resource.name();
        if *parsed.name != *named {
            return Err(DecodeError::NameDiffers { key: key.into(), named });
        }
        Ok(resource)
    }
}
