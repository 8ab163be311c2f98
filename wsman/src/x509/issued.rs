//! A certificate that a CA issued for a key in AMT: read from whatever form it came in, and judged before AMT hears of it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use std::time::Duration;

use super::certificate::{Certificate, SERVER_AUTH};
use super::pkcs7;

/// Reads the certificates of an enrollment answer, in the order in which they stand: PKCS#7 (RFC 7030 section 4.2.3, which
/// sends it as base64) or a bare certificate, each as base64 or DER, or PEM.
///
/// # Errors
/// What the bytes are not.
pub fn read_certificates(answer: &[u8]) -> Result<Vec<Vec<u8>>, AnswerError> {
    let text = std::str::from_utf8(answer).ok();
    let certificates = match text {
        Some(text) if text.contains("-----BEGIN ") => from_pem(text)?,
        Some(text) => {
            let packed: String = text.split_ascii_whitespace().collect();
            from_der(&BASE64.decode(packed).map_err(|_| AnswerError::Neither)?)?
        }
        None => from_der(answer)?,
    };
    match certificates.is_empty() {
        true => Err(AnswerError::Empty),
        false => Ok(certificates),
    }
}

/// Why an answer holds no certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Another thing, such as a page for people.
    #[error("it is neither PKCS#7 nor a certificate, in base64, DER or PEM")]
    Neither,
    /// PKCS#7 of nobody.
    #[error("there is no certificate in it")]
    Empty,
}

/// What an issued certificate must be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// SubjectPublicKeyInfo (DER) of the key in AMT.
    pub key: &'a [u8],
    /// Roots of the organization, DER.
    pub roots: &'a [Vec<u8>],
    /// Seconds since 1970.
    pub now: i64,
}

/// Finds the certificate of AMT's key among those that came, and judges it. The others may lead from it to a root; none
/// of them becomes one.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_issued(certificates: &[Vec<u8>], expected: Expected<'_>) -> Result<Vec<u8>, IssuedRefusal> {
    let mut leaf = None;
    let mut chain = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        let read = Certificate::read(der.clone()).ok_or(IssuedRefusal::Unreadable { number: index + 1 })?;
        if read.spki == expected.key && leaf.is_none() {
            leaf = Some(read);
        } else {
            chain.push(CertificateDer::from(der.as_slice()));
        }
    }
    let leaf = leaf.ok_or(IssuedRefusal::OtherKey)?;
    let length = leaf.der.len().div_ceil(3) * 4;
    if length > MOST_BASE64 {
        return Err(IssuedRefusal::TooLong { length });
    }
    if leaf.is_ca {
        return Err(IssuedRefusal::Ca);
    }
    if !leaf.purposes.iter().flatten().any(|purpose| purpose == SERVER_AUTH) {
        return Err(IssuedRefusal::NoServerAuth);
    }
    if expected.now < leaf.not_before {
        return Err(IssuedRefusal::NotYetValid);
    }
    if expected.now > leaf.not_after {
        return Err(IssuedRefusal::Expired);
    }
    judge_chain(&leaf, &chain, expected)?;
    Ok(leaf.der)
}

fn judge_chain(
    leaf: &Certificate,
    chain: &[CertificateDer<'_>],
    expected: Expected<'_>,
) -> Result<(), IssuedRefusal> {
    let mut roots = RootCertStore::empty();
    // What cannot be a root vouches for nothing, and that is all.
    roots.add_parsable_certificates(expected.roots.iter().map(|der| CertificateDer::from(der.as_slice())));
    let der = CertificateDer::from(leaf.der.as_slice());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(expected.now.try_into().unwrap_or(0)));
    let algorithms = default_provider().signature_verification_algorithms.all;
    let judged = ParsedCertificate::try_from(&der)
        .and_then(|leaf| verify_server_cert_signed_by_trust_anchor(&leaf, &roots, chain, now, algorithms));
    judged.map_err(|error| match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => IssuedRefusal::UnknownIssuer,
        other => IssuedRefusal::Chain(other.to_string()),
    })
}

/// Which rule an issued certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuedRefusal {
    /// Not X.509.
    #[error("certificate number {number} of the answer is not readable")]
    Unreadable {
        /// Which, counted from 1.
        number: usize,
    },
    /// For somebody else.
    #[error("it is for another key than the one in AMT")]
    OtherKey,
    /// AMT's field has room for so much.
    #[error("it has {length} characters in base64, and AMT takes {MOST_BASE64}; have it issued shorter")]
    TooLong {
        /// How many.
        length: usize,
    },
    /// It could issue others.
    #[error("it is a CA's certificate; have it issued for a server")]
    Ca,
    /// TLS clients would refuse it.
    #[error("it lacks the extended key usage serverAuth (1.3.6.1.5.5.7.3.1); have the CA's profile add it")]
    NoServerAuth,
    /// Its time is over.
    #[error("it has expired; see the clocks of the CA and of this machine")]
    Expired,
    /// Its time is to come.
    #[error("it is not valid yet; see the clocks of the CA and of this machine")]
    NotYetValid,
    /// No root that policy trusts.
    #[error("no root that policy trusts vouches for it")]
    UnknownIssuer,
    /// Signature, dates or names between it and the root.
    #[error("the way from it to a root that policy trusts is broken: {0}")]
    Chain(String),
}

/// What AMT's `X509Certificate` takes (`reference/amt.md` 4.6).
const MOST_BASE64: usize = 4100;

fn from_pem(text: &str) -> Result<Vec<Vec<u8>>, AnswerError> {
    let mut certificates = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or(AnswerError::Neither)?;
        let (body, _) = rest.split_once("-----END ").ok_or(AnswerError::Neither)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body).map_err(|_| AnswerError::Neither)?;
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "PKCS7" | "CMS" => certificates.extend(from_der(&der)?),
            _ => return Err(AnswerError::Neither),
        }
    }
    Ok(certificates)
}

fn from_der(der: &[u8]) -> Result<Vec<Vec<u8>>, AnswerError> {
    if let Some(certificates) = pkcs7::certificates(der) {
        return Ok(certificates);
    }
    match Certificate::read(der.to_vec()) {
        Some(_) => Ok(vec![der.to_vec()]),
        None => Err(AnswerError::Neither),
    }
}
