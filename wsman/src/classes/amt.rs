//! Classes of Intel's AMT schema.

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Editable, Method};
use crate::{Secret, verbs::Param};

/// Resource URI of AMT_GeneralSettings.
pub const GENERAL_SETTINGS: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_GeneralSettings";
/// Resource URI of AMT_SetupAndConfigurationService.
pub const SETUP_AND_CONFIGURATION_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SetupAndConfigurationService";

/// Takes AMT back to factory mode over the network; the way out of admin control mode. 1 is the mode others send.
/// Refused before the host's firmware says end of POST; 2076 means later, 2075 that an auditor must unlock first.
pub fn unprovision<'a>() -> Method<'a, ()> {
    let params = vec![Param::number("ProvisioningMode", 1)];
    Method::once(SETUP_AND_CONFIGURATION_SERVICE, "Unprovision", params)
}

/// Takes AMT out of its mode and keeps the admin account and what TLS needs.
pub fn partial_unprovision<'a>() -> Method<'a, ()> {
    Method::once(SETUP_AND_CONFIGURATION_SERVICE, "PartialUnprovision", Vec::new())
}

/// Sets the password of the MEBx menu, which is another one than the admin's and cannot be read back. In admin control
/// mode only.
pub fn set_mebx_password(password: &Secret) -> Method<'_, ()> {
    let params = vec![Param::text("Password", password.expose())];
    Method::once(SETUP_AND_CONFIGURATION_SERVICE, "SetMEBxPassword", params)
}

/// Ends provisioning and applies TLS settings. From AMT 19 on it is needed to leave provisioning, and the firmware
/// restarts its ports while answering: a lost answer means nothing, read the state (`reference/amt.md` 0.4).
pub fn commit_changes<'a>() -> Method<'a, ()> {
    Method::once(SETUP_AND_CONFIGURATION_SERVICE, "CommitChanges", Vec::new())
}

/// AMT_GeneralSettings. Texts are foreign.
/// Read it to have the realm before a password is hashed.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_GeneralSettings", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_GeneralSettings"})]
pub struct GeneralSettings {
    /// 1: AMT may use the network.
    #[yaserde(rename = "AMTNetworkEnabled", prefix = "g")]
    pub amt_network_enabled: Option<u32>,
    /// Minutes.
    #[yaserde(rename = "DDNSPeriodicUpdateInterval", prefix = "g")]
    pub ddns_periodic_update_interval: Option<u32>,
    /// Seconds.
    #[yaserde(rename = "DDNSTTL", prefix = "g")]
    pub ddns_ttl: Option<u32>,
    /// The DHCP server updates DNS.
    #[yaserde(rename = "DDNSUpdateByDHCPServerEnabled", prefix = "g")]
    pub ddns_update_by_dhcp_server_enabled: Option<bool>,
    /// AMT updates DNS.
    #[yaserde(rename = "DDNSUpdateEnabled", prefix = "g")]
    pub ddns_update_enabled: Option<bool>,
    /// DHCP is followed only with a host name.
    #[yaserde(rename = "DHCPSyncRequiresHostname", prefix = "g")]
    pub dhcp_sync_requires_hostname: Option<u32>,
    /// Seconds.
    #[yaserde(rename = "DHCPv6ConfigurationTimeout", prefix = "g")]
    pub dhcpv6_configuration_timeout: Option<u32>,
    /// The realm of AMT's digest login; it must be the one of the challenge.
    #[yaserde(rename = "DigestRealm", prefix = "g")]
    pub digest_realm: Option<String>,
    /// DNS domain.
    #[yaserde(rename = "DomainName", prefix = "g")]
    pub domain_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// Host name.
    #[yaserde(rename = "HostName", prefix = "g")]
    pub host_name: Option<String>,
    /// The operating system's full name.
    #[yaserde(rename = "HostOSFQDN", prefix = "g")]
    pub host_os_fqdn: Option<String>,
    /// Minutes.
    #[yaserde(rename = "IdleWakeTimeout", prefix = "g")]
    pub idle_wake_timeout: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// The network interface is on.
    #[yaserde(rename = "NetworkInterfaceEnabled", prefix = "g")]
    pub network_interface_enabled: Option<bool>,
    /// AMT answers ping.
    #[yaserde(rename = "PingResponseEnabled", prefix = "g")]
    pub ping_response_enabled: Option<bool>,
    /// 0 AC, 1 battery.
    #[yaserde(rename = "PowerSource", prefix = "g")]
    pub power_source: Option<u32>,
    /// 0 IPv4, 1 IPv6.
    #[yaserde(rename = "PreferredAddressFamily", prefix = "g")]
    pub preferred_address_family: Option<u32>,
    /// Minutes.
    #[yaserde(rename = "PresenceNotificationInterval", prefix = "g")]
    pub presence_notification_interval: Option<u32>,
    /// 0 default, 1 enhanced, 2 extreme.
    #[yaserde(rename = "PrivacyLevel", prefix = "g")]
    pub privacy_level: Option<u32>,
    /// AMT answers RMCP ping.
    #[yaserde(rename = "RmcpPingResponseEnabled", prefix = "g")]
    pub rmcp_ping_response_enabled: Option<bool>,
    /// AMT and the host share one name.
    #[yaserde(rename = "SharedFQDN", prefix = "g")]
    pub shared_fqdn: Option<bool>,
    /// AMT works through Thunderbolt docks.
    #[yaserde(rename = "ThunderboltDockEnabled", prefix = "g")]
    pub thunderbolt_dock_enabled: Option<u32>,
    /// The web page is off.
    #[yaserde(rename = "WsmanOnlyMode", prefix = "g")]
    pub wsman_only_mode: Option<bool>,
}

