//! Which machine it is: what firmware says of it, its processor, its adapters, and the host system of a live root.

use oob_policy::{Fact, UNKNOWN, Value};

use super::Survey;
use crate::machine::{CpuVendor, Field, Seen};

const FIELDS: [(&str, Field); 11] = [
    ("host.vendor", Field::SysVendor),
    ("host.product", Field::ProductName),
    ("host.version", Field::ProductVersion),
    ("host.sku", Field::ProductSku),
    ("host.family", Field::ProductFamily),
    ("host.serial", Field::ProductSerial),
    ("host.board.vendor", Field::BoardVendor),
    ("host.board.product", Field::BoardName),
    ("host.bios.vendor", Field::BiosVendor),
    ("host.bios.version", Field::BiosVersion),
    ("host.bios.date", Field::BiosDate),
];

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let mut facts: Vec<Fact> =
        FIELDS.iter().map(|(name, field)| text(survey, name, &survey.dmi.text_at(*field))).collect();
    let uuid_at = facts.iter().position(|fact| fact.name == "host.board.vendor").unwrap_or(facts.len());
    facts.insert(uuid_at, text(survey, "host.uuid", &survey.dmi.uuid_at()));
    facts.push(smbios(survey));
    facts.push(form_factor(survey));
    facts.extend(cpu(survey));
    facts.push(macs(survey));
    facts.extend(system(survey));
    facts
}

fn text(survey: &Survey<'_>, name: &str, (seen, source): &(Seen<String>, String)) -> Fact {
    match seen {
        Seen::Found(text) if text.is_empty() => Fact::unknown(name, source, "firmware leaves it out"),
        // Some firmware writes the word itself.
        Seen::Found(text) if text == UNKNOWN => Fact::unknown(name, source, "firmware says so itself"),
        Seen::Found(text) => Fact::observed(name, text.as_str(), source),
        Seen::Missing => Fact::unknown(name, source, survey.machine.missing(source)),
        Seen::Refused(why) => Fact::unknown(name, source, why),
    }
}

/// Version of the table, and what is wrong with it.
fn smbios(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("host.smbios", "sys/firmware/dmi/tables");
    let Seen::Found(table) = &survey.dmi.table else {
        return Fact::unknown(name, source, survey.no_smbios().unwrap_or_default());
    };
    let fact = match table.version {
        Some((major, minor)) => Fact::observed(name, format!("{major}.{minor}"), source),
        None => Fact::unknown(name, source, "the table has no sound entry point"),
    };
    if table.defects.is_empty() { fact } else { fact.because(table.defects.join("; ")) }
}

/// Chassis types of DSP0134 7.4.1.
fn form_factor(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("host.form_factor", "sys/class/dmi/id/chassis_type");
    match survey.dmi.chassis() {
        Seen::Found(kind) => match form_factor_of(kind) {
            Some(word) => Fact::observed(name, word, source),
            None => Fact::unknown(name, source, format!("chassis type {kind}")),
        },
        Seen::Missing => Fact::unknown(name, source, survey.machine.missing(source)),
        Seen::Refused(why) => Fact::unknown(name, source, why),
    }
}

pub(super) fn form_factor_of(chassis: u8) -> Option<&'static str> {
    Some(match chassis {
        3..=7 | 15 | 16 => "desktop",
        8..=10 | 14 | 31 => "laptop",
        17 | 22 | 23 | 25 | 28 | 29 => "server",
        34..=36 => "mini-pc",
        13 => "all-in-one",
        11 | 30 | 32 => "tablet",
        1 | 12 | 18..=21 | 24 | 26 | 27 | 33 => "other",
        _ => return None,
    })
}

