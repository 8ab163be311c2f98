//! Who the device is over TLS: our own rules instead of the web's.
//!
//! AMT's certificates have no subject alternative name, old ones are X.509 version 1, and the address that is dialed is
//! never the name in them. So identity is a pin, a CA of the organization, the chain that the die itself made, or, over
//! MEI alone, the one that AMT made for itself; none of the four accepts everything. The handshake signature is always checked, with the raw public key: rustls' own helpers
//! refuse version 1 before they look at the key.
//!
//! What rustls cannot do at all stays undone (`reference/crates.md` 3): TLS 1.1 and older, RSA key exchange, CBC suites,
//! RSA keys below 2048 bits.

mod on_die;
mod org_ca;
mod pinned;
mod self_made;
mod shown;

pub use on_die::{INTEL_ON_DIE_ROOT, ON_DIE_ROOT, OnDie, OnDieRefusal};
pub use org_ca::OrgCa;
pub use pinned::Pinned;
pub use self_made::SelfMade;
pub use shown::{Asked, ClientCertificate, show};

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
    client::{ResolvesClientCert, Resumption, danger::HandshakeSignatureValid, danger::ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring::default_provider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another certificate than the one pinned.
    #[error(
        "the device serves another certificate than the one expected (SHA-256 {found}, expected {expected})"
    )]
    NotPinned {
        /// Lower-case hex.
        expected: String,
        /// Lower-case hex.
        found: String,
    },
    /// Issued by the right CA for somebody else.
    #[error("the device's certificate is of the organization's CA, but not for {expected}")]
    OtherName {
        /// The name that was wanted.
        expected: String,
    },
    /// A root that was given is none.
    #[error("reading the organization's CA: certificate number {number} cannot be a trust anchor")]
    BadRoot {
        /// Which, counted from 1.
        number: usize,
    },
}

/// The versions of TLS to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 alone, for firmware that breaks off at the offer of 1.3.
    Tls12,
    /// TLS 1.2 and 1.3.
    Tls12And13,
}

/// A client's configuration with a verifier of this module: ring, no name in the clear, no resumption, no certificate of
/// ours. Its clock is the system's unless the caller sets `time_provider`.
pub fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    versions: Versions,
) -> Result<ClientConfig, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match versions {
        Versions::Tls12 => &[&rustls::version::TLS12],
        Versions::Tls12And13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same, with a certificate of ours for a device that asks for one.
pub fn client_config_with(
    verifier: Arc<dyn ServerCertVerifier>,
    versions: Versions,
    ours: Arc<dyn ResolvesClientCert>,
) -> Result<ClientConfig, Error> {
    let mut config = client_config(verifier, versions)?;
    config.client_auth_cert_resolver = ours;
    Ok(config)
}

impl Refusal {
    fn into_tls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    default_provider().signature_verification_algorithms
}

fn schemes() -> Vec<SignatureScheme> {
    algorithms().supported_schemes()
}

/// Checks a handshake signature of TLS 1.2, where a scheme names a hash and the key brings its curve.
fn check_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = spki_of(certificate)?;
    let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki).map_err(|_| bad_encoding())?;
    let known = algorithms();
    let (_, candidates) = known
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // The identifier inside its SEQUENCE, as the candidates have it.
    let identifier = content_of(&spki).and_then(content_of).ok_or_else(bad_encoding)?;
    let fitting = candidates.iter().filter(|one| one.public_key_alg_id().as_ref() == identifier);
    let key = &key.subject_public_key.data;
    match fitting.into_iter().any(|one| one.verify_signature(key, message, signed.signature()).is_ok()) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
    }
}

/// Checks a handshake signature of TLS 1.3.
fn check_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki_of(certificate)?);
    verify_tls13_signature_with_raw_key(message, &spki, signed, &algorithms())
}

fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| bad_encoding())?;
    Ok(certificate.public_key().raw.to_vec())
}

fn bad_encoding() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}

/// The content of the DER element that `bytes` begins with.
fn content_of(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = (*bytes.get(1)?, bytes.get(2..)?);
    if first < 0x80 {
        return rest.get(..first.into());
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let length =
        length.iter().try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
    rest.get(..length)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The two signature checks and the schemes are the same for every identity.
macro_rules! signature_checks {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            super::check_tls12(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            super::check_tls13(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            super::schemes()
        }
    };
}
use signature_checks;
