//! AMT's wired addresses, which a write of other settings may lose (reference/amt.md 5.10): read before the first of them,
//! compared after the last, and put back where they are not what they were.

use oob_policy::{History, WiredBefore};
use oob_wsman::classes::Editable;
use oob_wsman::classes::ethernet::{EthernetPortSettings, WIRED};
use oob_wsman::digest::Realm;

use super::Run;
use super::failure::Failure;
use super::proof::Client;
use super::settings::{mutating, refused};
use crate::state::JournalEntry;

const INSTANCE: [(&str, &str); 1] = [("InstanceID", WIRED)];
const WHAT: &str = "wired addresses";

/// How the wired interface comes by its address. What DHCP gave is no setting, and is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    dhcp: Option<bool>,
    shared: Option<bool>,
    sync: Option<bool>,
    /// In the order of [`FIXED`]; none with DHCP.
    fixed: Option<[Option<String>; 5]>,
}

const FIXED: [&str; 5] = ["IPAddress", "SubnetMask", "DefaultGateway", "PrimaryDNS", "SecondaryDNS"];

/// What became of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// AMT has no wired interface.
    NoneThere,
    AsBefore,
    /// They were others after the settings were written, were put back, and read so.
    Restored,
}

impl Kept {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::NoneThere => "no wired interface",
            Self::AsBefore => "as before",
            Self::Restored => "restored",
        }
    }
}

/// What they are before the first write. A run of ours that ended before it had compared them knew it better, since what is
/// there now may be what it left. Addresses that a write may lose are journalled.
pub(super) async fn begin(
    run: &mut Run<'_>,
    admin: &mut Client<'_, '_>,
    realm: &Realm,
) -> Result<Option<Addresses>, Failure> {
    if let Some(open) = left_open(run.history, realm) {
        return Ok(Some(open));
    }
    let before = read(admin).await?;
    if let Some(fixed) = before.as_ref().filter(|it| it.fixed.is_some()) {
        run.journal.append(JournalEntry::Addresses { before: fixed.journalled(realm) }).map_err(|error| {
            Failure::not_recorded("AMT has its password, and no setting was written", &error)
        })?;
    }
    Ok(before)
}

/// Those of a run that ended before it had compared them.
pub(super) fn left_open(history: &History, realm: &Realm) -> Option<Addresses> {
    let open = history.wired_before.as_ref().filter(|open| open.realm == realm.as_str())?;
    Some(Addresses { dhcp: open.dhcp, shared: open.shared, sync: open.sync, fixed: open.fixed.clone() })
}

/// They were seen to be what they were.
pub(super) fn end(run: &mut Run<'_>, before: Option<&Addresses>) -> Result<(), Failure> {
    if before.is_none_or(|before| before.fixed.is_none()) {
        return Ok(());
    }
    let kept = run.journal.append(JournalEntry::AddressesKept);
    kept.map_err(|error| Failure::not_recorded("AMT's settings are written and read back", &error))
}

/// None where AMT has no wired interface, which is no error.
pub(super) async fn read(admin: &mut Client<'_, '_>) -> Result<Option<Addresses>, Failure> {
    match admin.get_with::<EthernetPortSettings>(&INSTANCE).await {
        Ok(port) => Ok(Addresses::of(&port)),
        Err(error) if error.names_no_instance() => Ok(None),
        Err(error) => Err(refused(WHAT, &error)),
    }
}

/// Sees that they are what they were, or makes them so.
pub(super) async fn keep(admin: &mut Client<'_, '_>, before: Option<&Addresses>) -> Result<Kept, Failure> {
    let Some(before) = before else { return Ok(Kept::NoneThere) };
    let mut port =
        admin.get_to_edit::<EthernetPortSettings>(&INSTANCE).await.map_err(|error| refused(WHAT, &error))?;
    if Addresses::of(&port).as_ref() == Some(before) {
        return Ok(Kept::AsBefore);
    }
    before.put_into(&mut port);
    mutating(WHAT, admin.put(&port)).await?;
    match read(admin).await? {
        Some(now) if now == *before => Ok(Kept::Restored),
        _ => Err(Failure::unchanged(
            "addresses-not-kept",
            "writing AMT's settings changed its wired addresses, and what was there before does not stay when it is put \
             back; set AMT's network by hand",
        )),
    }
}

