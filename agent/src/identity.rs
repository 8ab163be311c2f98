//! Who this machine is: one id that stays the same from run to run (DESIGN section 8, reference/org-state.md 2.3).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::machine::{Dmi, Field, Interface, Seen};

/// UUIDs that boards of many machines carry (reference/org-state.md 2.3, and the example of the specification).
const PLACEHOLDER_UUIDS: [&str; 4] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "00112233-4455-6677-8899-aabbccddeeff",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];
const PLACEHOLDER_SERIALS: [&str; 14] = [
    "to be filled by o.e.m.",
    "to be filled by oem",
    "default string",
    "system serial number",
    "chassis serial number",
    "not specified",
    "not applicable",
    "not available",
    "none",
    "n/a",
    "unknown",
    "invalid",
    "o.e.m.",
    "oem",
];

/// What a machine could be known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub uuid: Seen<String>,
    pub maker: Seen<String>,
    pub product: Seen<String>,
    pub serial: Seen<String>,
    pub asset_tag: Seen<String>,
    /// A virtual machine: its UUID is its host's name for it, and it mostly has no serial number.
    pub guest: bool,
    pub interfaces: Seen<Vec<Interface>>,
}

/// What the machine is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub device_id: Option<String>,
    /// `smbios`, `nic` or `none`; `unknown` where a source exists but may not be read.
    pub source: &'static str,
    /// Why there is no id, or not the best one.
    pub reason: Option<String>,
    /// Everything else a fleet view can join on: `uuid`, `serial`, `mac`, `asset_tag`.
    pub aliases: BTreeMap<String, Vec<String>>,
}

impl Evidence {
    pub fn collect(dmi: &Dmi<'_>, interfaces: &Seen<Vec<Interface>>, guest: bool) -> Self {
        Self {
            uuid: dmi.uuid(),
            maker: dmi.text(Field::SysVendor),
            product: dmi.text(Field::ProductName),
            serial: dmi.text(Field::ProductSerial),
            asset_tag: dmi.text(Field::ChassisAssetTag),
            guest,
            interfaces: interfaces.clone(),
        }
    }
}

/// The machine's id from what was collected; no I/O.
pub fn identify(evidence: &Evidence) -> Identity {
    let aliases = aliases(evidence);
    let with = |device_id, source, reason| Identity { device_id, source, reason, aliases: aliases.clone() };
    let why = match smbios_value(evidence) {
        Ok(value) => return with(Some(device_id("smbios", &value)), "smbios", None),
        // Without root another source would give another id, so there is none rather than a second one.
        Err(NoSmbios::Refused(why)) => return with(None, "unknown", Some(why)),
        Err(NoSmbios::Unfit(why)) => why,
    };
    match &evidence.interfaces {
        Seen::Refused(more) => with(None, "unknown", Some(more.clone())),
        Seen::Found(interfaces) => match lowest_mac(interfaces) {
            Some(mac) => with(Some(device_id("nic", mac)), "nic", Some(why)),
            None => with(None, "none", Some(format!("{why}; no network adapter has an address of its own"))),
        },
        Seen::Missing => with(None, "none", Some(format!("{why}; there are no network adapters"))),
    }
}

/// The id of one kind and value.
pub fn device_id(kind: &str, value: &str) -> String {
    let digest = Sha256::digest(format!("oob-device/v1\0{kind}\0{value}"));
    format!("d1-{}", base32(&digest).get(..26).unwrap_or_default())
}

enum NoSmbios {
    Refused(String),
    Unfit(String),
}

fn smbios_value(evidence: &Evidence) -> Result<String, NoSmbios> {
    let read = |seen: &Seen<String>, what: &str| match seen {
        Seen::Found(text) => Ok(text.trim().to_owned()),
        Seen::Refused(why) => Err(NoSmbios::Refused(why.clone())),
        Seen::Missing => Err(NoSmbios::Unfit(format!("SMBIOS gives no {what}"))),
    };
    let uuid = read(&evidence.uuid, "system UUID")?.to_lowercase();
    let maker = read(&evidence.maker, "manufacturer")?;
    let product = read(&evidence.product, "product name")?;
    let serial = read(&evidence.serial, "serial number")?;
    if !is_uuid(&uuid) || is_placeholder_uuid(&uuid) {
        return Err(NoSmbios::Unfit(format!("the system UUID {uuid} is a placeholder")));
    }
    if is_placeholder_serial(&serial) && !(evidence.guest && serial.is_empty()) {
        return Err(NoSmbios::Unfit(format!("the serial number {serial:?} is a placeholder")));
    }
    Ok([uuid, maker, product, serial].join("\0"))
}

/// The lowest address, so that the order in which adapters come up does not matter.
fn lowest_mac(interfaces: &[Interface]) -> Option<&str> {
    interfaces.iter().filter_map(Interface::identifying_mac).min()
}

fn aliases(evidence: &Evidence) -> BTreeMap<String, Vec<String>> {
    let known = |seen: &Seen<String>, fit: fn(&str) -> bool| -> Vec<String> {
        seen.clone().found().into_iter().filter(|text| fit(text)).collect()
    };
    let macs = evidence.interfaces.clone().found().unwrap_or_default();
    let macs = macs.iter().filter_map(Interface::identifying_mac).map(str::to_owned).collect();
    let all = [
        ("uuid", known(&evidence.uuid, |uuid| is_uuid(uuid) && !is_placeholder_uuid(uuid))),
        ("serial", known(&evidence.serial, |serial| !is_placeholder_serial(serial))),
        ("asset_tag", known(&evidence.asset_tag, |tag| !is_placeholder_serial(tag))),
        ("mac", macs),
    ];
    all.into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| (name.to_owned(), values))
        .collect()
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_placeholder_uuid(uuid: &str) -> bool {
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').collect();
    let same_bytes = digits.chunks(2).all(|pair| digits.chunks(2).next() == Some(pair));
    same_bytes || PLACEHOLDER_UUIDS.contains(&uuid.to_lowercase().as_str())
}

/// Texts of many machines: known phrases, one character repeated, digits counted up.
fn is_placeholder_serial(serial: &str) -> bool {
    let text = serial.trim().to_lowercase();
    let plain: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
    let repeated = plain.windows(2).all(|pair| pair[0] == pair[1]);
    let counted = "01234567890123456789".contains(&text) && text.len() >= 4;
    repeated || counted || PLACEHOLDER_SERIALS.contains(&text.as_str())
}

/// RFC 4648, lower case, no padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            let digit = ALPHABET.get((bits >> held) as usize & 31).copied().unwrap_or(b'a');
            text.push(char::from(digit));
        }
        bits &= 0xFF;
    }
    if held > 0 {
        let digit = ALPHABET.get((bits << (5 - held)) as usize & 31).copied().unwrap_or(b'a');
        text.push(char::from(digit));
    }
    text
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
