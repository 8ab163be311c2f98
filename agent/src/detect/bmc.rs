//! Whether there is a baseboard management controller (reference/detect.md 4).
//!
//! SMBIOS type 38 is set on hundreds of notebooks that have none, so its address must make sense, and the driver's
//! own dialogue with the controller is the proof. The vendor's name alone never is: makers of servers make clients.

use oob_policy::{Fact, UNKNOWN};

use super::{Survey, dash, host, virt};
use crate::machine::smbios::Structure;
use crate::machine::{Field, Machine, Seen};

const VERDICT: &str = "bmc.verdict";
const VENDOR: &str = "bmc.vendor";
const PLATFORM: &str = "sys/devices/platform";
/// What the driver makes for a controller, as programs open it and as sysfs lists it.
const NODES: [&str; 2] = ["dev/ipmi0", "sys/class/ipmi/ipmi0"];

/// Manufacturer ids of IPMI's Get Device ID (IANA enterprise numbers).
const MAKERS: [(u32, &str); 15] = [
    (2, "ibm"),
    (11, "hp"),
    (343, "intel"),
    (674, "dell"),
    (2011, "huawei"),
    (5771, "cisco"),
    (7244, "quanta"),
    (10368, "fujitsu"),
    (10876, "supermicro"),
    (19046, "lenovo"),
    (20301, "ibm"),
    (20974, "ami"),
    (42817, "openpower"),
    (47196, "hpe"),
    (47488, "supermicro"),
];

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let controller = controller(survey.machine);
    let verdict = verdict(survey, controller.as_deref());
    let vendor = vendor(survey, controller.as_deref(), &verdict);
    vec![verdict, vendor]
}

/// The driver makes this directory once the controller has answered Get Device ID.
fn controller(machine: &Machine) -> Option<String> {
    let name = machine.look_list(PLATFORM).found()?.into_iter().find(|name| name.starts_with("ipmi_bmc"))?;
    Some(format!("{PLATFORM}/{name}"))
}

fn verdict(survey: &Survey<'_>, controller: Option<&str>) -> Fact {
    if let Some(path) = controller {
        let fact = Fact::observed(VERDICT, "present", path);
        return match virt::inside(survey) {
            Some(_) => fact.because("virtual: the hypervisor simulates it"),
            None => fact.because("it answered the driver's Get Device ID"),
        };
    }
    let interface = survey.dmi.of(38).map(Interface::of).collect::<Vec<_>>();
    let redfish = survey.dmi.of(42).any(is_redfish);
    if let Some(text) = virt::inside(survey).filter(|_| redfish || !interface.is_empty()) {
        return Fact::inferred(VERDICT, "false-sign", "smbios:38").because(text);
    }
    let node = NODES.into_iter().find(|node| survey.machine.exists(node));
    if let Some(node) = node.filter(|_| !survey.guest.is_guest()) {
        return Fact::inferred(VERDICT, "likely", node)
            .because("the IPMI driver has a node for one; Get Device ID would prove it");
    }
    if let Some(found) = interface.iter().find(|interface| interface.is_sound()) {
        let text = format!("{}; load ipmi_si or ipmi_ssif to prove it", found.text());
        return Fact::inferred(VERDICT, "likely", "smbios:38").because(text);
    }
    if redfish {
        return Fact::inferred(VERDICT, "likely", "smbios:42").because("a Redfish host interface");
    }
    if survey.machine.exists("sys/firmware/acpi/tables/SPMI") {
        return Fact::inferred(VERDICT, "likely", "sys/firmware/acpi/tables/SPMI")
            .because("ACPI has an IPMI table");
    }
    if let Some(found) = interface.first() {
        let text = format!("{}: no address a controller could have", found.text());
        return Fact::inferred(VERDICT, "false-sign", "smbios:38").because(text);
    }
    if let Some(side) =
        survey.functions().iter().find(|function| dash::is_side(function) && function.device == 0x816C)
    {
        return Fact::inferred(VERDICT, "false-sign", &side.source())
            .because("this KCS interface is of a Realtek DASH adapter");
    }
    no_sign(survey)
}