impl Class for GeneralSettings {
    const RESOURCE: &'static str = GENERAL_SETTINGS;
    const NAME: &'static str = "AMT_GeneralSettings";
    const ARRAYS: &'static [&'static str] = &[];

    /// What the firmware alone decides.
    fn read_only(_: &Editable<Self>) -> &'static [&'static str] {
        &["DigestRealm", "NetworkInterfaceEnabled", "PowerSource"]
    }
}

/// AMT_SetupAndConfigurationService. No `Debug`: it holds a one-time password.
/// `CurrentControlMode` of IPS_HostBasedSetupService says the same of the mode.
#[derive(YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_SetupAndConfigurationService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SetupAndConfigurationService"})]
pub struct SetupAndConfigurationService {
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// The DNS suffix that AMT had from DHCP; certificates of admin control mode must match it.
    #[yaserde(rename = "DhcpDNSSuffix", prefix = "g")]
    pub dhcp_dns_suffix: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// How the MEBx and the network password relate.
    #[yaserde(rename = "PasswordModel", prefix = "g")]
    pub password_model: Option<u32>,
    /// 1 admin control mode, 4 client control mode.
    #[yaserde(rename = "ProvisioningMode", prefix = "g")]
    pub provisioning_mode: Option<u32>,
    /// One-time password of remote configuration, base64.
    #[yaserde(rename = "ProvisioningServerOTP", prefix = "g")]
    pub provisioning_server_otp: Option<String>,
    /// 0 pre, 1 in, 2 post.
    #[yaserde(rename = "ProvisioningState", prefix = "g")]
    pub provisioning_state: Option<u32>,
    /// CIM state.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
    /// The suffix that somebody trusted.
    #[yaserde(rename = "TrustedDNSSuffix", prefix = "g")]
    pub trusted_dns_suffix: Option<String>,
    /// Remote configuration is allowed.
    #[yaserde(rename = "ZeroTouchConfigurationEnabled", prefix = "g")]
    pub zero_touch_configuration_enabled: Option<bool>,
}

impl Class for SetupAndConfigurationService {
    const RESOURCE: &'static str = SETUP_AND_CONFIGURATION_SERVICE;
    const NAME: &'static str = "AMT_SetupAndConfigurationService";
    const ARRAYS: &'static [&'static str] = &[];
}
