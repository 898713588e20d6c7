//! Static routes: a prefix, and where it leads.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ip::Prefix;
use crate::names::DomainName;
use crate::resource::{Kind, Resource};
use crate::value::{ValueError, string_form};

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub prefix: Prefix,
    #[serde(default, skip_serializing_if = "DomainName::is_default")]
    pub domain: DomainName,
    pub target: RouteTarget,
}

impl Resource for Route {
    const KIND: Kind = Kind::Route;

    fn name(&self) -> String {
        self.id().to_string()
    }
}

impl Route {
    pub fn id(&self) -> RouteId {
        RouteId { domain: self.domain.clone(), prefix: self.prefix }
    }

    /// The next hops; none for a blackhole.
    pub fn next_hops(&self) -> &[IpAddr] {
        match &self.target {
            RouteTarget::NextHops(hops) => hops,
            RouteTarget::Blackhole => &[],
        }
    }

    /// The next hops as a set; `None` for a blackhole.
    pub fn hop_set(&self) -> Option<HopSet> {
        HopSet::new(self.domain.clone(), self.next_hops())
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// Hosts of the fabric's subnets that share the load.
    NextHops(Vec<IpAddr>),
    /// Nowhere: dropped.
    Blackhole,
}

/// A set of next hops in a routing domain: what many routes share. Two sets with the same members are the same,
/// whatever order they were written in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopSet {
    domain: DomainName,
    hops: Arc<[IpAddr]>,
}

impl HopSet {
    /// `None` when there are no hops.
    pub fn new(domain: DomainName, hops: &[IpAddr]) -> Option<Self> {
        let mut hops = hops.to_vec();
        hops.sort_unstable();
        hops.dedup();
        (!hops.is_empty()).then(|| HopSet { domain, hops: hops.into() })
    }

    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// Sorted, each once.
    pub fn hops(&self) -> &[IpAddr] {
        &self.hops
    }
}

/// `10.0.0.1,10.0.0.2`.
impl fmt::Display for HopSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, hop) in self.hops.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            hop.fmt(f)?;
        }
        Ok(())
    }
}

/// What tells routes apart: `10.9.0.0/16`, or `DOMAIN/10.9.0.0/16` outside the default domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId {
    pub domain: DomainName,
    pub prefix: Prefix,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_default() { self.prefix.fmt(f) } else { write!(f, "{}/{}", self.domain, self.prefix) }
    }
}

impl fmt::Debug for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RouteId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('/') {
            Some((domain, prefix)) if prefix.contains('/') => {
                Ok(RouteId { domain: domain.parse()?, prefix: prefix.parse()? })
            }
            _ => Ok(RouteId { domain: DomainName::default(), prefix: text.parse()? }),
        }
    }
}

string_form!(
    RouteId,
    "RouteId",
    "a route: PREFIX, or DOMAIN/PREFIX outside the default domain",
    "^([a-z0-9-]+/)?[0-9a-fA-F:.]+/[0-9]{1,3}$"
);
