//! What only the running host can say about itself. Asked on a live root alone.

use sysinfo::System;

use super::{Machine, clip};

/// Facts about the operating system that runs the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: Option<String>,
    pub os: Option<String>,
    pub kernel: Option<String>,
    /// Seconds since 1970.
    pub boot_time: Option<u64>,
}

impl Machine {
    /// None on a root that is not live: its files do not tell, and this host is another machine.
    pub fn host(&self) -> Option<Host> {
        self.is_live().then(|| Host {
            name: System::host_name().ok().map(|text| clip(&text)),
            os: System::long_os_version().ok().map(|text| clip(&text)),
            kernel: System::kernel_version().ok().map(|text| clip(&text)),
            boot_time: System::boot_time().ok().filter(|time| *time > 0),
        })
    }
}
