//! What a certificate says of itself, for those who name one: is it a CA's, how long does it last.

use x509_parser::prelude::{FromDer, X509Certificate};

/// What is asked of a certificate that stands alone. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject for a person; foreign text.
    pub subject: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// It may issue certificates.
    pub is_ca: bool,
}

/// Reads a certificate (DER); `None` if it is not one, or more than one.
pub fn certificate_facts(der: &[u8]) -> Option<CertificateFacts> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then(|| CertificateFacts {
        subject: certificate.subject().to_string(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        is_ca: certificate.is_ca(),
    })
}
