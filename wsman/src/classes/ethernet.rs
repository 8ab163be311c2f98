//! Addresses and links of AMT's interfaces (`reference/amt.md` 5.10).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Editable};

/// Resource URI of AMT_EthernetPortSettings.
pub const ETHERNET_PORT_SETTINGS: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_EthernetPortSettings";
/// `InstanceID` of the wired interface.
pub const WIRED: &str = "Intel(r) AMT Ethernet Port Settings 0";
/// `InstanceID` of the wireless interface.
pub const WIRELESS: &str = "Intel(r) AMT Ethernet Port Settings 1";

impl Editable<EthernetPortSettings> {
    /// Takes the address from DHCP. The addresses of now are not sent then: firmware refuses them. Says whether that
    /// changed anything.
    pub fn use_dhcp(&mut self) -> bool {
        let dhcp = self.set_bool("DHCPEnabled", true);
        let shared = self.set_bool("SharedStaticIp", false);
        let sync = self.set_bool("IpSyncEnabled", true);
        dhcp || shared || sync
    }
}

/// AMT_EthernetPortSettings, one per interface. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_EthernetPortSettings", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_EthernetPortSettings"})]
pub struct EthernetPortSettings {
    /// Wireless only.
    #[yaserde(rename = "ConsoleTcpMaxRetransmissions", prefix = "g")]
    pub console_tcp_max_retransmissions: Option<u32>,
    /// The address comes from DHCP.
    #[yaserde(rename = "DHCPEnabled", prefix = "g")]
    pub dhcp_enabled: Option<bool>,
    /// IPv4.
    #[yaserde(rename = "DefaultGateway", prefix = "g")]
    pub default_gateway: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// IPv4; 0.0.0.0 or missing: none.
    #[yaserde(rename = "IPAddress", prefix = "g")]
    pub ip_address: Option<String>,
    /// [`WIRED`] or [`WIRELESS`].
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// AMT follows the host's static address.
    #[yaserde(rename = "IpSyncEnabled", prefix = "g")]
    pub ip_sync_enabled: Option<bool>,
    /// Wireless: 1 AMT, 2 the host.
    #[yaserde(rename = "LinkControl", prefix = "g")]
    pub link_control: Option<u32>,
    /// Read-only.
    #[yaserde(rename = "LinkIsUp", prefix = "g")]
    pub link_is_up: Option<bool>,
    /// Power states in which the link stays: 1 S0 on AC, 14 Sx on AC, 16 S0 on battery, 224 Sx on battery.
    #[yaserde(rename = "LinkPolicy", prefix = "g")]
    pub link_policy: Vec<u32>,
    /// Wireless: 1 AMT, 2 the host.
    #[yaserde(rename = "LinkPreference", prefix = "g")]
    pub link_preference: Option<u32>,
    /// Read-only; missing or zero where there is no such interface.
    #[yaserde(rename = "MACAddress", prefix = "g")]
    pub mac_address: Option<String>,
    /// 0 LAN, 1 discrete LAN, 2 Thunderbolt, 3 wireless.
    #[yaserde(rename = "PhysicalConnectionType", prefix = "g")]
    pub physical_connection_type: Option<u32>,
    /// 0 SMBus, 1 PCIe.
    #[yaserde(rename = "PhysicalNicMedium", prefix = "g")]
    pub physical_nic_medium: Option<u32>,
    /// IPv4.
    #[yaserde(rename = "PrimaryDNS", prefix = "g")]
    pub primary_dns: Option<String>,
    /// IPv4.
    #[yaserde(rename = "SecondaryDNS", prefix = "g")]
    pub secondary_dns: Option<String>,
    /// Read-only: AMT has the host's address.
    #[yaserde(rename = "SharedDynamicIP", prefix = "g")]
    pub shared_dynamic_ip: Option<bool>,
    /// AMT has the host's MAC address.
    #[yaserde(rename = "SharedMAC", prefix = "g")]
    pub shared_mac: Option<bool>,
    /// A static address is the host's.
    #[yaserde(rename = "SharedStaticIp", prefix = "g")]
    pub shared_static_ip: Option<bool>,
    /// IPv4.
    #[yaserde(rename = "SubnetMask", prefix = "g")]
    pub subnet_mask: Option<String>,
    /// 0: none.
    #[yaserde(rename = "VLANTag", prefix = "g")]
    pub vlan_tag: Option<u32>,
    /// Wireless only.
    #[yaserde(rename = "WLANLinkProtectionLevel", prefix = "g")]
    pub wlan_link_protection_level: Option<u32>,
}

impl Class for EthernetPortSettings {
    const RESOURCE: &'static str = ETHERNET_PORT_SETTINGS;
    const NAME: &'static str = "AMT_EthernetPortSettings";
    const ARRAYS: &'static [&'static str] = &["LinkPolicy"];

    fn read_only(instance: &Editable<Self>) -> &'static [&'static str] {
        if instance.text("DHCPEnabled") == Some("true") { WITH_DHCP } else { ALWAYS }
    }
}

const ALWAYS: &[&str] = &["LinkIsUp", "MACAddress", "PhysicalConnectionType", "SharedDynamicIP"];
const WITH_DHCP: &[&str] = &[
    "LinkIsUp",
    "MACAddress",
    "PhysicalConnectionType",
    "SharedDynamicIP",
    "IPAddress",
    "SubnetMask",
    "DefaultGateway",
    "PrimaryDNS",
    "SecondaryDNS",
];