fn cpu(survey: &Survey<'_>) -> [Fact; 2] {
    let cpu = &survey.cpu;
    let vendor = match &cpu.vendor {
        CpuVendor::Intel => Fact::observed("host.cpu.vendor", "intel", cpu.source),
        CpuVendor::Amd => Fact::observed("host.cpu.vendor", "amd", cpu.source),
        CpuVendor::Other(word) => Fact::observed("host.cpu.vendor", word.as_str(), cpu.source),
        CpuVendor::Unknown(why) => Fact::unknown("host.cpu.vendor", cpu.source, why),
    };
    let model = match &cpu.model {
        Some(model) => Fact::observed("host.cpu.model", model.as_str(), cpu.source),
        None => Fact::unknown("host.cpu.model", cpu.source, "no model name"),
    };
    [vendor, model]
}

/// The addresses of physical adapters that are their own; a container's or a bond's are not.
fn macs(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("host.macs", "sys/class/net");
    match &survey.interfaces {
        Seen::Found(interfaces) => {
            let permanent = interfaces.iter().filter(|interface| interface.permanent);
            let mut macs: Vec<String> = permanent.filter_map(|interface| interface.mac.clone()).collect();
            macs.sort();
            macs.dedup();
            Fact::observed(name, macs, source)
        }
        other => Fact::unknown(name, source, survey.why_not(other, source).unwrap_or_default()),
    }
}

fn system(survey: &Survey<'_>) -> Vec<Fact> {
    const SOURCE: &str = "sysinfo";
    let host = survey.machine.host();
    let kind = survey.machine.kind().word();
    let fact = |name: &str, value: Option<Value>| match value {
        Some(value) => Fact::observed(name, value, SOURCE),
        None if host.is_none() => {
            Fact::unknown(name, SOURCE, format!("{kind}: only a live root has a host system"))
        }
        None => Fact::unknown(name, SOURCE, "the system does not tell"),
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    vec![
        match host.as_ref().and_then(|host| text(&host.name)) {
            Some(name) => fact("host.name", Some(name)),
            None => host_name(survey),
        },
        fact("host.os", host.as_ref().and_then(|host| text(&host.os))),
        fact("host.kernel", host.as_ref().and_then(|host| text(&host.kernel))),
        boot_time(survey, host.as_ref().and_then(|host| host.boot_time)),
        boot_id(survey),
    ]
}

/// Seconds since 1970. What is not live tells it only where its own kernel's file was kept.
fn boot_time(survey: &Survey<'_>, live: Option<u64>) -> Fact {
    let (name, source) = ("host.boot_time", "proc/stat");
    if let Some(time) = live {
        return Fact::observed(name, time, "sysinfo");
    }
    if survey.machine.is_live() {
        return Fact::unknown(name, "sysinfo", "the system does not tell");
    }
    // A line of its own far down the file, so not by what a fact may hold.
    let kept = survey.machine.read_text(source).ok().and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|time| time.trim().parse::<u64>().ok())
    });
    match kept {
        Some(time) => Fact::observed(name, time, source),
        None => Fact::unknown(name, source, survey.machine.missing(source)),
    }
}

/// Random, and another one with each boot: it tells a later boot from this one whatever the clock says.
/// The kernel's own word for it, which a captured machine may hold too. What a kernel is called before anybody named it
/// is no name.
fn host_name(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("host.name", "proc/sys/kernel/hostname");
    match survey.machine.look_text(source) {
        Seen::Found(found) if !["", "(none)", "localhost"].contains(&found.as_str()) => {
            Fact::observed(name, found, source)
        }
        Seen::Refused(why) => Fact::unknown(name, source, why),
        Seen::Found(_) => Fact::unknown(name, source, "nobody has named this machine yet"),
        Seen::Missing => Fact::unknown(name, source, survey.machine.missing(source)),
    }
}

fn boot_id(survey: &Survey<'_>) -> Fact {
    let (name, source) = ("host.boot_id", "proc/sys/kernel/random/boot_id");
    match survey.machine.look_text(source) {
        Seen::Found(id) if !id.is_empty() => Fact::observed(name, id, source),
        Seen::Refused(why) => Fact::unknown(name, source, why),
        Seen::Found(_) | Seen::Missing => Fact::unknown(name, source, survey.machine.missing(source)),
    }
}
