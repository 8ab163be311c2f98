//! The Wi-Fi port, its service and its profiles. Where there is no radio the port and the service are there all the
//! same (recorded), and nothing can be done with them.

use super::body::{Kind, Rule, property, read};
use super::features::{is_true, number};
use super::identity::service;
use super::{
    AMT, CIM, Call, Class, INTEL_AMT, Instance, Method, Output, SYSTEM, element, invalid_selectors, keys,
    leaves, reference,
};
use crate::amt::{Amt, status};
use crate::profile::Facts;
use crate::wifi::{Profile, Wifi, Wish, instance_id};
use crate::wsman::Rejection;
use crate::wsman::request::Child;

pub(super) static CLASSES: [Class; 3] = [
    Class {
        present: Facts::has_wireless,
        put: Some(put_service),
        methods: &SERVICE,
        ..Class::read_only(AMT, SERVICE_CLASS, wifi_service)
    },
    Class { present: Facts::has_wireless, methods: &PORT, ..Class::read_only(CIM, "CIM_WiFiPort", ports) },
    Class {
        present: Facts::has_wireless,
        delete: Some(delete_profile),
        ..Class::read_only(CIM, PROFILE, profiles)
    },
];

const SERVICE_CLASS: &str = "AMT_WiFiPortConfigurationService";
const PROFILE: &str = "CIM_WiFiEndpointSettings";
const ENDPOINT: &str = "WiFi Endpoint 0";
/// CIM's return values.
const NOT_SUPPORTED: u32 = 1;
const INVALID_PARAMETER: u32 = 5;

static SERVICE: [Method; 2] = [
    Method {
        name: "AddWiFiSettings",
        parameters: &[
            "WiFiEndpoint",
            "WiFiEndpointSettingsInput",
            "IEEE8021xSettingsInput",
            "ClientCredential",
            "CACredential",
        ],
        for_os_admin: false,
        run: |call| {
            if referred(call, "WiFiEndpoint", "CIM_WiFiEndpoint", "Name")? != ENDPOINT {
                return Err(invalid_selectors());
            }
            let (value, id) = with_wish(call, Wifi::add)?;
            let more = reference(CIM, PROFILE, &[("InstanceID", id)]);
            let more =
                if value == status::OK { element("g", "WiFiEndpointSettings", &more) } else { String::new() };
            Ok(Output { value, more })
        },
    },
    Method {
        name: "UpdateWiFiSettings",
        parameters: &[
            "WiFiEndpointSettings",
            "WiFiEndpointSettingsInput",
            "IEEE8021xSettingsInput",
            "ClientCredential",
            "CACredential",
        ],
        for_os_admin: false,
        run: |call| {
            let id = referred(call, "WiFiEndpointSettings", PROFILE, "InstanceID")?;
            let mut names = call.amt.features.wifi.profiles.keys();
            let name = names.find(|name| instance_id(name) == id).cloned().ok_or_else(invalid_selectors)?;
            Ok(with_wish(call, |wifi, wish| wifi.update(&name, wish))?.0.into())
        },
    },
];

static PORT: [Method; 1] = [Method {
    name: "RequestStateChange",
    parameters: &["RequestedState", "TimeoutPeriod"],
    for_os_admin: false,
    run: |call| {
        let state = call.number("RequestedState")?;
        Ok(match call.facts.radio {
            false => NOT_SUPPORTED,
            true if call.amt.features.wifi.switch(state) => 0,
            true => INVALID_PARAMETER,
        }
        .into())
    },
}];

/// The key of the instance that a parameter refers to.
fn referred(call: &Call<'_>, name: &str, class: &str, key: &str) -> Result<String, Rejection> {
    let fits = |resource: &str, selectors: &[(String, String)]| {
        resource == format!("{CIM}{class}") && matches!(selectors, [(name, _)] if name == key)
    };
    let reference = call.request.reference(name).filter(|it| fits(&it.resource, &it.selectors));
    let reference = reference.ok_or_else(|| Rejection::schema(format!("{name} refers to no {class}.")))?;
    Ok(reference.selectors[0].1.clone())
}

/// Does something with the profile that the request brings; gives the status and the profile's key.
fn with_wish(
    call: &mut Call<'_>,
    change: impl FnOnce(&mut Wifi, &Wish<'_>) -> u32,
) -> Result<(u32, String), Rejection> {
    let unsupported = ["IEEE8021xSettingsInput", "ClientCredential", "CACredential"];
    let input = call.request.input.as_ref().map(|input| input.children.as_slice()).unwrap_or_default();
    let wishes = input.iter().find(|child| child.name == "WiFiEndpointSettingsInput");
    let wishes = wishes.ok_or_else(|| Rejection::schema("WiFiEndpointSettingsInput is missing."))?;
    if !call.facts.radio || input.iter().any(|child| unsupported.contains(&child.name.as_str())) {
        return Ok((status::UNSUPPORTED, String::new())); // 802.1X is not simulated
    }
    let wish = wish(wishes)?;
    Ok((change(&mut call.amt.features.wifi, &wish), wish.instance.to_owned()))
}

/// The embedded instance: its elements are in the namespace of its own class, and none comes twice.
fn wish(child: &Child) -> Result<Wish<'_>, Rejection> {
    let namespace = format!("{CIM}{PROFILE}");
    let known = [
        "ElementName",
        "InstanceID",
        "AuthenticationMethod",
        "EncryptionMethod",
        "SSID",
        "Priority",
        "PSKPassPhrase",
        "BSSType",
    ];
    let wrong = |name: &str, what: &str| Rejection::schema(format!("{name} {what}."));
    for (at, inner) in child.children.iter().enumerate() {
        let name = inner.name.as_str();
        if inner.namespace != namespace || !known.contains(&name) {
            return Err(wrong(name, "is no property of the profile"));
        }
        if child.children[..at].iter().any(|earlier| earlier.name == name) {
            return Err(wrong(name, "comes twice"));
        }
    }
    let text =
        |name: &str| child.children.iter().find(|inner| inner.name == name).map(|inner| inner.text.as_str());
    let needed = |name: &str| text(name).ok_or_else(|| wrong(name, "is missing"));
    let number = |name: &str| needed(name)?.trim().parse().map_err(|_| wrong(name, "is no number"));
    Ok(Wish {
        name: needed("ElementName")?,
        instance: needed("InstanceID")?,
        ssid: needed("SSID")?,
        authentication: number("AuthenticationMethod")?,
        encryption: number("EncryptionMethod")?,
        priority: number("Priority")?,
        passphrase: text("PSKPassPhrase"),
    })
}

