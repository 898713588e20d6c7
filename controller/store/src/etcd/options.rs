//! How to reach an etcd cluster, checked before anything is sent.

use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::{Error, Limits, Result};

/// How to reach an etcd cluster, and what to keep there.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `https://host:2379`, one or more members. Without a scheme, TLS is meant.
    pub endpoints: Vec<String>,
    /// The site. Everything is stored below `pergola/SITE/`; several sites can share a cluster.
    pub site: String,
    pub tls: Option<EtcdTls>,
    /// User and password, for a cluster with authentication. A certificate's common name can take
    /// their place.
    pub user: Option<(String, String)>,
    /// Allows `http://` endpoints: what is stored and the password then travel in the clear.
    pub allow_plaintext: bool,
    /// How long a call may take before it fails. Reads are tried several times in this span.
    pub request_timeout: Duration,
    /// The servers' `--max-txn-ops`. Transactions with more operations are nested, see [`EtcdOptions::limits`].
    pub max_txn_ops: usize,
    /// The servers' `--max-request-bytes`, less some overhead.
    pub max_request_bytes: usize,
    pub history: EtcdHistory,
}

/// Certificates in PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// Authorities that sign the members' certificates.
    pub ca: String,
    /// Own certificate and key, for a cluster that asks clients for one.
    pub identity: Option<(String, String)>,
    /// The name to expect in the members' certificates, if it is not the endpoint's.
    pub server_name: Option<String>,
}

/// How much history the cluster keeps. History belongs to the whole cluster, so with several sites
/// on it the smallest number wins; watches that lose history list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtcdHistory {
    pub max_revisions: u64,
    /// How often one of the nodes looks; zero turns compaction off (something else does it).
    pub check_every: Duration,
}

impl Default for EtcdHistory {
    fn default() -> Self {
        Self { max_revisions: 100_000, check_every: Duration::from_secs(60) }
    }
}

impl std::fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("site", &self.site)
            .field("tls", &self.tls.is_some())
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

impl EtcdOptions {
    /// Options with the defaults of an etcd server.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>, site: impl Into<String>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            site: site.into(),
            tls: None,
            user: None,
            allow_plaintext: false,
            request_timeout: Duration::from_secs(5),
            max_txn_ops: 128,
            max_request_bytes: 1_400_000,
            history: EtcdHistory::default(),
        }
    }

    /// What a transaction may hold. etcd counts the operations of a transaction and, in what that leaves of its limit,
    /// those of each transaction inside: half of the limit on both levels is the square of that half together, and it
    /// is still one commit.
    pub fn limits(&self) -> Limits {
        let half = (self.max_txn_ops / 2).max(1);
        Limits {
            max_ops: (half * half).max(self.max_txn_ops),
            max_compares: half,
            max_request_bytes: self.max_request_bytes,
        }
    }

    /// The endpoints with their scheme.
    pub(super) fn urls(&self) -> Result<Vec<String>> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("etcd endpoints: none given, at least one is needed"));
        }
        self.endpoints.iter().map(|endpoint| self.url(endpoint)).collect()
    }

    fn url(&self, endpoint: &str) -> Result<String> {
        match endpoint.split_once("://") {
            None => Ok(format!("https://{endpoint}")),
            Some(("https", _)) => Ok(endpoint.to_owned()),
            Some(("http", _)) if self.tls.is_some() => {
                Err(Error::invalid(format!("etcd endpoint {endpoint}: found http, but TLS is configured; use https")))
            }
            Some(("http", _)) if self.allow_plaintext => Ok(endpoint.to_owned()),
            Some(("http", _)) => Err(Error::invalid(format!(
                "etcd endpoint {endpoint}: plaintext is refused unless it is explicitly allowed"
            ))),
            Some((scheme, _)) => Err(Error::invalid(format!(
                "etcd endpoint {endpoint}: found scheme {scheme:?}, https or http is allowed"
            ))),
        }
    }

    /// What every key of the site starts with.
    pub(super) fn prefix(&self) -> Result<String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.site.is_empty() || self.site.len() > 64 || !self.site.chars().all(good) {
            return Err(Error::invalid(format!(
                "etcd site: found {:?}, allowed are 1 to 64 letters, digits, '-', '_' and '.'",
                self.site
            )));
        }
        Ok(format!("pergola/{}/", self.site))
    }

    pub(super) fn connect_options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.request_timeout / 2)
            // The servers close connections that ping more often than every five seconds.
            .with_keep_alive(Duration::from_secs(6), Duration::from_secs(2))
            .with_tcp_keepalive(Duration::from_secs(5))
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &self.tls {
            let mut config = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &tls.server_name {
                config = config.domain_name(name);
            }
            options = options.with_tls(config);
        }
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_needs_a_word() {
        let mut options = EtcdOptions::new(["http://127.0.0.1:2379"], "lab");
        let refused = options.urls().unwrap_err().to_string();
        assert!(refused.contains("plaintext is refused"), "{refused}");
        options.allow_plaintext = true;
        assert_eq!(options.urls().unwrap(), ["http://127.0.0.1:2379"]);
        options.tls = Some(EtcdTls { ca: String::new(), identity: None, server_name: None });
        assert!(options.urls().is_err(), "http beside certificates is a mistake");
        options.endpoints = vec!["etcd1:2379".into(), "https://etcd2:2379".into()];
        assert_eq!(options.urls().unwrap(), ["https://etcd1:2379", "https://etcd2:2379"]);
        options.endpoints = vec!["unix://x".into()];
        assert!(options.urls().unwrap_err().to_string().contains("\"unix\""));
        options.endpoints.clear();
        assert!(options.urls().is_err());
    }

    #[test]
    fn sites_are_names() {
        for bad in ["", "a/b", "a b", &"x".repeat(65)] {
            let refused = EtcdOptions::new(["e"], bad).prefix().unwrap_err().to_string();
            assert!(refused.contains(&format!("{bad:?}")), "{refused}");
        }
        assert_eq!(EtcdOptions::new(["e"], "co-7.west").prefix().unwrap(), "pergola/co-7.west/");
    }
}
