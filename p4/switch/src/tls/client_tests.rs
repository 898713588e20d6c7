use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use std::time::Duration;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let params = authority_params(name);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), certificate }
}

fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "client");
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2025, 1, 1);
    params
}

/// 2024-06-01.
const THEN: u64 = 1_717_200_000;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=127 => vec![short as u8],
        middle @ 128..=255 => vec![0x81, middle as u8],
        long => [&[0x82][..], &(long as u16).to_be_bytes()].concat(),
    };
    [&[tag][..], &length, content].concat()
}

/// A certificate as version 1 has it: without the version and the extensions, signed again.
fn first(certificate: &CertificateDer<'_>, signer: &impl SigningKey) -> CertificateDer<'static> {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let (_, tbs) = Any::from_der(parsed.tbs_certificate.as_ref()).unwrap();
    let (mut fields, _version) = Any::from_der(tbs.data).unwrap();
    let mut kept = Vec::new();
    let mut algorithm = Vec::new();
    for number in 0..6 {
        let (rest, _) = Any::from_der(fields).unwrap();
        let field = &fields[..fields.len() - rest.len()];
        kept.extend(field);
        if number == 1 {
            algorithm = field.to_vec();
        }
        fields = rest;
    }
    let tbs = tlv(0x30, &kept);
    let signature = tlv(0x03, &[&[0][..], &signer.sign(&tbs).unwrap()].concat());
    tlv(0x30, &[tbs, algorithm, signature].concat()).into()
}

fn verifier(roots: &[&Authority]) -> ClientVerifier {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.certificate.clone()).unwrap());
    ClientVerifier::new(store, Arc::new(default_provider())).unwrap()
}

