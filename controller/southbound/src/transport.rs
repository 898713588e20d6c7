//! How a switch is reached: TLS, mutual TLS, or plain text where a lab says so.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How the connection is protected. PEM bytes, read where files are read.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Only in a lab, and only because the site says so.
    PlaintextLab,
    Tls {
        /// The authority that signed the switch's certificate.
        ca: Vec<u8>,
        /// Our certificate and key, for mutual TLS.
        identity: Option<(Vec<u8>, Vec<u8>)>,
        /// The name in the switch's certificate when it is not the host in the address.
        server_name: Option<String>,
    },
}

/// Why an address or its keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct TransportError {
    pub address: String,
    pub reason: String,
}

impl Transport {
    /// The endpoint at `address` (`HOST:PORT`).
    pub fn endpoint(&self, address: &str, connect_timeout: Duration) -> Result<Endpoint, TransportError> {
        let failed =
            |reason: &dyn std::fmt::Display| TransportError { address: address.to_owned(), reason: reason.to_string() };
        let scheme = if matches!(self, Transport::PlaintextLab) { "http" } else { "https" };
        let endpoint = Channel::from_shared(format!("{scheme}://{address}")).map_err(|e| failed(&e))?;
        let endpoint = endpoint
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let Transport::Tls { ca, identity, server_name } = self else { return Ok(endpoint) };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some((cert, key)) = identity {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = server_name {
            tls = tls.domain_name(name.clone());
        }
        endpoint.tls_config(tls).map_err(|e| failed(&e))
    }
}
