//! One look at what several subjects need, so that each file is read once.

use crate::identity::{Evidence, Identity, identify};
use crate::machine::{Cpu, Dmi, Interface, Machine, MeiSysfs, PciFunction, Seen};

use super::virt::{self, Guest};

/// What was read from the machine before any fact is made of it.
#[derive(Debug)]
pub struct Survey<'m> {
    pub machine: &'m Machine,
    pub dmi: Dmi<'m>,
    pub cpu: Cpu,
    pub pci: Seen<Vec<PciFunction>>,
    pub mei: MeiSysfs,
    pub interfaces: Seen<Vec<Interface>>,
    pub guest: Guest,
}

impl<'m> Survey<'m> {
    pub fn of(machine: &'m Machine) -> Self {
        let dmi = Dmi::read(machine);
        let cpu = Cpu::read(machine, dmi.table.as_ref().found());
        let pci = machine.pci();
        let mei = machine.mei_sysfs(&cpu, &pci);
        let guest = virt::guest(machine, &dmi, &cpu);
        Self { machine, dmi, cpu, pci, mei, interfaces: machine.interfaces(), guest }
    }

    pub fn identity(&self) -> Identity {
        identify(&Evidence::collect(&self.dmi, &self.interfaces, self.guest.is_guest()))
    }

    /// PCI functions, or an empty list where the bus cannot be listed.
    pub fn functions(&self) -> &[PciFunction] {
        match &self.pci {
            Seen::Found(functions) => functions,
            Seen::Missing | Seen::Refused(_) => &[],
        }
    }

    /// Why the PCI bus could not be listed; none where it was.
    pub fn no_pci(&self) -> Option<String> {
        self.why_not(&self.pci, "sys/bus/pci/devices")
    }

    /// Why the SMBIOS table could not be read; none where it was.
    pub fn no_smbios(&self) -> Option<String> {
        self.why_not(&self.dmi.table, "sys/firmware/dmi/tables/DMI")
    }

    /// Why something was not seen; none where it was.
    pub fn why_not<T>(&self, seen: &Seen<T>, rel: &str) -> Option<String> {
        match seen {
            Seen::Found(_) => None,
            Seen::Missing => Some(self.machine.missing(rel)),
            Seen::Refused(why) => Some(why.clone()),
        }
    }
}
