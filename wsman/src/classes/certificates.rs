//! Keys and certificates in AMT's store (`reference/amt.md` 5.9).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method, Reference};
use crate::verbs::{EndpointReference, Param};

/// Resource URI of AMT_PublicKeyManagementService.
pub const PUBLIC_KEY_MANAGEMENT_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicKeyManagementService";
/// Resource URI of AMT_PublicPrivateKeyPair.
pub const PUBLIC_PRIVATE_KEY_PAIR: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicPrivateKeyPair";
/// Resource URI of AMT_PublicKeyCertificate.
pub const PUBLIC_KEY_CERTIFICATE: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicKeyCertificate";

/// Makes an RSA key in AMT, which takes seconds; answers its reference. 2061 and 2082 mean wait, 23 that all slots are
/// taken. Not to be sent twice: each call takes a slot.
pub fn generate_key_pair<'a>(bits: u32) -> Method<'a, Reference> {
    let params = vec![Param::number("KeyAlgorithm", 0), Param::number("KeyLength", bits)];
    Method::once(PUBLIC_KEY_MANAGEMENT_SERVICE, "GenerateKeyPair", params)
        .reading(|output| output.reference("KeyPair"))
}

/// Has AMT sign a PKCS#10 request (DER, its signature null) with a key of its own, SHA-256; answers the signed one, DER.
pub fn generate_pkcs10_request_ex<'a>(key_pair: &'a str, null_signed: &[u8]) -> Method<'a, Vec<u8>> {
    let params = vec![
        Param::reference("KeyPair", EndpointReference::new(PUBLIC_PRIVATE_KEY_PAIR, "InstanceID", key_pair)),
        Param::text("NullSignedCertificateRequest", BASE64.encode(null_signed)),
        Param::number("SigningAlgorithm", 1),
    ];
    Method::repeatable(PUBLIC_KEY_MANAGEMENT_SERVICE, "GeneratePKCS10RequestEx", params)
        .reading(|output| output.base64("SignedCertificateRequest"))
}

/// Stores a certificate (DER) for a key that AMT has; answers its reference. Not to be sent twice.
pub fn add_certificate<'a>(der: &[u8]) -> Method<'a, Reference> {
    Method::once(PUBLIC_KEY_MANAGEMENT_SERVICE, "AddCertificate", blob(der))
        .reading(|output| output.reference("CreatedCertificate"))
}

/// Stores a certificate (DER) that TLS clients may chain to; answers its reference. 2058: it is there already.
pub fn add_trusted_root_certificate<'a>(der: &[u8]) -> Method<'a, Reference> {
    Method::repeatable(PUBLIC_KEY_MANAGEMENT_SERVICE, "AddTrustedRootCertificate", blob(der))
        .reading(|output| output.reference("CreatedCertificate"))
}

impl PublicKeyCertificate {
    /// The certificate, DER; `None` if it is missing or not base64.
    pub fn der(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.x509_certificate.as_deref()?.trim()).ok()
    }
}

fn blob<'a>(der: &[u8]) -> Vec<Param<'a>> {
    vec![Param::text("CertificateBlob", BASE64.encode(der))]
}

/// AMT_PublicKeyManagementService: AMT's store of keys and certificates. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_PublicKeyManagementService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicKeyManagementService"})]
pub struct PublicKeyManagementService {
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "EnabledDefault", prefix = "g")]
    pub enabled_default: Option<u32>,
    /// CIM state.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for PublicKeyManagementService {
    const RESOURCE: &'static str = PUBLIC_KEY_MANAGEMENT_SERVICE;
    const NAME: &'static str = "AMT_PublicKeyManagementService";
    const ARRAYS: &'static [&'static str] = &[];
}

/// AMT_PublicPrivateKeyPair: a key that AMT made; its private half never leaves. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_PublicPrivateKeyPair", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicPrivateKeyPair"})]
pub struct PublicPrivateKeyPair {
    /// Base64 of a PKCS#1 RSAPublicKey; [`crate::x509::public_key_from_pkcs1`] reads it.
    #[yaserde(rename = "DERKey", prefix = "g")]
    pub der_key: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// `Intel(r) AMT Key: Handle: 0` and so on.
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
}

impl Class for PublicPrivateKeyPair {
    const RESOURCE: &'static str = PUBLIC_PRIVATE_KEY_PAIR;
    const NAME: &'static str = "AMT_PublicPrivateKeyPair";
    const ARRAYS: &'static [&'static str] = &[];
}

/// AMT_PublicKeyCertificate: a certificate in AMT's store. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_PublicKeyCertificate", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicKeyCertificate"})]
pub struct PublicKeyCertificate {
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// `Intel(r) AMT Certificate: Handle: 0` and so on.
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// Distinguished name.
    #[yaserde(rename = "Issuer", prefix = "g")]
    pub issuer: Option<String>,
    /// AMT's own self-signed one, which cannot be deleted.
    #[yaserde(rename = "ReadOnlyCertificate", prefix = "g")]
    pub read_only_certificate: Option<bool>,
    /// Distinguished name.
    #[yaserde(rename = "Subject", prefix = "g")]
    pub subject: Option<String>,
    /// A trusted root; the firmware's spelling.
    #[yaserde(rename = "TrustedRootCertficate", prefix = "g")]
    pub trusted_root_certificate: Option<bool>,
    /// Base64 of the DER.
    #[yaserde(rename = "X509Certificate", prefix = "g")]
    pub x509_certificate: Option<String>,
}

impl Class for PublicKeyCertificate {
    const RESOURCE: &'static str = PUBLIC_KEY_CERTIFICATE;
    const NAME: &'static str = "AMT_PublicKeyCertificate";
    const ARRAYS: &'static [&'static str] = &[];
}