/// No sign is no proof of absence on a server, whose firmware may leave type 38 out.
fn no_sign(survey: &Survey<'_>) -> Fact {
    let chassis = survey.dmi.chassis().found().and_then(host::form_factor_of);
    match (survey.no_smbios(), chassis) {
        (Some(why), _) => match virt::inside(survey) {
            Some(_) => Fact::inferred(VERDICT, "absent", "virt.hypervisor")
                .because("a guest without a simulated one"),
            None => Fact::unknown(VERDICT, "smbios:38", why),
        },
        (None, _) if survey.guest.is_guest() => Fact::inferred(VERDICT, "absent", "smbios:38"),
        (None, Some("desktop" | "laptop" | "mini-pc" | "all-in-one" | "tablet")) => {
            Fact::inferred(VERDICT, "absent", "smbios:38").because("no sign of one, and a client's chassis")
        }
        (None, _) => Fact::unknown(VERDICT, "smbios:38", "no sign of one, and the chassis is not a client's"),
    }
}

fn vendor(survey: &Survey<'_>, controller: Option<&str>, verdict: &Fact) -> Fact {
    if let Some(path) = controller
        && let Seen::Found(text) = survey.machine.look_text(&format!("{path}/manufacturer_id"))
        && let Ok(id) = u32::from_str_radix(text.trim_start_matches("0x"), 16)
    {
        let source = format!("{path}/manufacturer_id");
        return match MAKERS.iter().find(|(known, _)| *known == id) {
            Some((_, word)) => Fact::observed(VENDOR, *word, &source),
            None => Fact::unknown(VENDOR, &source, format!("manufacturer {id} is not in the table")),
        };
    }
    match verdict.value.as_text() {
        Some("present" | "likely") => {}
        Some(UNKNOWN) => return Fact::unknown(VENDOR, VERDICT, "whether there is a controller is unknown"),
        _ => return Fact::inferred(VENDOR, "none", VERDICT).because("there is no controller"),
    }
    let maker = survey.dmi.known(Field::SysVendor).unwrap_or_default();
    let words = [Field::ProductName, Field::ProductVersion, Field::ProductFamily]
        .map(|field| survey.dmi.known(field));
    match vendor_of(&maker, &words.into_iter().flatten().collect::<Vec<_>>().join(" ")) {
        Some((word, product)) => Fact::inferred(VENDOR, word, &Field::SysVendor.source())
            .because(format!("{product}, by the machine's make")),
        None => Fact::unknown(
            VENDOR,
            &Field::SysVendor.source(),
            "this make does not tell; ask the controller itself",
        ),
    }
}

/// The maker of the controller and its product name, by the machine's make.
fn vendor_of(maker: &str, product: &str) -> Option<(&'static str, &'static str)> {
    let any = |words: &[&str]| words.iter().any(|word| product.contains(word));
    match maker {
        "Dell Inc." | "Dell" => Some(("dell", "iDRAC")),
        "HP" | "HPE" | "Hewlett-Packard" if any(&["ProLiant", "Synergy", "Apollo", "Cray"]) => {
            Some(("hpe", "iLO"))
        }
        "LENOVO" | "Lenovo" if any(&["ThinkSystem"]) => Some(("lenovo", "XCC")),
        "LENOVO" | "Lenovo" | "IBM" if any(&["System x"]) => Some(("lenovo", "IMM2")),
        _ if maker.starts_with("Cisco Systems") => Some(("cisco", "CIMC")),
        _ if maker.to_lowercase().starts_with("supermicro") => Some(("supermicro", "Supermicro BMC")),
        _ => None,
    }
}

/// SMBIOS type 38 (DSP0134 7.39).
struct Interface {
    kind: u8,
    address: u64,
}

