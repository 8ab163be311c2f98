//! Names and ports.

use super::body::{Kind, Property, Rule, property, read};
use super::features::is_true;
use super::{AMT, Call, Class, Instance, Leaf, Leaves, keys, leaves};
use crate::addresses::{STATIC, leases};
use crate::amt::Amt;
use crate::features::Values;
use crate::profile::Facts;
use crate::wsman::Rejection;

pub(super) static CLASSES: [Class; 2] = [
    Class { put: Some(put_general), ..Class::read_only(AMT, "AMT_GeneralSettings", general) },
    Class { put: Some(put_port), ..Class::read_only(AMT, "AMT_EthernetPortSettings", ports) },
];

const GENERAL: &str = "Intel(r) AMT: General Settings";

fn general(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let mut leaves = leaves(&[
        ("DigestRealm", &amt.realm),
        ("ElementName", GENERAL),
        ("InstanceID", GENERAL),
        ("NetworkInterfaceEnabled", if amt.is_provisioned() { "true" } else { "false" }),
        ("PowerSource", "0"),
    ]);
    add(&mut leaves, &amt.features.general);
    vec![Instance { keys: keys(&[("InstanceID", GENERAL)]), leaves }]
}

fn put_general(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let table = [
        property("AMTNetworkEnabled", Rule::Required, Kind::Number),
        property("DDNSPeriodicUpdateInterval", Rule::Required, Kind::Number),
        property("DDNSTTL", Rule::Required, Kind::Number),
        property("DDNSUpdateByDHCPServerEnabled", Rule::Required, Kind::Boolean),
        property("DDNSUpdateEnabled", Rule::Required, Kind::Boolean),
        property("DHCPSyncRequiresHostname", Rule::Optional, Kind::Number),
        property("DHCPv6ConfigurationTimeout", Rule::Optional, Kind::Number),
        property("DigestRealm", Rule::ReadOnly, Kind::Text),
        property("DomainName", Rule::Required, Kind::Text),
        property("ElementName", Rule::Echo, Kind::Text),
        property("HostName", Rule::Required, Kind::Text),
        property("HostOSFQDN", Rule::Optional, Kind::Text),
        property("IdleWakeTimeout", Rule::Required, Kind::Number),
        property("InstanceID", Rule::Echo, Kind::Text),
        property("NetworkInterfaceEnabled", Rule::Echo, Kind::Boolean),
        property("PingResponseEnabled", Rule::Required, Kind::Boolean),
        property("PowerSource", Rule::Echo, Kind::Number),
        property("PreferredAddressFamily", Rule::Required, Kind::Number),
        property("PresenceNotificationInterval", Rule::Required, Kind::Number),
        property("PrivacyLevel", Rule::Echo, Kind::Number),
        property("RmcpPingResponseEnabled", Rule::Required, Kind::Boolean),
        property("SharedFQDN", Rule::Required, Kind::Boolean),
        property("ThunderboltDockEnabled", Rule::Optional, Kind::Number),
        property("WsmanOnlyMode", Rule::Required, Kind::Boolean),
    ];
    let values = read(call, &table, &general(call.amt, call.facts)[at].leaves)?;
    for name in ["HostName", "DomainName"] {
        let text = values.get(name).and_then(|values| values.first()).map_or("", String::as_str);
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        // RFC 1035: 63 in a label, 255 over all.
        if !plain || text.split('.').any(|label| label.len() > 63) || name == "HostName" && text.contains('.')
        {
            return Err(Rejection::schema(format!("{name} is no name.")));
        }
    }
    call.amt.features.general.extend(values);
    call.amt.lose_address();
    Ok(())
}

fn ports(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let instance = |(number, values): (&u8, &Values)| {
        let wired = *number == 0;
        // A desktop has the wireless instance too, without a radio behind it (recorded).
        let up = if wired { amt.link_up() } else { amt.wireless_up() };
        let mac = if wired { facts.mac } else { facts.radio_mac() };
        let mac = mac.map(|byte| format!("{byte:02x}")).join("-");
        let id = format!("Intel(r) AMT Ethernet Port Settings {number}");
        let mut leaves = leaves(&[
            ("ElementName", "Intel(r) AMT Ethernet Port Settings"),
            ("InstanceID", &id),
            ("LinkIsUp", if up { "true" } else { "false" }),
            ("MACAddress", &mac),
            ("PhysicalConnectionType", if wired { "0" } else { "3" }),
        ]);
        add(&mut leaves, values);
        if up && leases(values) {
            // What the lease brought.
            for (name, value) in [("DefaultGateway", "192.0.2.1"), ("PrimaryDNS", "192.0.2.1")] {
                leaves.push((name, value.into()));
            }
            leaves.push(("SubnetMask", "255.255.255.0".into()));
            leaves.sort_by_key(|(name, _)| *name);
        }
        Instance { keys: keys(&[("InstanceID", &id)]), leaves }
    };
    amt.features.ports.iter().map(instance).collect()
}

