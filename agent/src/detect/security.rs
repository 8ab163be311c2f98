//! The TPM and Secure Boot (reference/detect.md 9).

use oob_policy::Fact;

use super::Survey;
use crate::machine::Seen;

const TPM: &str = "tpm.version";
const TPM_CLASS: &str = "sys/class/tpm";
const BOOT: &str = "secure_boot";
const EFI: &str = "sys/firmware/efi";
const VARIABLES: &str = "sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    vec![tpm(survey), secure_boot(survey)]
}

fn tpm(survey: &Survey<'_>) -> Fact {
    let machine = survey.machine;
    let source = format!("{TPM_CLASS}/tpm0/tpm_version_major");
    match machine.look_text(&source) {
        Seen::Found(text) if text == "2" => return Fact::observed(TPM, "2.0", &source),
        Seen::Found(text) if text == "1" => return Fact::observed(TPM, "1.2", &source),
        _ => {}
    }
    if machine.exists("sys/firmware/acpi/tables/TPM2") {
        return Fact::inferred(TPM, "2.0", "sys/firmware/acpi/tables/TPM2").because("no driver has taken it");
    }
    // Type 43: vendor of 4 bytes, then major and minor of the specification (DSP0134 7.44).
    let declared = survey.dmi.of(43).find_map(|tpm| Some((tpm.u8(8)?, tpm.u8(9)?)));
    match (declared, machine.look_list(TPM_CLASS), survey.no_smbios()) {
        (Some((major @ 1..=2, minor)), ..) => {
            Fact::inferred(TPM, format!("{major}.{minor}"), "smbios:43").because("no driver has taken it")
        }
        // Before Linux 5.6 the class shows no version.
        (_, Seen::Found(names), _) if !names.is_empty() => {
            Fact::unknown(TPM, TPM_CLASS, "a TPM is there, and this kernel does not tell its version")
        }
        (_, Seen::Refused(why), _) => Fact::unknown(TPM, TPM_CLASS, why),
        (_, _, _) if !machine.is_live() => Fact::unknown(TPM, TPM_CLASS, machine.missing(TPM_CLASS)),
        (_, _, None) => {
            Fact::inferred(TPM, "absent", "smbios:43").because("no driver, no ACPI table and no SMBIOS entry")
        }
        (_, _, Some(why)) => Fact::unknown(TPM, TPM_CLASS, format!("no driver has one, and {why}")),
    }
}

fn secure_boot(survey: &Survey<'_>) -> Fact {
    let machine = survey.machine;
    let source = format!("{VARIABLES}/SecureBoot-{GLOBAL}");
    // Four bytes of attributes, then the value.
    match (machine.look(&source), machine.look(&format!("{VARIABLES}/SetupMode-{GLOBAL}"))) {
        (Seen::Found(bytes), setup) => {
            match (bytes.get(4), setup.found().and_then(|bytes| bytes.get(4).copied())) {
                (Some(1), _) => Fact::observed(BOOT, "enabled", &source),
                (Some(0), Some(1)) => {
                    Fact::observed(BOOT, "disabled", &source).because("firmware is in setup mode")
                }
                (Some(0), _) => Fact::observed(BOOT, "disabled", &source),
                _ => Fact::unknown(BOOT, &source, "the variable has no value of 0 or 1"),
            }
        }
        (Seen::Refused(why), _) => Fact::unknown(BOOT, &source, why),
        (Seen::Missing, _) if machine.exists(EFI) => Fact::unknown(BOOT, &source, machine.missing(&source)),
        (Seen::Missing, _) if machine.is_live() => {
            Fact::inferred(BOOT, "disabled", EFI).because("started without UEFI, so nothing is checked")
        }
        (Seen::Missing, _) => Fact::unknown(BOOT, EFI, machine.missing(EFI)),
    }
}