impl Interface {
    fn of(structure: &Structure) -> Self {
        Self { kind: structure.u8(4).unwrap_or(0), address: structure.u64(8).unwrap_or(0) }
    }

    fn is_sound(&self) -> bool {
        // Bit 0 tells I/O from memory; the address proper is above it.
        matches!(self.kind, 1..=4) && self.address & !1 != 0
    }

    fn text(&self) -> String {
        let kind = match self.kind {
            1 => "KCS",
            2 => "SMIC",
            3 => "BT",
            4 => "SSIF",
            _ => "unknown interface",
        };
        format!("{kind} at {:#x}", self.address & !1)
    }
}

/// SMBIOS type 42 with a network interface and the protocol Redfish over IP (DSP0270). Most type 42s are others.
fn is_redfish(structure: &Structure) -> bool {
    if structure.u8(4) != Some(0x40) {
        return false;
    }
    let Some(data) = structure.u8(5) else { return false };
    let at = 6 + usize::from(data);
    let mut record = at + 1;
    for _ in 0..structure.u8(at).unwrap_or(0) {
        let (Some(protocol), Some(length)) = (structure.u8(record), structure.u8(record + 1)) else {
            return false;
        };
        if protocol == 4 {
            return true;
        }
        record += 2 + usize::from(length);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(kind: u8, body: &[u8]) -> Structure {
        let bytes = [&[kind, u8::try_from(body.len() + 4).unwrap(), 0, 0][..], body].concat();
        Structure { kind, handle: 0, bytes, strings: vec![] }
    }

    #[test]
    fn type_38_must_make_sense() {
        let cases: [(&[u8], bool); 6] = [
            (&[1, 0x20, 0x20, 0xFF, 0xA3, 0x0C, 0, 0, 0, 0, 0, 0], true),
            (&[4, 0x20, 0x10, 0xFF, 0x10, 0, 0, 0, 0, 0, 0, 0], true),
            (&[1, 0x20, 0x20, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0], false),
            (&[1, 0x20, 0x20, 0xFF, 1, 0, 0, 0, 0, 0, 0, 0], false), // address 0 in I/O space
            (&[0, 0x20, 0x20, 0xFF, 0xA3, 0x0C, 0, 0, 0, 0, 0, 0], false),
            (&[1, 0x20, 0x20], false),
        ];
        for (body, expected) in cases {
            assert_eq!(Interface::of(&structure(38, body)).is_sound(), expected, "{body:?}");
        }
    }

    #[test]
    fn type_42_is_redfish_by_its_protocol_alone() {
        let cases: [(&[u8], bool); 7] = [
            (&[0x40, 1, 2, 1, 4, 0], true),
            (&[0x40, 3, 2, 9, 9, 2, 3, 1, 0xAA, 4, 0], true), // second record
            (&[0x40, 1, 2, 1, 3, 0], false),
            (&[0x40, 1, 2, 0], false),
            (&[2, 1, 2, 1, 4, 0], false), // KCS
            (&[0x40, 200, 2, 1, 4, 0], false),
            (&[0x40], false),
        ];
        for (body, expected) in cases {
            assert_eq!(is_redfish(&structure(42, body)), expected, "{body:?}");
        }
    }

    #[test]
    fn makers_of_clients_are_not_taken_for_servers() {
        assert_eq!(vendor_of("HP", "HP EliteDesk 800 G2"), None);
        assert_eq!(vendor_of("LENOVO", "20VX00MWUS ThinkPad P14s"), None);
        assert_eq!(vendor_of("HPE", "ProLiant DL380 Gen10").map(|v| v.1), Some("iLO"));
        assert_eq!(vendor_of("LENOVO", "System x3650 M5").map(|v| v.1), Some("IMM2"));
        assert_eq!(vendor_of("Cisco Systems Inc", "UCSC-C220-M5").map(|v| v.0), Some("cisco"));
    }
}