fn judged(verifier: &ClientVerifier, chain: &[&CertificateDer<'static>], seconds: u64) -> Result<(), CertificateError> {
    let behind: Vec<CertificateDer<'static>> = chain[1..].iter().map(|der| (*der).clone()).collect();
    match verifier.verify_client_cert(chain[0], &behind, at(seconds)) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn version_1_is_good_from_the_authority_within_its_time() {
    let (ca, other) = (authority("ca"), authority("other"));
    let key = KeyPair::generate().unwrap();
    let third = client_params().signed_by(&key, &ca.issuer).unwrap().der().clone();
    let certificate = first(&third, ca.issuer.key());
    assert_eq!(X509Certificate::from_der(&certificate).unwrap().1.version(), X509Version::V1);
    let ours = verifier(&[&other, &ca]);
    assert_eq!(judged(&ours, &[&certificate], THEN), Ok(()));
    // What stands behind it in the chain has no part in it.
    assert_eq!(judged(&ours, &[&certificate, &ca.certificate], THEN), Ok(()));
    // webpki alone refuses it, which is why all this is here.
    let Err(Error::InvalidCertificate(refused)) = ours.webpki.verify_client_cert(&certificate, &[], at(THEN)) else {
        panic!("webpki takes version 1");
    };
    assert!(format!("{refused:?}").contains("UnsupportedCertVersion"), "{refused:?}");
    for (seconds, error) in [(1_704_067_199, "NotValidYet"), (1_735_689_601, "Expired")] {
        let found = judged(&ours, &[&certificate], seconds).unwrap_err();
        assert!(format!("{found:?}").starts_with(error), "{found:?}");
    }
    assert_eq!(judged(&ours, &[&certificate], 1_704_067_200), Ok(()));
    assert_eq!(judged(&ours, &[&certificate], 1_735_689_600), Ok(()));
    assert_eq!(judged(&verifier(&[&other]), &[&certificate], THEN), Err(UnknownIssuer));
}

#[test]
fn version_1_with_another_signature_is_refused() {
    let (ca, same_name) = (authority("ca"), authority("ca"));
    let key = KeyPair::generate().unwrap();
    let third = client_params().signed_by(&key, &ca.issuer).unwrap().der().clone();
    let ours = verifier(&[&ca]);
    let forged = first(&third, same_name.issuer.key());
    assert_eq!(judged(&ours, &[&forged], THEN), Err(BadSignature));
    // Two authorities of one name: the right one is found.
    assert_eq!(judged(&verifier(&[&ca, &same_name]), &[&forged], THEN), Ok(()));
    let good = first(&third, ca.issuer.key());
    let name = good.windows(6).position(|bytes| bytes == b"client").unwrap();
    for at in [name, good.len() - 1] {
        let mut tampered = good.to_vec();
        tampered[at] ^= 1;
        assert_eq!(judged(&ours, &[&tampered.into()], THEN), Err(BadSignature), "byte {at}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(judged(&ours, &[&longer.into()], THEN).is_err());
    for end in 0..good.len() {
        assert!(judged(&ours, &[&good[..end].to_vec().into()], THEN).is_err(), "{end} bytes");
    }
}

#[test]
fn version_1_signs_nothing_and_nobody_else_signs_it() {
    let ca = authority("ca");
    let below = KeyPair::generate().unwrap();
    let params = authority_params("below");
    let third = params.signed_by(&below, &ca.issuer).unwrap().der().clone();
    let below = Issuer::new(params, below);
    let key = KeyPair::generate().unwrap();
    let client = client_params().signed_by(&key, &below).unwrap().der().clone();
    let ours = verifier(&[&ca]);
    assert_eq!(judged(&ours, &[&client, &third], THEN), Ok(()));
    let as_first = first(&third, ca.issuer.key());
    assert!(judged(&ours, &[&client, &as_first], THEN).is_err());
    // A client's certificate of version 1 is the authority's own work.
    assert_eq!(judged(&ours, &[&first(&client, below.key()), &third], THEN), Err(UnknownIssuer));
}

#[test]
fn version_3_is_judged_as_ever() {
    let ca = authority("ca");
    let key = KeyPair::generate().unwrap();
    let ours = verifier(&[&ca]);
    let made = |params: CertificateParams| params.signed_by(&key, &ca.issuer).unwrap().der().clone();
    assert_eq!(judged(&ours, &[&made(client_params())], THEN), Ok(()));
    let mut server = client_params();
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for params in [server, authority_params("client")] {
        let certificate = made(params);
        let here = judged(&ours, &[&certificate], THEN).unwrap_err();
        let Err(Error::InvalidCertificate(there)) = ours.webpki.verify_client_cert(&certificate, &[], at(THEN)) else {
            panic!("webpki takes it");
        };
        assert_eq!(format!("{here:?}"), format!("{there:?}"));
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A whole handshake with `certificate`, the client signing with `signs`.
fn handshake(
    version: &'static SupportedProtocolVersion,
    ca: &Authority,
    certificate: CertificateDer<'static>,
    signs: &KeyPair,
) -> Result<(), Error> {
    let provider = Arc::new(default_provider());
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["switch".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &ca.issuer).unwrap().der().clone();
    let private = |key: &KeyPair| PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let config = config.with_client_cert_verifier(Arc::new(verifier(&[ca])));
    let mut server = ServerConnection::new(Arc::new(config.with_single_cert(vec![server], private(&server_key))?))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate.clone()).unwrap();
    let certified = CertifiedKey::new(vec![certificate], any_supported_type(&private(signs)).unwrap());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_root_certificates(roots).with_client_cert_resolver(Arc::new(Always(certified.into())));
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("switch").unwrap())?;
    while server.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut &flight[..]).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut &flight[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn handshakes_need_the_private_key() {
    let ca = authority("ca");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let (key, other) = (KeyPair::generate_for(algorithm).unwrap(), KeyPair::generate_for(algorithm).unwrap());
        let third = CertificateParams::default().signed_by(&key, &ca.issuer).unwrap().der().clone();
        let certificate = first(&third, ca.issuer.key());
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            assert_eq!(handshake(version, &ca, third.clone(), &key), Ok(()));
            assert_eq!(handshake(version, &ca, certificate.clone(), &key), Ok(()));
            let refused = handshake(version, &ca, certificate.clone(), &other);
            assert_eq!(refused, Err(BadSignature.into()), "{version:?}");
        }
    }
}
