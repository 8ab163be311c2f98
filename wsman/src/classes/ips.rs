//! Classes of Intel's IPS schema.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method};
use crate::{digest::Ha1, verbs::Param};

/// Resource URI of IPS_HostBasedSetupService.
pub const HOST_BASED_SETUP_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";

/// Enters client control mode and makes `ha1` the password of `admin`. Type 2 is the digest HA1 as lower-case hex.
/// One-shot: never resend it, read the control mode.
pub fn setup(ha1: &Ha1) -> Method<'_, ()> {
    Method::once(HOST_BASED_SETUP_SERVICE, "Setup", new_password(ha1))
}

/// Where a certificate stands in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainPlace {
    /// The first one sent: the certificate whose key signs.
    Leaf,
    /// In between.
    Intermediate,
    /// The last one sent: the one whose hash the firmware trusts.
    Root,
}

/// Hands over one certificate (DER) of the provisioning chain: leaf first, root last. A chain that was broken off
/// begins again with its leaf.
pub fn add_next_cert_in_chain<'a>(der: &[u8], place: ChainPlace) -> Method<'a, ()> {
    let params = vec![
        Param::text("NextCertificate", BASE64.encode(der)),
        Param::boolean("IsLeafCertificate", place == ChainPlace::Leaf),
        Param::boolean("IsRootCertificate", place == ChainPlace::Root),
    ];
    Method::once(HOST_BASED_SETUP_SERVICE, "AddNextCertInChain", params)
}

/// The proof that we hold the provisioning key: our nonce, and the signature over the device's nonce and ours
/// ([`crate::x509::signature_input`]), RSA PKCS#1 v1.5 with SHA-256.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// 20 random bytes, new for every call.
    pub mc_nonce: &'a [u8; 20],
    /// The signature.
    pub signature: &'a [u8],
}

/// Enters admin control mode after the chain was accepted, and makes `ha1` the password of `admin`. One-shot: never
/// resend it, read the control mode.
pub fn admin_setup<'a>(ha1: &'a Ha1, proof: Proof<'_>) -> Method<'a, ()> {
    let mut params = new_password(ha1);
    params.extend(proof.params());
    Method::once(HOST_BASED_SETUP_SERVICE, "AdminSetup", params)
}

/// Goes from client to admin control mode after the chain was accepted; the password stays. One-shot.
pub fn upgrade_client_to_admin<'a>(proof: Proof<'_>) -> Method<'a, ()> {
    Method::once(HOST_BASED_SETUP_SERVICE, "UpgradeClientToAdmin", proof.params().into())
}

impl Proof<'_> {
    fn params<'a>(self) -> [Param<'a>; 3] {
        [
            Param::text("McNonce", BASE64.encode(self.mc_nonce)),
            Param::number("SigningAlgorithm", RSA_SHA2_256),
            Param::text("DigitalSignature", BASE64.encode(self.signature)),
        ]
    }
}

fn new_password(ha1: &Ha1) -> Vec<Param<'_>> {
    vec![
        Param::number("NetAdminPassEncryptionType", 2),
        Param::text("NetworkAdminPassword", ha1.setup_password_hash()),
    ]
}

const RSA_SHA2_256: u32 = 2;

/// IPS_HostBasedSetupService: provisioning from the host.
/// Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "IPS_HostBasedSetupService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService"})]
pub struct HostBasedSetupService {
    /// 1 client, 2 admin: what this firmware allows from the host.
    #[yaserde(rename = "AllowedControlModes", prefix = "g")]
    pub allowed_control_modes: Vec<u32>,
    /// 0 none, 1 in progress, 2 complete.
    #[yaserde(rename = "CertChainStatus", prefix = "g")]
    pub cert_chain_status: Option<u32>,
    /// Base64 of 20 bytes, new on every Get; admin setup signs it.
    #[yaserde(rename = "ConfigurationNonce", prefix = "g")]
    pub configuration_nonce: Option<String>,
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// 0 none, 1 client, 2 admin.
    #[yaserde(rename = "CurrentControlMode", prefix = "g")]
    pub current_control_mode: Option<u32>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl HostBasedSetupService {
    /// The nonce of this Get as bytes; `None` if it is missing or not 20 bytes.
    pub fn nonce(&self) -> Option<[u8; 20]> {
        BASE64.decode(self.configuration_nonce.as_deref()?.trim()).ok()?.try_into().ok()
    }
}

impl Class for HostBasedSetupService {
    const RESOURCE: &'static str = HOST_BASED_SETUP_SERVICE;
    const NAME: &'static str = "IPS_HostBasedSetupService";
    const ARRAYS: &'static [&'static str] = &["AllowedControlModes"];
}
