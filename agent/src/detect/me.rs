//! Intel's management engine: whether it runs, which version, which kind (reference/detect.md 1.1 to 1.4, me.md 4).

use oob_policy::{Confidence, Fact, UNKNOWN};

use super::hfsts::{Hfsts1, SPS, Status};
use super::{Survey, hfsts as registers, virt};
use crate::machine::smbios::Structure;
use crate::machine::{CpuVendor, Heci, MeiSysfs, Seen};

const STATE: &str = "intel.me.state";
const VERSION: &str = "intel.me.version";
const SKU: &str = "intel.me.sku";

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let status = status(survey);
    let mut facts = vec![
        state(survey, &status),
        version(survey),
        sku(survey, status.as_ref().ok()),
        hfsts(&status),
        manufacturing(&status),
    ];
    facts.extend(registers::facts(&status, &other_sources(survey, &status), major(survey)));
    facts.extend([pci(survey), clients(survey)]);
    facts
}

/// From the driver, else from configuration space, else from what firmware recorded at start-up.
fn status(survey: &Survey<'_>) -> Result<Status, String> {
    if let Some((words, source)) = live_words(&survey.mei) {
        return Ok(Status { words: words.to_vec(), source, confidence: Confidence::Observed });
    }
    let why = match &survey.mei.heci {
        Heci::Found { function, hfsts: Seen::Found(_), .. } => dead(&format!("{}/config", function.source())),
        Heci::Found { hfsts: Seen::Refused(why), .. } => why.clone(),
        Heci::Found { function, .. } => survey.machine.missing(&format!("{}/config", function.source())),
        Heci::NotListed => "no HECI function on the PCI bus".to_owned(),
        Heci::Unknown(why) => why.clone(),
    };
    let why = match survey.mei.devices.iter().find(|device| !device.fw_status.is_empty()) {
        Some(device) => format!("{}; {why}", dead(&device.source("fw_status"))),
        None => why,
    };
    recorded(survey).ok_or(why)
}

/// What firmware recorded at start-up.
fn recorded(survey: &Survey<'_>) -> Option<Status> {
    let words = survey.dmi.of(219).find_map(recorded_status)?;
    Some(Status { words, source: "smbios:219".to_owned(), confidence: Confidence::Inferred })
}

/// The sources besides the one that counts, as far as they can be read.
fn other_sources(survey: &Survey<'_>, status: &Result<Status, String>) -> Vec<Status> {
    let live = all_words(&survey.mei).map(|(words, source)| Status {
        words: words.to_vec(),
        source,
        confidence: Confidence::Observed,
    });
    let others = live.chain(recorded(survey));
    others.filter(|other| status.as_ref().is_ok_and(|status| status.source != other.source)).collect()
}

/// The registers as they are now, with their source: of the driver, else in configuration space.
pub(super) fn live_words(mei: &MeiSysfs) -> Option<(&[u32], String)> {
    all_words(mei).next()
}

fn all_words(mei: &MeiSysfs) -> impl Iterator<Item = (&[u32], String)> {
    let driver = mei.devices.iter().map(|device| (device.fw_status.as_slice(), device.source("fw_status")));
    let config = match &mei.heci {
        Heci::Found { function, hfsts: Seen::Found(words), .. } => {
            Some((words.as_slice(), format!("{}/config", function.source())))
        }
        _ => None,
    };
    driver.chain(config).filter(|(words, _)| are_alive(words))
}

/// Registers of a function that sleeps (D3) or is hidden read as all ones, or as nothing.
fn are_alive(words: &[u32]) -> bool {
    words.first().is_some_and(|word| ![0, u32::MAX].contains(word))
}

fn dead(source: &str) -> String {
    format!("{source} reads as all ones or zero: the engine is asleep (D3) or hidden")
}

/// The state that HFSTS1 tells, where it tells one, to be said in a reason.
pub(super) fn state_of(words: &[u32]) -> Option<&'static str> {
    let first = Hfsts1(*words.first()?);
    if first.working_state() == 14 { Some("halted") } else { first.state().ok() }
}

/// Type 219, "firmware status": records of 25 bytes {name, HFSTS1 to 6}; `MEI1` is the engine. Other makers use
/// the type for other things, so the name decides.
pub(super) fn recorded_status(structure: &Structure) -> Option<Vec<u32>> {
    let count = structure.u8(5)?;
    let at = (0..usize::from(count)).map(|n| 6 + 25 * n).find(|at| structure.text(*at) == Some("MEI1"))?;
    let words: Vec<u32> = (0..6).map_while(|n| structure.u32(at + 1 + 4 * n)).collect();
    (words.len() == 6 && are_alive(&words)).then_some(words)
}