impl Addresses {
    fn of(port: &EthernetPortSettings) -> Option<Self> {
        // On a machine without a wired port the instance is there on some firmware, and nothing is behind it.
        let mac = port.mac_address.as_deref().unwrap_or_default();
        if !mac.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0') {
            return None;
        }
        let known = |address: &Option<String>| {
            address.as_deref().map(str::trim).filter(|it| !["", "0.0.0.0"].contains(it)).map(str::to_owned)
        };
        let fixed = [
            &port.ip_address,
            &port.subnet_mask,
            &port.default_gateway,
            &port.primary_dns,
            &port.secondary_dns,
        ];
        Some(Self {
            dhcp: port.dhcp_enabled,
            shared: port.shared_static_ip,
            sync: port.ip_sync_enabled,
            fixed: (port.dhcp_enabled != Some(true)).then(|| fixed.map(known)),
        })
    }

    fn journalled(&self, realm: &Realm) -> WiredBefore {
        let Self { dhcp, shared, sync, fixed } = self.clone();
        WiredBefore { realm: realm.as_str().to_owned(), dhcp, shared, sync, fixed }
    }

    /// All addresses go out with a static configuration and none with DHCP, which firmware would refuse.
    fn put_into(&self, port: &mut Editable<EthernetPortSettings>) {
        for (name, value) in
            [("DHCPEnabled", self.dhcp), ("SharedStaticIp", self.shared), ("IpSyncEnabled", self.sync)]
        {
            if let Some(value) = value {
                port.set_bool(name, value);
            }
        }
        for (name, value) in FIXED.iter().zip(self.fixed.iter().flatten()) {
            let values: Vec<&str> = value.iter().map(String::as_str).collect();
            port.set_all(name, &values);
        }
    }
}

#[cfg(test)]
mod tests {
    use oob_wsman::envelope::Envelope;

    use super::*;

    fn instance(properties: &str) -> Editable<EthernetPortSettings> {
        let resource = oob_wsman::classes::ethernet::ETHERNET_PORT_SETTINGS;
        let document = format!(
            "<a:Envelope xmlns:a=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:b=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" xmlns:g=\"{resource}\"><a:Header/><a:Body>\
             <g:AMT_EthernetPortSettings>{properties}</g:AMT_EthernetPortSettings></a:Body></a:Envelope>"
        );
        let envelope = Envelope::read(document.as_bytes()).unwrap();
        Editable::read(envelope.body.as_ref(), &INSTANCE).unwrap()
    }

    fn leaf(name: &str, value: &str) -> String {
        format!("<g:{name}>{value}</g:{name}>")
    }

    fn with_dhcp() -> Editable<EthernetPortSettings> {
        instance(
            &[
                leaf("DHCPEnabled", "true"),
                leaf("DefaultGateway", "192.0.2.1"),
                leaf("IpSyncEnabled", "true"),
                leaf("MACAddress", "c8-d9-d2-7a-1e-33"),
                leaf("SharedStaticIp", "false"),
                leaf("SubnetMask", "255.255.255.0"),
            ]
            .concat(),
        )
    }

    fn with_static() -> Editable<EthernetPortSettings> {
        instance(
            &[
                leaf("DHCPEnabled", "false"),
                leaf("DefaultGateway", "192.0.2.1"),
                leaf("IPAddress", "192.0.2.7"),
                leaf("IpSyncEnabled", "false"),
                leaf("MACAddress", "c8-d9-d2-7a-1e-33"),
                leaf("SecondaryDNS", "0.0.0.0"),
                leaf("SharedStaticIp", "false"),
                leaf("SubnetMask", "255.255.255.0"),
            ]
            .concat(),
        )
    }

    fn put(port: &Editable<EthernetPortSettings>) -> String {
        let xml = port.to_request().to_xml(0);
        xml.split("<Body>").nth(1).unwrap().replace("h:", "")
    }

    #[test]
    fn static_addresses_are_sent_whole_and_those_of_dhcp_never() {
        let (dhcp, fixed) = (Addresses::of(&with_dhcp()).unwrap(), Addresses::of(&with_static()).unwrap());
        assert_ne!(dhcp, fixed);
        assert_eq!(dhcp.fixed, None, "what a lease brought is no setting");

        let mut lost = with_dhcp();
        fixed.put_into(&mut lost);
        let sent = put(&lost);
        for part in [
            "<DHCPEnabled>false</DHCPEnabled>",
            "<IpSyncEnabled>false</IpSyncEnabled>",
            "<IPAddress>192.0.2.7</IPAddress>",
            "<SubnetMask>255.255.255.0</SubnetMask>",
            "<DefaultGateway>192.0.2.1</DefaultGateway>",
        ] {
            assert!(sent.contains(part), "{part}: {sent}");
        }
        assert!(!sent.contains("DNS"), "what was not there is not made up: {sent}");

        let mut taken = with_static();
        dhcp.put_into(&mut taken);
        let sent = put(&taken);
        assert!(sent.contains("<DHCPEnabled>true</DHCPEnabled>"), "{sent}");
        for name in FIXED {
            assert!(!sent.contains(name), "{name}: {sent}");
        }
    }

    #[test]
    fn an_interface_without_an_address_of_its_own_is_none() {
        for mac in ["", "00-00-00-00-00-00", "000000000000"] {
            let port = instance(&[leaf("DHCPEnabled", "true"), leaf("MACAddress", mac)].concat());
            assert_eq!(Addresses::of(&port), None, "{mac:?}");
        }
        assert_eq!(Addresses::of(&instance(&leaf("DHCPEnabled", "true"))), None);
    }
}
