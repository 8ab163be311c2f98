//! Classes of Intel's IPS schema.

use yaserde::{YaDeserialize, YaSerialize};

use super::Class;
use crate::{
    digest::Ha1,
    verbs::{Param, Request},
};

/// Resource URI of IPS_HostBasedSetupService.
pub const HOST_BASED_SETUP_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";

/// Enters client control mode and makes `ha1` the password of `admin`. Type 2 is the digest HA1 as lower-case hex.
/// One-shot: never resend it, read the control mode.
pub fn setup(ha1: &Ha1) -> Request<'_> {
    Request::invoke(
        HOST_BASED_SETUP_SERVICE,
        "Setup",
        vec![
            Param::number("NetAdminPassEncryptionType", 2),
            Param::text("NetworkAdminPassword", ha1.setup_password_hash()),
        ],
    )
}

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

impl Class for HostBasedSetupService {
    const RESOURCE: &'static str = HOST_BASED_SETUP_SERVICE;
    const NAME: &'static str = "IPS_HostBasedSetupService";
    const ARRAYS: &'static [&'static str] = &["AllowedControlModes"];
}