fn state(survey: &Survey<'_>, status: &Result<Status, String>) -> Fact {
    let hidden = matches!(survey.mei.heci, Heci::NotListed);
    match status {
        Ok(status) => {
            let fact = match status.first().state() {
                // Firmware saw it running at start-up, and now it is not on the bus.
                Ok("normal") if hidden => {
                    return hidden_fact("firmware saw it running at start-up (smbios:219)");
                }
                Ok(word) => {
                    Fact { confidence: status.confidence, ..Fact::observed(STATE, word, &status.source) }
                }
                Err(why) => Fact::unknown(STATE, &status.source, why),
            };
            if status.confidence == Confidence::Inferred && fact.reason.is_none() {
                return fact.because("as firmware recorded it at start-up");
            }
            fact
        }
        Err(why) => match &survey.cpu.vendor {
            CpuVendor::Amd | CpuVendor::Other(_) if !matches!(survey.mei.heci, Heci::Found { .. }) => {
                Fact::inferred(STATE, "absent", survey.cpu.source).because("the processor is not Intel's")
            }
            CpuVendor::Intel if hidden => match virt::inside(survey) {
                Some(text) => Fact::inferred(STATE, "absent", "sys/bus/pci/devices").because(text),
                None => hidden_fact("no HECI function on the PCI bus beside an Intel processor"),
            },
            _ => Fact::unknown(STATE, "sys/class/mei", why),
        },
    }
}

fn hidden_fact(why: &str) -> Fact {
    Fact::inferred(STATE, "hidden", "sys/bus/pci/devices")
        .because(format!("{why}; it may be disabled, hidden by BIOS setup, or not there"))
}

fn version(survey: &Survey<'_>) -> Fact {
    let live = || survey.mei.devices.iter().find_map(|device| Some((device, device.version()?)));
    if let Some((device, version)) = live() {
        return Fact::observed(VERSION, version, &device.source("fw_ver"));
    }
    match survey.dmi.of(221).find_map(engine_record).map(|record| record.version) {
        Some(Some(version)) => return Fact::inferred(VERSION, version, "smbios:221"),
        Some(None) => {
            let why = "firmware could not ask the engine (version 255.255.255.65535)";
            return Fact::unknown(VERSION, "smbios:221", why);
        }
        None => {}
    }
    match survey.dmi.of(131).find_map(VproTable::of).and_then(|table| table.version) {
        Some(version) => Fact::hint(VERSION, version, "smbios:131"),
        None => Fact::unknown(VERSION, "sys/class/mei", "neither the driver nor SMBIOS 221 or 131 tells"),
    }
}

/// Whether the engine is known to be CSME 11 or later: before, HFSTS3 has no SKU (me.md 4.1).
pub(super) fn is_csme(survey: &Survey<'_>) -> bool {
    survey.mei.is_csme().unwrap_or_else(|| major(survey).is_some_and(|major| major >= 11))
}

fn major(survey: &Survey<'_>) -> Option<u32> {
    version(survey).value.as_text()?.split('.').next()?.parse().ok()
}

fn sku(survey: &Survey<'_>, status: Option<&Status>) -> Fact {
    let named = survey.dmi.of(221).find_map(engine_record);
    let table = survey.dmi.of(131).find_map(VproTable::of);
    let csme = is_csme(survey);
    let sku = status.and_then(|status| Some((status_sku(&status.words, csme)?, status)));
    match (sku, named.and_then(|record| record.sku), table.and_then(|table| table.sku())) {
        (Some((word, status)), ..) if status.confidence == Confidence::Observed => {
            Fact::observed(SKU, word, &status.source)
        }
        (_, Some(word), _) => Fact::inferred(SKU, word, "smbios:221"),
        (Some((word, status)), ..) => Fact::inferred(SKU, word, &status.source),
        (.., Some(word)) => Fact::hint(SKU, word, "smbios:131"),
        _ => Fact::unknown(SKU, "sys/class/mei", "neither the status registers nor SMBIOS 221 or 131 tells"),
    }
}

/// HFSTS3 bits 6:4, where the registers have them; operation mode 15 says SPS on all.
fn status_sku(words: &[u32], csme: bool) -> Option<&'static str> {
    if Hfsts1(*words.first()?).mode() == SPS {
        return Some("sps");
    }
    if !csme {
        return None;
    }
    match *words.get(2)? >> 4 & 7 {
        2 => Some("consumer"),
        3 => Some("corporate"),
        5 => Some("lite"),
        6 => Some("sps"),
        _ => None,
    }
}

