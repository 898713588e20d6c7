//! Which client certificates are good.
//!
//! Those of X.509 version 3 are webpki's to judge. It knows no others, but `openssl x509 -req` makes version 1 unless it is given
//! extensions (before OpenSSL 3.2), and clients of BMv2 have such. A certificate of version 1 says nothing about what it is for,
//! so it is only taken for what it can be without: the client's own, signed by one of the configured authorities itself, within
//! its time. It never signs others: webpki, which builds all longer chains, refuses it.

use rustls::CertificateError::{
    BadEncoding, BadSignature, Expired, NotValidYet, UnknownIssuer, UnsupportedSignatureAlgorithmContext,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::prelude::{X509Certificate, X509Version};

/// webpki's verifier, and the rules for version 1 beside it.
#[derive(Debug)]
pub struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// # Errors
    /// There is no authority.
    pub fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        let algorithms = provider.signature_verification_algorithms;
        let webpki = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build()?;
        Ok(Self { webpki, roots, algorithms })
    }

    fn verify_first(&self, certificate: &First<'_>, now: UnixTime) -> Result<(), Error> {
        let seconds = i64::try_from(now.as_secs()).map_err(|_| Error::from(Expired))?;
        let validity = certificate.parsed.validity();
        if seconds < validity.not_before.timestamp() {
            return Err(NotValidYet.into());
        }
        if seconds > validity.not_after.timestamp() {
            return Err(Expired.into());
        }
        let issuer = certificate.parsed.issuer().as_raw();
        // An authority with name constraints may sign some names only; which, is webpki's knowledge.
        let issuers = self.roots.roots.iter().filter(|root| root.name_constraints.is_none() && is(root, issuer));
        let mut outcome = Err(UnknownIssuer.into());
        for root in issuers {
            let key = Key::read(&root.subject_public_key_info)?;
            outcome = self.verify_signature(certificate, &key);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn verify_signature(&self, certificate: &First<'_>, key: &Key<'_>) -> Result<(), Error> {
        let parsed = &certificate.parsed;
        let mut usable = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key.algorithm
                && algorithm.signature_alg_id().as_ref() == certificate.algorithm
        });
        let algorithm = usable.next().ok_or_else(|| UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: certificate.algorithm.to_vec(),
            supported_algorithms: self.algorithms.all.iter().map(|one| one.signature_alg_id()).collect(),
        })?;
        let (message, signature) = (parsed.tbs_certificate.as_ref(), parsed.signature_value.as_ref());
        algorithm.verify_signature(key.bits, message, signature).map_err(|_| BadSignature.into())
    }
}

fn is(root: &TrustAnchor<'_>, name: &[u8]) -> bool {
    DistinguishedName::in_sequence(&root.subject).as_ref() == name
}

/// A certificate of version 1.
struct First<'a> {
    parsed: X509Certificate<'a>,
    /// What it is signed by: an AlgorithmIdentifier's content.
    algorithm: &'a [u8],
}

impl<'a> First<'a> {
    /// None when it is of another version, or none at all, which is for webpki to say.
    fn read(der: &'a CertificateDer<'_>) -> Result<Option<Self>, Error> {
        let Ok((rest, parsed)) = X509Certificate::from_der(der) else { return Ok(None) };
        if parsed.version() != X509Version::V1 {
            return Ok(None);
        }
        // RFC 5280 §4.1.2.8, §4.1.2.9: these are of later versions. Both statements of the algorithm are the same (§4.1.1.2).
        let tbs = &parsed.tbs_certificate;
        if !rest.is_empty()
            || !parsed.extensions().is_empty()
            || tbs.issuer_uid.is_some()
            || tbs.subject_uid.is_some()
            || tbs.signature != parsed.signature_algorithm
            || parsed.signature_value.unused_bits != 0
        {
            return Err(BadEncoding.into());
        }
        let (_, whole) = Any::from_der(der).map_err(|_| bad())?;
        let (behind, _) = Any::from_der(whole.data).map_err(|_| bad())?;
        let (_, algorithm) = Any::from_der(behind).map_err(|_| bad())?;
        Ok(Some(Self { algorithm: algorithm.data, parsed }))
    }
}

fn bad() -> Error {
    BadEncoding.into()
}

/// A public key with its algorithm, an AlgorithmIdentifier's content.
struct Key<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Key<'a> {
    /// Reads the content of a SubjectPublicKeyInfo.
    fn read(content: &'a [u8]) -> Result<Self, Error> {
        let (behind, algorithm) = Any::from_der(content).map_err(|_| bad())?;
        let (_, bits) = Any::from_der(behind).map_err(|_| bad())?;
        // The first byte says how many bits of the last are none.
        match (bits.tag(), bits.data.split_first()) {
            (Tag::BitString, Some((0, bits))) => Ok(Self { algorithm: algorithm.data, bits }),
            _ => Err(bad()),
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match First::read(end_entity)? {
            Some(certificate) => self.verify_first(&certificate, now).map(|()| ClientCertVerified::assertion()),
            None => self.webpki.verify_client_cert(end_entity, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(certificate) = First::read(cert)? else {
            return self.webpki.verify_tls12_signature(message, cert, dss);
        };
        let (_, info) = Any::from_der(certificate.parsed.public_key().raw).map_err(|_| bad())?;
        let key = Key::read(info.data)?;
        let offered = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let (_, algorithms) = offered.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let mut usable = algorithms.iter().filter(|one| one.public_key_alg_id().as_ref() == key.algorithm);
        let verified = usable.next().map(|one| one.verify_signature(key.bits, message, dss.signature()));
        match verified {
            Some(Ok(())) => Ok(HandshakeSignatureValid::assertion()),
            _ => Err(BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match First::read(cert)? {
            Some(certificate) => {
                let key = SubjectPublicKeyInfoDer::from(certificate.parsed.public_key().raw);
                verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
            }
            None => self.webpki.verify_tls13_signature(message, cert, dss),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
