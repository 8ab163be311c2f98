//! Public keys and certificates by their hash, and the form in which AMT tells its keys.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

use super::signature::verify;

/// SHA-256 of a whole certificate (DER): what [`crate::verifier::Pinned`] compares.
pub fn certificate_pin(der: &[u8]) -> [u8; 32] {
    sha256(der)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo: it stays when a certificate is renewed for the same key. `None` if
/// `der` is not a certificate.
pub fn spki_pin(der: &[u8]) -> Option<[u8; 32]> {
    spki_of(der).map(|spki| sha256(&spki))
}

/// A certificate's SubjectPublicKeyInfo, DER. `None` if `der` is not a certificate.
pub fn spki_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// The SubjectPublicKeyInfo (DER) of an RSA key that AMT tells as base64 of a PKCS#1 RSAPublicKey (`DERKey`). `None` if
/// it is not that.
pub fn public_key_from_pkcs1(der_key: &str) -> Option<Vec<u8>> {
    spki_from_pkcs1(&BASE64.decode(der_key.trim()).ok()?)
}

/// The SubjectPublicKeyInfo (DER) of a PKCS#1 RSAPublicKey (DER), as RSA libraries give it for a private key. `None` if
/// it is not that.
pub fn spki_from_pkcs1(key: &[u8]) -> Option<Vec<u8>> {
    let (rest, _) = x509_parser::public_key::RSAPublicKey::from_der(key).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let bits = element(0x03, &[&[0], key].concat()); // BIT STRING without unused bits
    Some(element(0x30, &[RSA_ENCRYPTION, bits.as_slice()].concat()))
}

/// Whether a PKCS#10 request (DER) is signed by the key that it is for, and whether that key is `spki`: then whoever
/// answered with it holds the private half. SHA-1 signatures count, since the request is thrown away.
pub fn is_request_of(der: &[u8], spki: &[u8]) -> bool {
    let Ok((rest, request)) = X509CertificationRequest::from_der(der) else { return false };
    let info = &request.certification_request_info;
    rest.is_empty()
        && info.subject_pki.raw == spki
        && verify(
            spki,
            &request.signature_algorithm.algorithm.to_id_string(),
            info.raw,
            &request.signature_value.data,
        ) == Some(true)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// One DER element: tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut element = vec![tag];
    match length.as_slice() {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            element.push(0x80 | long.len() as u8); // at most 8
            element.extend(long);
        }
    }
    element.extend(content);
    element
}

/// AlgorithmIdentifier: rsaEncryption, NULL.
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