/// Whether the engine runs server firmware. `csme`: it is known to be CSME 11 or later.
pub(super) fn is_sps(words: &[u32], csme: bool) -> bool {
    are_alive(words) && status_sku(words, csme) == Some("sps")
}

struct EngineRecord {
    version: Option<String>,
    sku: Option<&'static str>,
}

/// Type 221, "reference code versions": the record whose name is `ME Firmware Version`, wherever it stands. Other
/// makers use the type for network addresses, so the name decides.
fn engine_record(structure: &Structure) -> Option<EngineRecord> {
    let count = usize::from(structure.u8(4)?);
    let at = (0..count).map(|n| 5 + 7 * n).find(|at| structure.text(*at) == Some("ME Firmware Version"))?;
    let [major, minor, patch] = structure.array(at + 2)?;
    let build = structure.u16(at + 5)?;
    let blank = (major, minor, patch, build) == (255, 255, 255, 65535)
        || (major, minor, patch, build) == (0, 0, 0, 0);
    let sku = match structure.text(at + 1) {
        Some("Consumer SKU") => Some("consumer"),
        Some("Corporate SKU") => Some("corporate"),
        Some("1.5MB SKU") => Some("1.5mb"),
        Some("5MB SKU") => Some("5mb"),
        _ => None,
    };
    Some(EngineRecord { version: (!blank).then(|| format!("{major}.{minor}.{patch}.{build}")), sku })
}

/// Type 131, Intel's vPro verification table. The tag alone means nothing: almost every Intel client has it.
pub(super) struct VproTable {
    pub(super) capabilities: u32,
    version: Option<String>,
}

impl VproTable {
    pub(super) fn of(structure: &Structure) -> Option<Self> {
        if structure.bytes.len() < 64 || structure.array(56) != Some(*b"vPro") {
            return None;
        }
        let word = |at| structure.u16(at);
        let (minor, major, build, hotfix) = (word(28)?, word(30)?, word(32)?, word(34)?);
        let known = major != 0 && major != u16::MAX;
        let version = known.then(|| format!("{major}.{minor}.{hotfix}.{build}"));
        Some(Self { capabilities: structure.u32(24)?, version })
    }

    /// `amt`, `standard-manageability` or `none`, by the bits that AMT's own SKU word has too.
    pub(super) fn manageability(&self) -> &'static str {
        match self.capabilities {
            bits if bits & 1 << 3 != 0 => "amt",
            bits if bits & 1 << 4 != 0 => "standard-manageability",
            _ => "none",
        }
    }

    fn sku(&self) -> Option<&'static str> {
        match self.capabilities {
            // AMT and Standard Manageability are features of corporate firmware.
            bits if bits & (1 << 3 | 1 << 4 | 1 << 14) != 0 => Some("corporate"),
            0x1 | 0x2001 | 0x2021 => Some("consumer"),
            _ => None,
        }
    }
}

fn hfsts(status: &Result<Status, String>) -> Fact {
    const NAME: &str = "intel.me.hfsts";
    match status {
        Ok(status) => {
            let words: Vec<String> = status.words.iter().map(|word| format!("{word:#010x}")).collect();
            Fact { confidence: status.confidence, ..Fact::observed(NAME, words, &status.source) }
        }
        Err(why) => Fact::unknown(NAME, "sys/class/mei", why),
    }
}

/// Set on a fifth of sound machines, so it is a hint and no alarm.
fn manufacturing(status: &Result<Status, String>) -> Fact {
    const NAME: &str = "intel.me.manufacturing";
    match status {
        Ok(status) => {
            let set = status.first().manufacturing();
            Fact::hint(NAME, set, &status.source)
                .because("bit 4 of HFSTS1; from Tiger Lake on it tells of flash protection instead")
        }
        Err(why) => Fact::unknown(NAME, "sys/class/mei", why),
    }
}

fn pci(survey: &Survey<'_>) -> Fact {
    const NAME: &str = "intel.me.pci";
    match &survey.mei.heci {
        Heci::Found { function, driver, .. } => {
            let fact = Fact::observed(NAME, function.id(), &function.source());
            match driver {
                Some(driver) => fact.because(format!("driver {driver}")),
                None => fact.because("no driver; load mei_me"),
            }
        }
        Heci::NotListed => Fact::observed(NAME, "absent", "sys/bus/pci/devices"),
        Heci::Unknown(why) => Fact::unknown(NAME, "sys/bus/pci/devices", why),
    }
}