fn wifi_service(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let wifi = &amt.features.wifi;
    let own = [
        ("ElementName", "Intel(r) AMT WiFiPort Configuration Service"),
        ("EnabledState", "5"),
        ("HealthState", "5"),
        ("LastConnectedSsidUnderMeControl", ""),
        ("NoHostCsmeSoftwarePolicy", &wifi.no_host_policy.to_string()),
        ("RequestedState", "12"),
        ("UEFIWiFiProfileShareEnabled", if wifi.shared_with_uefi { "true" } else { "false" }),
        ("localProfileSynchronizationEnabled", &wifi.synchronization.to_string()), // sic
    ];
    service(SERVICE_CLASS, "Intel(r) AMT WiFi Port Configuration Service", &own)
}

fn put_service(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let table = [
        property("CreationClassName", Rule::Echo, Kind::Text),
        property("ElementName", Rule::Echo, Kind::Text),
        property("EnabledState", Rule::Echo, Kind::Number),
        property("HealthState", Rule::Echo, Kind::Number),
        property("LastConnectedSsidUnderMeControl", Rule::Echo, Kind::Text),
        property("Name", Rule::Echo, Kind::Text),
        property("NoHostCsmeSoftwarePolicy", Rule::Optional, Kind::Number),
        property("RequestedState", Rule::Echo, Kind::Number),
        property("SystemCreationClassName", Rule::Echo, Kind::Text),
        property("SystemName", Rule::Echo, Kind::Text),
        property("UEFIWiFiProfileShareEnabled", Rule::Optional, Kind::Boolean),
        // An independent client's Put has nothing but this one.
        property("localProfileSynchronizationEnabled", Rule::Required, Kind::Number),
    ];
    let values = read(call, &table, &wifi_service(call.amt, call.facts)[at].leaves)?;
    let synchronization = number(&values, "localProfileSynchronizationEnabled");
    if synchronization > 3 {
        return Err(Rejection::schema("localProfileSynchronizationEnabled is none of 0 to 3."));
    }
    let wifi = &mut call.amt.features.wifi;
    wifi.synchronization = synchronization;
    if values.contains_key("NoHostCsmeSoftwarePolicy") {
        wifi.no_host_policy = number(&values, "NoHostCsmeSoftwarePolicy");
    }
    if values.contains_key("UEFIWiFiProfileShareEnabled") {
        wifi.shared_with_uefi = is_true(&values, "UEFIWiFiProfileShareEnabled");
    }
    Ok(())
}

fn ports(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let state = amt.features.wifi.state.to_string();
    let address = facts.radio_mac().map(|byte| format!("{byte:02x}")).concat();
    let named = [("CreationClassName", "CIM_WiFiPort"), ("DeviceID", "WiFi Port 0"), SYSTEM, INTEL_AMT];
    let leaves = leaves(&[
        ("CreationClassName", "CIM_WiFiPort"),
        ("DeviceID", "WiFi Port 0"),
        ("ElementName", "WiFi Port 0"),
        ("EnabledState", &state),
        ("HealthState", "5"),
        ("LinkTechnology", "11"),
        ("PermanentAddress", &address),
        ("PortType", "0"),
        ("RequestedState", &state),
        SYSTEM,
        INTEL_AMT,
    ]);
    vec![Instance { keys: keys(&named), leaves }]
}

fn profiles(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let instance = |(name, profile): (&String, &Profile)| {
        let id = instance_id(name);
        // The passphrase is none of it.
        let leaves = leaves(&[
            ("AuthenticationMethod", &profile.authentication.to_string()),
            ("BSSType", "3"),
            ("ElementName", name),
            ("EncryptionMethod", &profile.encryption.to_string()),
            ("InstanceID", &id),
            ("Priority", &profile.priority.to_string()),
            ("SSID", &profile.ssid),
        ]);
        Instance { keys: keys(&[("InstanceID", &id)]), leaves }
    };
    amt.features.wifi.profiles.iter().map(instance).collect()
}

fn delete_profile(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let name = call.amt.features.wifi.profiles.keys().nth(at).cloned();
    let gone = name.and_then(|name| call.amt.features.wifi.profiles.remove(&name));
    gone.map(|_| ()).ok_or_else(invalid_selectors)
}
