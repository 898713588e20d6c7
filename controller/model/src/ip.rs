//! IP prefixes, interface addresses and network endpoints.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::value::{ValueError, string_form};

/// An IP prefix, v4 or v6, whose host bits are zero: `10.0.1.0/24`, `2001:db8::/64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// Refuses a prefix with host bits set and names the one that was probably meant.
    pub fn new(net: IpNet) -> Result<Self, ValueError> {
        if net.addr() == net.network() {
            Ok(Prefix(net))
        } else {
            let allowed = format!("zero host bits, {}", net.trunc());
            Err(ValueError::new("prefix", net, allowed))
        }
    }

    /// The prefix of `length` bits that contains `address`.
    pub fn containing(address: IpAddr, length: u8) -> Result<Self, ValueError> {
        IpNet::new(address, length)
            .map(|net| Prefix(net.trunc()))
            .map_err(|_| ValueError::new("prefix length", length, length_range(address)))
    }

    /// The prefix that is one address.
    pub fn host(address: IpAddr) -> Self {
        Prefix(IpNet::from(address))
    }

    pub fn net(&self) -> IpNet {
        self.0
    }

    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// In bits.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    pub fn is_ipv6(&self) -> bool {
        !self.is_ipv4()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.0.contains(&other.network()) || other.0.contains(&self.network())
    }
}

fn length_range(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "0 to 32" } else { "0 to 128" }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let net: IpNet = text
            .parse()
            .map_err(|_| ValueError::new("prefix", text, "ADDRESS/LENGTH, such as 10.0.1.0/24 or 2001:db8::/64"))?;
        Prefix::new(net)
    }
}

string_form!(
    Prefix,
    "Prefix",
    "an IP prefix with zero host bits, such as 10.0.1.0/24 or 2001:db8::/64",
    "^[0-9a-fA-F:.]+/[0-9]{1,3}$"
);

/// An interface's address and its prefix length: `10.0.1.1/24` is address 10.0.1.1 in 10.0.1.0/24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfAddr(IpNet);

impl IfAddr {
    /// Refuses addresses no interface can have: the network or broadcast address of a v4 prefix shorter than /31,
    /// multicast, unspecified and loopback addresses.
    pub fn new(net: IpNet) -> Result<Self, ValueError> {
        let address = net.addr();
        let refused = |allowed: &'static str| Err(ValueError::new("address", net, allowed));
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return refused("a unicast address");
        }
        if let IpNet::V4(v4) = net
            && v4.prefix_len() < 31
            && (v4.addr() == v4.network() || v4.addr() == v4.broadcast())
        {
            return refused("an address inside the prefix, neither its first (network) nor its last (broadcast)");
        }
        Ok(IfAddr(net))
    }

    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    pub fn prefix(&self) -> Prefix {
        Prefix(self.0.trunc())
    }

    /// In bits.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IfAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let net: IpNet = text
            .parse()
            .map_err(|_| ValueError::new("address", text, "ADDRESS/LENGTH, such as 10.0.1.1/24 or 2001:db8::1/64"))?;
        IfAddr::new(net)
    }
}

string_form!(
    IfAddr,
    "IfAddr",
    "an interface address with its prefix length, such as 10.0.1.1/24 or 2001:db8::1/64",
    "^[0-9a-fA-F:.]+/[0-9]{1,3}$"
);

/// Where a service listens: `127.0.0.1:50001`, `[::1]:50001`, `leaf1.example.net:9559`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
}

impl Endpoint {
    pub fn new(host: &str, port: u16) -> Result<Self, ValueError> {
        let named = host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if host.is_empty() || port == 0 || !(named || host.parse::<IpAddr>().is_ok()) {
            return Err(ValueError::new("endpoint", format!("{host}:{port}"), ENDPOINT));
        }
        Ok(Endpoint { host: host.into(), port })
    }

    /// A name or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

const ENDPOINT: &str = "HOST:PORT with port 1 to 65535, such as 127.0.0.1:50001, [::1]:50001 or leaf1.example.net:9559";

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Endpoint {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("endpoint", text, ENDPOINT);
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(error)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
                inner
            }
            None if host.contains(':') => return Err(error()),
            None => host,
        };
        Endpoint::new(host, port).map_err(|_| error())
    }
}

string_form!(
    Endpoint,
    "Endpoint",
    "HOST:PORT, such as 127.0.0.1:50001, [::1]:50001 or leaf1.example.net:9559",
    "^([A-Za-z0-9.-]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$"
);
