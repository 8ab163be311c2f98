//! AMT's own Wi-Fi profiles, and whether its Wi-Fi is on (`reference/amt.md` 5.10).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method};
use crate::Secret;
use crate::verbs::{EndpointReference, Param};

/// Resource URI of AMT_WiFiPortConfigurationService.
pub const WIFI_PORT_CONFIGURATION_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_WiFiPortConfigurationService";
/// Resource URI of CIM_WiFiEndpoint.
pub const WIFI_ENDPOINT: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_WiFiEndpoint";
/// Resource URI of CIM_WiFiEndpointSettings.
pub const WIFI_ENDPOINT_SETTINGS: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_WiFiEndpointSettings";
/// Resource URI of CIM_WiFiPort.
pub const WIFI_PORT: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_WiFiPort";

/// `EnabledState` of CIM_WiFiPort with Wi-Fi for AMT while the machine runs and while it sleeps, on mains.
pub const S0_AND_SX: u32 = 32769;
/// What the `InstanceID` of a profile begins with.
pub const PROFILE: &str = "Intel(r) AMT:WiFi Endpoint Settings ";
/// `AuthenticationMethod` of WPA2 with a passphrase.
pub const WPA2_PSK: u32 = 6;
/// `AuthenticationMethod` of WPA3 with a passphrase.
pub const WPA3_SAE: u32 = 32768;
/// `EncryptionMethod` of both: AES-CCMP.
pub const CCMP: u32 = 4;

/// The one Wi-Fi endpoint that there is.
const ENDPOINT: &str = "WiFi Endpoint 0";

/// A profile with a passphrase.
#[derive(Clone, Copy)]
pub struct Profile<'a> {
    /// What the profile is called; among profiles it is unique.
    pub name: &'a str,
    /// The network.
    pub ssid: &'a str,
    /// [`WPA2_PSK`] or [`WPA3_SAE`].
    pub authentication: u32,
    /// 1 to 255, unique; the lowest is tried first.
    pub priority: u32,
    /// 8 to 63 characters.
    pub passphrase: &'a Secret,
}

/// Adds a profile. Not to be sent twice: a second one of its name or priority is refused.
pub fn add_wifi_settings(profile: Profile<'_>) -> Method<'_, ()> {
    let Profile { name, ssid, authentication, priority, passphrase } = profile;
    let settings = vec![
        Param::text("ElementName", name),
        Param::text("InstanceID", format!("{PROFILE}{name}")),
        Param::number("AuthenticationMethod", authentication),
        Param::number("EncryptionMethod", CCMP),
        Param::text("SSID", ssid),
        Param::number("Priority", priority),
        Param::text("PSKPassPhrase", passphrase.expose()),
    ];
    let params = vec![
        Param::reference("WiFiEndpoint", EndpointReference::new(WIFI_ENDPOINT, "Name", ENDPOINT)),
        Param::instance("WiFiEndpointSettingsInput", WIFI_ENDPOINT_SETTINGS, settings),
    ];
    Method::once(WIFI_PORT_CONFIGURATION_SERVICE, "AddWiFiSettings", params)
}

/// Switches AMT's Wi-Fi: [`S0_AND_SX`], or 3 for off.
pub fn request_wifi<'a>(state: u32) -> Method<'a, ()> {
    let params = vec![Param::number("RequestedState", state)];
    Method::repeatable(WIFI_PORT, "RequestStateChange", params)
}

/// CIM_WiFiEndpointSettings: a profile. Texts are foreign. The passphrase is never read back.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_WiFiEndpointSettings", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_WiFiEndpointSettings"})]
pub struct WifiEndpointSettings {
    /// [`WPA2_PSK`], [`WPA3_SAE`] and others.
    #[yaserde(rename = "AuthenticationMethod", prefix = "g")]
    pub authentication_method: Option<u32>,
    /// 2 independent, 3 infrastructure.
    #[yaserde(rename = "BSSType", prefix = "g")]
    pub bss_type: Option<u32>,
    /// What it is called.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// [`CCMP`] and others.
    #[yaserde(rename = "EncryptionMethod", prefix = "g")]
    pub encryption_method: Option<u32>,
    /// [`PROFILE`] and the name.
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// 1 to 255, unique.
    #[yaserde(rename = "Priority", prefix = "g")]
    pub priority: Option<u32>,
    /// The network.
    #[yaserde(rename = "SSID", prefix = "g")]
    pub ssid: Option<String>,
}

impl Class for WifiEndpointSettings {
    const RESOURCE: &'static str = WIFI_ENDPOINT_SETTINGS;
    const NAME: &'static str = "CIM_WiFiEndpointSettings";
    const ARRAYS: &'static [&'static str] = &[];
}

/// CIM_WiFiPort: AMT's Wi-Fi as a whole. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_WiFiPort", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_WiFiPort"})]
pub struct WifiPort {
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "DeviceID", prefix = "g")]
    pub device_id: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// 3 off, 32768 on while the machine runs, [`S0_AND_SX`].
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// CIM state.
    #[yaserde(rename = "HealthState", prefix = "g")]
    pub health_state: Option<u32>,
    /// 11: wireless.
    #[yaserde(rename = "LinkTechnology", prefix = "g")]
    pub link_technology: Option<u32>,
    /// The radio's MAC address; zeros where there is none.
    #[yaserde(rename = "PermanentAddress", prefix = "g")]
    pub permanent_address: Option<String>,
    /// CIM number.
    #[yaserde(rename = "PortType", prefix = "g")]
    pub port_type: Option<u32>,
    /// What was asked last.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for WifiPort {
    const RESOURCE: &'static str = WIFI_PORT;
    const NAME: &'static str = "CIM_WiFiPort";
    const ARRAYS: &'static [&'static str] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, revert your change: the properties of the embedded profile are in the profile's own namespace.
    #[test]
    fn a_profile_goes_out_as_firmware_wants_it() {
        let passphrase = Secret::new("p&ssw0rd<".to_owned());
        let profile = Profile {
            name: "home",
            ssid: "admin",
            authentication: WPA2_PSK,
            priority: 1,
            passphrase: &passphrase,
        };
        let xml = add_wifi_settings(profile).to_xml(0);
        let body = xml.split("<Body>").nth(1).unwrap().trim_end_matches("</Body></Envelope>");
        let own = WIFI_PORT_CONFIGURATION_SERVICE;
        assert_eq!(
            body,
            format!(
                "<h:AddWiFiSettings_INPUT xmlns:h=\"{own}\"><h:WiFiEndpoint><a:Address>/wsman</a:Address>\
                 <a:ReferenceParameters><w:ResourceURI>{WIFI_ENDPOINT}</w:ResourceURI><w:SelectorSet><w:Selector \
                 Name=\"Name\">WiFi Endpoint 0</w:Selector></w:SelectorSet></a:ReferenceParameters></h:WiFiEndpoint>\
                 <h:WiFiEndpointSettingsInput xmlns:q=\"{WIFI_ENDPOINT_SETTINGS}\"><q:ElementName>home</q:ElementName>\
                 <q:InstanceID>Intel(r) AMT:WiFi Endpoint Settings home</q:InstanceID><q:AuthenticationMethod>6\
                 </q:AuthenticationMethod><q:EncryptionMethod>4</q:EncryptionMethod><q:SSID>admin</q:SSID><q:Priority>1\
                 </q:Priority><q:PSKPassPhrase>p&amp;ssw0rd&lt;</q:PSKPassPhrase></h:WiFiEndpointSettingsInput>\
                 </h:AddWiFiSettings_INPUT>"
            )
        );
    }
}
