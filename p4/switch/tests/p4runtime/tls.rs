//! TLS and mutual TLS.

use p4runtime_proto::p4::v1::{CapabilitiesRequest, p4_runtime_client::P4RuntimeClient};
use p4switch::tls::{self, TlsFiles};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, server::TcpIncoming};

struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority() -> Authority {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: rcgen::Issuer::new(params, key) }
}

impl Authority {
    fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn clients_must_present_a_certificate_of_the_authority() {
    let (server_ca, client_ca) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let (certificate, key) = server_ca.issue();
    let files = TlsFiles {
        certificate: write("server.pem", &certificate),
        key: write("server.key", &key),
        client_ca: Some(write("ca.pem", &client_ca.pem)),
    };
    let (_, _, server, _) = crate::rig::switch();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = tonic::transport::Server::builder().add_service(server.service());
    tokio::spawn(router.serve_with_incoming(tls::accept(TcpIncoming::from(listener), files.load().unwrap())));
    // One that says nothing holds up nobody.
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();

    let call = async |tls: ClientTlsConfig| {
        let channel = Channel::from_shared(format!("https://localhost:{port}")).unwrap();
        let channel = channel.tls_config(tls).unwrap().connect().await.map_err(|e| e.to_string())?;
        let answer = P4RuntimeClient::new(channel).capabilities(CapabilitiesRequest::default()).await;
        answer.map(drop).map_err(|status| status.to_string())
    };
    let trusting =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&server_ca.pem)).domain_name("localhost");
    let (certificate, key) = client_ca.issue();
    let known = trusting.clone().identity(Identity::from_pem(certificate, key));
    assert_eq!(call(known).await, Ok(()));
    assert!(call(trusting.clone()).await.is_err());
    let (certificate, key) = server_ca.issue();
    assert!(call(trusting.identity(Identity::from_pem(certificate, key))).await.is_err());
    let wrong = |files: TlsFiles| files.load().unwrap_err().to_string();
    assert!(wrong(TlsFiles { key: folder.path().join("none"), ..files.clone() }).contains("none"));
    assert!(wrong(TlsFiles { certificate: files.key.clone(), ..files.clone() }).contains("server.key: no certificate"));
    assert!(wrong(TlsFiles { client_ca: Some(files.key.clone()), ..files }).contains("server.key: no certificate"));
}
