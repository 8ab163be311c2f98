//! Certificates: is this provisioning chain one that the device will take, and what is this public key.
//!
//! Everything is a pure function of bytes and of a time that the caller passes. [`preflight`] is asked before the first
//! call that changes the device; where it says no, it names each broken rule.

mod certificate;
mod facts;
mod issued;
mod path;
mod pkcs7;
mod preflight;
mod public_key;
mod rules;
mod signature;

pub use certificate::{CertificateError, ProvisioningChain};
pub use facts::{CertificateFacts, certificate_facts};
pub use issued::{AnswerError, Expected, IssuedRefusal, judge_issued, read_certificates};
pub use preflight::{Device, MOST_CERTIFICATES, Ready, preflight};
pub use public_key::{
    certificate_pin, is_request_of, public_key_from_pkcs1, spki_from_pkcs1, spki_of, spki_pin,
};
pub use rules::{BrokenRule, SuffixSource};
pub(crate) use signature::verify_signature;

/// What the provisioning key signs (RSA PKCS#1 v1.5, SHA-256): the device's nonce, then ours.
/// `configuration_nonce` is the decoded `ConfigurationNonce`, 20 bytes and new with every Get.
pub fn signature_input(configuration_nonce: &[u8], mc_nonce: &[u8; 20]) -> Vec<u8> {
    [configuration_nonce, mc_nonce].concat()
}
