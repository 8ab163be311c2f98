//! AMD: whether the processor is of the PRO line, and what the secure processor shows (reference/detect.md 2).
//!
//! There is no switch to turn the secure processor off, and PRO does not mean that the machine has DASH.

use std::collections::BTreeMap;

use oob_policy::{Fact, Value};

use super::{Survey, virt};
use crate::machine::{CpuVendor, PciFunction, Seen};

const PRO: &str = "amd.pro";
const STATE: &str = "amd.psp.state";
const PCI: &str = "amd.psp.pci";
const ATTRIBUTES: &str = "amd.psp.attributes";

/// PCI functions of the secure processor that the kernel's `ccp` serves.
const PSP: [u16; 11] =
    [0x1537, 0x1456, 0x1468, 0x1486, 0x15DF, 0x14CA, 0x15C7, 0x1649, 0x1134, 0x17E0, 0x156E];
/// Shown only where firmware exports them: a missing one does not mean that the feature is off.
const NAMES: [&str; 10] = [
    "fused_part",
    "debug_lock_on",
    "tsme_status",
    "anti_rollback_status",
    "rpmc_production_enabled",
    "rpmc_spirom_available",
    "hsp_tpm_available",
    "rom_armor_enforced",
    "bootloader_version",
    "tee_version",
];

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let mut facts = vec![pro(survey)];
    let psp = survey
        .functions()
        .iter()
        .find(|function| function.vendor == 0x1022 && PSP.contains(&function.device));
    match psp {
        Some(function) => facts.extend(present(survey, function)),
        None => facts.extend(missing(survey)),
    }
    facts
}

fn pro(survey: &Survey<'_>) -> Fact {
    let source = survey.cpu.source;
    match (&survey.cpu.vendor, &survey.cpu.model) {
        (CpuVendor::Amd, Some(model)) => {
            let pro = is_pro(model);
            let fact = Fact::observed(PRO, pro, source);
            if pro { fact.because("by the processor's name; PRO does not mean DASH") } else { fact }
        }
        (CpuVendor::Amd, None) => Fact::unknown(PRO, source, "the processor has no model name"),
        (CpuVendor::Unknown(why), _) => Fact::unknown(PRO, source, why),
        _ => Fact::observed(PRO, false, source),
    }
}

/// `PRO` as a word of its own: `Ryzen 5 PRO 2400GE`, `A10 PRO-7800B`, `PRO A12-9800`.
fn is_pro(model: &str) -> bool {
    model.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "PRO")
}

fn present(survey: &Survey<'_>, function: &PciFunction) -> [Fact; 3] {
    let source = function.source();
    let mut seen = BTreeMap::new();
    for name in NAMES {
        if let Seen::Found(text) = survey.machine.pci_attribute(function, name) {
            seen.insert(name.to_owned(), Value::from(text));
        }
    }
    let attributes = if seen.is_empty() {
        Fact::unknown(ATTRIBUTES, &source, "firmware or this kernel exports none")
    } else {
        Fact::observed(ATTRIBUTES, Value::Map(seen), &source)
    };
    let state = Fact::observed(STATE, "present", &source).because("it cannot be turned off");
    [state, Fact::observed(PCI, function.id(), &source), attributes]
}

fn missing(survey: &Survey<'_>) -> [Fact; 3] {
    let source = "sys/bus/pci/devices";
    let state = match (&survey.cpu.vendor, survey.no_pci()) {
        (CpuVendor::Intel | CpuVendor::Other(_), _) => {
            Fact::inferred(STATE, "absent", survey.cpu.source).because("the processor is not AMD's")
        }
        (CpuVendor::Unknown(why), _) => Fact::unknown(STATE, survey.cpu.source, why),
        (CpuVendor::Amd, Some(why)) => Fact::unknown(STATE, source, why),
        (CpuVendor::Amd, None) => {
            let why = virt::inside(survey).unwrap_or("no function with a known id; a newer part, or hidden");
            Fact::unknown(STATE, source, why)
        }
    };
    let reason = state.reason.clone().unwrap_or_default();
    let pci = match survey.no_pci() {
        None => Fact::observed(PCI, "absent", source),
        Some(why) => Fact::unknown(PCI, source, why),
    };
    [state, pci, Fact::unknown(ATTRIBUTES, source, reason)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pro_is_a_word_of_the_name() {
        let cases = [
            ("AMD Ryzen 5 PRO 2400GE w/ Radeon Vega Graphics", true),
            ("AMD Ryzen Threadripper PRO 3975WX 32-Cores", true),
            ("AMD PRO A12-9800 R7", true),
            ("AMD A10 PRO-7800B R7", true),
            ("AMD Ryzen 5 3600 6-Core Processor", false),
            ("AMD PROTOTYPE", false),
        ];
        for (model, expected) in cases {
            assert_eq!(is_pro(model), expected, "{model}");
        }
    }
}
