//! TLS of the server: its certificate, whom it lets in, and the handshakes. They are made here and not by tonic because its
//! configuration leaves no choice of how clients' certificates are verified.

mod client;

use client::ClientVerifier;
use futures::StreamExt;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;

/// How long a client may take to make its handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Connections that wait to be served.
const WAITING: usize = 64;

/// Where the certificates are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities for client certificates, PEM; with them clients must present one (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The name of the file that cannot be read, and what is wrong in it.
    pub fn load(&self) -> io::Result<Arc<ServerConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(Error::other)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                // A file of many authorities may have some that are none for TLS.
                roots.add_parsable_certificates(certificates(path)?);
                let verifier = ClientVerifier::new(roots, provider).map_err(|error| in_file(path, error))?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| in_file(&self.key, error))?;
        let config = builder.with_single_cert(certificates(&self.certificate)?, key);
        let mut config = config.map_err(|error| in_file(&self.certificate, error))?;
        config.alpn_protocols.push(b"h2".into());
        Ok(Arc::new(config))
    }
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::other(format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| in_file(path, error))?;
    if found.is_empty() { Err(in_file(path, "no certificate in it")) } else { Ok(found) }
}

/// Connections whose handshake succeeded. Each makes its own, so that none waits for another; why a client was not let in is
/// told in the log, since the client is told no more than that its certificate is bad.
pub fn accept(
    mut incoming: TcpIncoming,
    config: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (ready, streams) = mpsc::channel(WAITING);
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = incoming.next() => next,
                () = ready.closed() => return,
            };
            let Some(next) = next else { return };
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                let shaken = match next {
                    Ok(stream) => shake(&acceptor, stream).await,
                    Err(error) => return tracing::warn!(%error, "connection"),
                };
                match shaken {
                    // Nobody takes it when the server ends.
                    Ok(stream) => drop(ready.send(Ok(stream)).await),
                    Err((peer, error)) => tracing::warn!(peer, %error, "tls accept error"),
                }
            });
        }
    });
    ReceiverStream::new(streams)
}

async fn shake(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<TlsStream<TcpStream>, (String, Error)> {
    let peer = stream.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string());
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| (peer, error))
}