fn clients(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("intel.mei.clients", "sys/bus/mei/devices");
    match &survey.mei.clients {
        Seen::Found(clients) => {
            let mut uuids: Vec<String> = clients.iter().map(|client| client.uuid.clone()).collect();
            uuids.sort();
            uuids.dedup();
            Fact::observed(name, uuids, source)
        }
        other => {
            Fact::unknown(name, source, survey.why_not(other, source).unwrap_or_else(|| UNKNOWN.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operation mode 15 says SPS everywhere, HFSTS3 from CSME 11 on only, and what sleeps says nothing.
    #[test]
    fn server_firmware_is_told_by_registers_that_have_the_field() {
        let cases: [(&[u32], bool, bool); 8] = [
            (&[0x000f_0345], false, true),
            (&[0x245, 0, 0x60], true, true),
            (&[0x245, 0, 0x60], false, false),
            (&[0x245, 0, 0x30], true, false),
            (&[0x245], true, false),
            (&[u32::MAX; 6], true, false),
            (&[0, 0, 0x60], true, false),
            (&[u32::MAX, 0, 0x60], true, false),
        ];
        for (words, csme, expected) in cases {
            assert_eq!(is_sps(words, csme), expected, "{words:x?}, csme {csme}");
        }
    }

    fn structure(kind: u8, body: &[u8], strings: &[&str]) -> Structure {
        let mut bytes = vec![kind, u8::try_from(body.len() + 4).unwrap(), 0, 0];
        bytes.extend(body);
        Structure { kind, handle: 0, bytes, strings: strings.iter().map(|&text| text.to_owned()).collect() }
    }

    #[test]
    fn records_are_found_by_name_and_never_by_place() {
        let bytes = [2, 2, 0, 1, 2, 3, 4, 0, 1, 3, 11, 8, 50, 0x47, 0x0D];
        let record =
            engine_record(&structure(221, &bytes, &["ME Firmware Version", "MEBx version", "Consumer SKU"]))
                .unwrap();
        assert_eq!((record.version.as_deref(), record.sku), (Some("11.8.50.3399"), Some("consumer")));
        assert!(engine_record(&structure(221, &bytes, &["NIC 1", "NIC 2", "x"])).is_none());
        let blank = [1, 1, 2, 255, 255, 255, 255, 255];
        let record =
            engine_record(&structure(221, &blank, &["ME Firmware Version", "Corporate SKU"])).unwrap();
        assert_eq!((record.version, record.sku), (None, Some("corporate")));
        for length in 0..bytes.len() {
            let cut =
                structure(221, &bytes[..length], &["ME Firmware Version", "MEBx version", "Consumer SKU"]);
            assert!(engine_record(&cut).is_none(), "cut at {length}");
        }
        let mut status = vec![1, 1, 1];
        status.extend([0x45, 2, 0, 0]);
        status.extend([0; 20]);
        assert_eq!(recorded_status(&structure(219, &status, &["MEI1"])).unwrap()[0], 0x245);
        assert!(recorded_status(&structure(219, &status, &["Power Features"])).is_none());
        assert!(recorded_status(&structure(219, &status[..20], &["MEI1"])).is_none());
    }

    #[test]
    fn the_vpro_tag_counts_only_in_its_place() {
        let mut body = vec![0; 60];
        body[52..56].copy_from_slice(b"vPro");
        body[20..24].copy_from_slice(&0xC009u32.to_le_bytes());
        body[24..32].copy_from_slice(&[1, 0, 14, 0, 0xEF, 8, 72, 0]);
        let table = VproTable::of(&structure(131, &body, &[])).unwrap();
        assert_eq!((table.manageability(), table.version.as_deref()), ("amt", Some("14.1.72.2287")));
        for (capabilities, word, sku) in [
            (0x2031u32, "standard-manageability", Some("corporate")),
            (0x2021, "none", Some("consumer")),
            (0x1, "none", Some("consumer")),
            (0, "none", None),
        ] {
            body[20..24].copy_from_slice(&capabilities.to_le_bytes());
            let table = VproTable::of(&structure(131, &body, &[])).unwrap();
            assert_eq!((table.manageability(), table.sku()), (word, sku), "{capabilities:#x}");
        }
        assert!(VproTable::of(&structure(131, &body[..59], &[])).is_none());
        assert!(VproTable::of(&structure(131, &[0; 18], &["TVT-Enablement"])).is_none());
        body[52] = b'x';
        assert!(VproTable::of(&structure(131, &body, &[])).is_none());
    }
}