fn put_port(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let Some((number, _)) = call.amt.features.ports.iter().nth(at).map(|(n, v)| (*n, v)) else {
        return Err(Rejection::no_route());
    };
    let table: &[Property] = if number == 0 { &WIRED } else { &WIRELESS };
    let values = read(call, table, &ports(call.amt, call.facts)[at].leaves)?;
    let addresses = STATIC.iter().filter(|name| values.contains_key(**name)).count();
    let dhcp = is_true(&values, "DHCPEnabled");
    if dhcp && (addresses > 0 || is_true(&values, "SharedStaticIp")) {
        return Err(Rejection::schema("Addresses and SharedStaticIp do not go with DHCP."));
    }
    let complete = values.contains_key("IPAddress") && values.contains_key("SubnetMask");
    // With synchronization the host's address is to be taken over, and none is needed here. A port that is static
    // already takes what it is given, and what is left out is lost (rps#890).
    let was_static = call.amt.features.ports.get(&number).is_some_and(|port| !leases(port));
    if !dhcp && !complete && !was_static && !is_true(&values, "IpSyncEnabled") {
        return Err(Rejection::schema("A static address needs IPAddress and SubnetMask."));
    }
    if let Some(port) = call.amt.features.ports.get_mut(&number) {
        port.retain(|name, _| !STATIC.contains(name));
        port.extend(values);
    }
    Ok(())
}

static WIRED: [Property; 16] = [
    property("DHCPEnabled", Rule::Required, Kind::Boolean),
    property("DefaultGateway", Rule::Optional, Kind::Address),
    property("ElementName", Rule::Echo, Kind::Text),
    property("IPAddress", Rule::Optional, Kind::Address),
    property("InstanceID", Rule::Echo, Kind::Text),
    property("IpSyncEnabled", Rule::Required, Kind::Boolean),
    property("LinkIsUp", Rule::ReadOnly, Kind::Boolean),
    property("LinkPolicy", Rule::Required, Kind::Numbers),
    property("MACAddress", Rule::Echo, Kind::Text),
    property("PhysicalConnectionType", Rule::Echo, Kind::Number),
    property("PrimaryDNS", Rule::Optional, Kind::Address),
    property("SecondaryDNS", Rule::Optional, Kind::Address),
    property("SharedDynamicIP", Rule::Echo, Kind::Boolean),
    property("SharedMAC", Rule::Echo, Kind::Boolean),
    property("SharedStaticIp", Rule::Required, Kind::Boolean),
    property("SubnetMask", Rule::Optional, Kind::Address),
];

static WIRELESS: [Property; 12] = [
    property("ConsoleTcpMaxRetransmissions", Rule::Optional, Kind::Number),
    property("DHCPEnabled", Rule::Required, Kind::Boolean),
    property("ElementName", Rule::Echo, Kind::Text),
    property("InstanceID", Rule::Echo, Kind::Text),
    property("LinkControl", Rule::Echo, Kind::Number),
    property("LinkIsUp", Rule::ReadOnly, Kind::Boolean),
    property("LinkPolicy", Rule::Optional, Kind::Numbers),
    property("LinkPreference", Rule::Echo, Kind::Number),
    property("MACAddress", Rule::Echo, Kind::Text),
    property("PhysicalConnectionType", Rule::Echo, Kind::Number),
    property("SharedMAC", Rule::Echo, Kind::Boolean),
    property("WLANLinkProtectionLevel", Rule::Echo, Kind::Number),
];

/// Adds stored values to an instance's leaves, which stand in the order of their names (recorded).
fn add(leaves: &mut Leaves, values: &Values) {
    for (name, values) in values {
        leaves.extend(values.iter().map(|value| (*name, Leaf::Text(value.clone()))));
    }
    leaves.sort_by_key(|(name, _)| *name);
}
