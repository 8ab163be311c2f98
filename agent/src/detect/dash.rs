//! Whether a network adapter can do DASH (reference/detect.md 3). Only another machine can prove that it does.

use oob_policy::Fact;

use super::Survey;
use crate::machine::{Machine, PciFunction};

const NIC: &str = "dash.nic";
const BUS: &str = "sys/bus/pci/devices";
const REALTEK: u16 = 0x10EC;
/// What the EP and FP parts show beside the adapter: the management controller itself, and its USB host, KCS
/// interface and two UARTs.
const REALTEK_SIDE: [u16; 5] = [0x816A, 0x816B, 0x816C, 0x816D, 0x816E];
const BROADCOM: u16 = 0x14E4;
const BROADCOM_DASH: [u16; 4] = [0x1680, 0x1681, 0x1687, 0x1688];

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    vec![nic(survey)]
}

fn nic(survey: &Survey<'_>) -> Fact {
    if let Some(why) = survey.no_pci() {
        return match bios_switch(survey.machine) {
            Some(path) => Fact::hint(NIC, "likely", &path).because("BIOS setup has a DASH switch"),
            None => Fact::unknown(NIC, BUS, why),
        };
    }
    let functions = survey.functions();
    if let Some(side) = functions.iter().find(|function| is_side(function)) {
        let with_adapter = functions
            .iter()
            .any(|other| other.slot() == side.slot() && other.vendor == REALTEK && other.is_ethernet());
        let fact = if with_adapter {
            Fact::observed(NIC, "present", &side.source())
        } else {
            Fact::inferred(NIC, "likely", &side.source())
        };
        return fact.because(format!("Realtek adapter with a management function ({})", side.id()));
    }
    let weak = functions.iter().find(|function| {
        function.vendor == BROADCOM && BROADCOM_DASH.contains(&function.device)
            || is_epp(survey.machine, function)
    });
    if let Some(function) = weak {
        let text = format!("adapter of a generation that can do DASH ({})", function.id());
        return Fact::hint(NIC, "likely", &function.source()).because(text);
    }
    if let Some(path) = bios_switch(survey.machine) {
        return Fact::hint(NIC, "likely", &path).because("BIOS setup has a DASH switch");
    }
    let doubtful = functions.iter().find(|function| function.is_ethernet() && function.vendor == REALTEK);
    match doubtful {
        Some(function) => {
            let text = format!("adapters with id {} are built with and without DASH", function.id());
            Fact::unknown(NIC, &function.source(), text)
        }
        None => Fact::inferred(NIC, "absent", BUS).because("no adapter of a maker of DASH parts"),
    }
}

/// A management function of a Realtek part; its KCS interface is no BMC.
pub(super) fn is_side(function: &PciFunction) -> bool {
    function.vendor == REALTEK && REALTEK_SIDE.contains(&function.device)
}

/// RTL8111EPP is revision 0e of an id that consumer parts have too.
fn is_epp(machine: &Machine, function: &PciFunction) -> bool {
    function.vendor == REALTEK && function.device == 0x8168 && machine.pci_revision(function) == Some(0x0E)
}

fn bios_switch(machine: &Machine) -> Option<String> {
    let class = "sys/class/firmware-attributes";
    machine.look_list(class).found()?.into_iter().find_map(|driver| {
        let at = format!("{class}/{driver}/attributes");
        let name =
            machine.look_list(&at).found()?.into_iter().find(|name| name.to_uppercase().contains("DASH"))?;
        Some(format!("{at}/{name}"))
    })
}
