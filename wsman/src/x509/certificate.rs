//! A certificate as far as the rules look at it, owned.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::{extensions::ParsedExtension, public_key::PublicKey};

/// The certificates that a provisioning key came with, in any order.
pub struct ProvisioningChain {
    pub(super) certificates: Vec<Certificate>,
}

/// Why bytes are no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// None was given.
    #[error("reading provisioning chain: there is no certificate in it")]
    Empty,
    /// One cannot be read.
    #[error("reading provisioning chain: certificate number {number} is not readable as DER X.509")]
    Unreadable {
        /// Which, counted from 1.
        number: usize,
    },
}

impl ProvisioningChain {
    /// Reads all CERTIFICATE blocks of a PEM file, in any order; other blocks and text between them are skipped.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let mut certificates = Vec::new();
        for (index, block) in pem.split(BEGIN).skip(1).enumerate() {
            let number = index + 1;
            let unreadable = CertificateError::Unreadable { number };
            let (body, _) = block.split_once(END).ok_or(unreadable)?;
            let body: String = body.split_ascii_whitespace().collect();
            certificates.push(BASE64.decode(body).map_err(|_| unreadable)?);
        }
        Self::from_der(certificates)
    }

    /// Reads certificates, each DER, in any order. One that stands twice counts once.
    pub fn from_der(certificates: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let mut read: Vec<Certificate> = Vec::new();
        for (index, der) in certificates.into_iter().enumerate() {
            let number = index + 1;
            let certificate = Certificate::read(der).ok_or(CertificateError::Unreadable { number })?;
            if !read.iter().any(|known| known.der == certificate.der) {
                read.push(certificate);
            }
        }
        if read.is_empty() { Err(CertificateError::Empty) } else { Ok(Self { certificates: read }) }
    }
}

pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    /// The names as they stand, for comparing.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// The subject for a person; foreign text.
    pub(super) subject_text: String,
    pub(super) issuer_text: String,
    pub(super) common_name: Option<String>,
    pub(super) units: Vec<String>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// Dotted numbers.
    pub(super) signature_algorithm: String,
    /// Dotted numbers; `None` without the extension, which allows everything.
    pub(super) purposes: Option<Vec<String>>,
    pub(super) is_ca: bool,
    pub(super) key: Key,
    /// SubjectPublicKeyInfo, DER.
    pub(super) spki: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Rsa { bits: usize },
    Other,
}

impl Certificate {
    pub(super) fn read(der: Vec<u8>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let key = match parsed.public_key().parsed().ok()? {
            PublicKey::RSA(key) => Key::Rsa { bits: key.key_size() },
            _ => Key::Other,
        };
        let mut purposes = None;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    let known = [
                        (usage.any, "2.5.29.37.0"),
                        (usage.server_auth, SERVER_AUTH),
                        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
                    ];
                    let named = known.iter().filter(|row| row.0).map(|row| row.1.to_owned());
                    purposes = Some(named.chain(usage.other.iter().map(ToString::to_string)).collect());
                }
                ParsedExtension::ParseError { .. } => return None,
                _ => {}
            }
        }
        let texts = |name: &X509Name<'_>, oid: &str| -> Vec<String> {
            let attributes =
                name.iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == oid);
            attributes.filter_map(|attribute| attribute.as_str().ok()).map(str::to_owned).collect()
        };
        Some(Self {
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_text: parsed.subject().to_string(),
            issuer_text: parsed.issuer().to_string(),
            // Where there are several, the most specific is the last.
            common_name: texts(parsed.subject(), "2.5.4.3").pop(),
            units: texts(parsed.subject(), "2.5.4.11"),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            signature_algorithm: parsed.signature_algorithm.algorithm.to_id_string(),
            purposes,
            is_ca: parsed.is_ca(),
            key,
            spki: parsed.public_key().raw.to_vec(),
            der,
        })
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

pub(super) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
