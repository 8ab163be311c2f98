//! Whether one certificate's key signed another certificate.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

/// Checks the signature of `der` with the key of `issuer_spki`. `None`: an algorithm that this program cannot check.
/// Small keys and SHA-1 are checked like others, so that each rule says its own thing.
pub(crate) fn verify_signature(der: &[u8], issuer_spki: &[u8]) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    verify(issuer_spki, &algorithm, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

/// Checks a signature with an algorithm in dotted numbers. `None`: one that this program cannot check.
pub(super) fn verify(spki: &[u8], algorithm: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
    let (_, key) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    let kind = key.algorithm.algorithm.to_id_string();
    let curve =
        key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
    let algorithm: &'static dyn VerificationAlgorithm = match (kind.as_str(), curve.as_deref(), algorithm) {
        (RSA, _, SHA1_WITH_RSA) => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (RSA, _, "1.2.840.113549.1.1.11") => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (RSA, _, "1.2.840.113549.1.1.12") => &RSA_PKCS1_2048_8192_SHA384,
        (RSA, _, "1.2.840.113549.1.1.13") => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (EC, Some(P256), ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
        (EC, Some(P256), ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
        (EC, Some(P384), ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
        (EC, Some(P384), ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
        _ => return None,
    };
    let key = UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
    Some(key.verify(message, signature).is_ok())
}

pub(super) const SHA1_WITH_RSA: &str = "1.2.840.113549.1.1.5";
pub(super) const ECDSA_SHA1: &str = "1.2.840.10045.4.1";
pub(super) const MD5_WITH_RSA: &str = "1.2.840.113549.1.1.4";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
