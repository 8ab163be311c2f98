//! Whether AMT is on at all: switched by its maker or in BIOS setup, over MHC, and for good by PTHI 0x88
//! (`reference/amt.md` 2.2, 2.3; `reference/detect.md` 1.5).

use std::time::{Duration, Instant};

use super::{Amt, provisioning, status};
use crate::device::scaled;

/// What came of the last switch.
#[derive(Default)]
pub(super) struct Operation {
    /// Whether AMT is on after the next start, once the host has said.
    next_start: Option<bool>,
    /// PTHI commands that are still told to come again.
    starting: u32,
    /// When DHCP has answered.
    leased_at: Option<Instant>,
    cleared: bool,
}

/// The references name no numbers: rpc-go asks four times, 4 s apart, where the engine is busy (`reference/amt.md` 1.1).
const COMMANDS_TO_START: u32 = 3;
const TO_A_LEASE: Duration = Duration::from_secs(10);

impl Amt {
    /// PTHI 0x88: disables AMT until MEBx enables it again; refused once provisioning has begun, and unknown before 12.
    pub fn disable_and_clear(&mut self) -> u32 {
        if self.facts.firmware.major < 12 {
            return status::COMMAND;
        }
        if self.provisioning_state != provisioning::PRE {
            return status::WRONG_STATE;
        }
        self.disabled = true;
        self.operation.cleared = true;
        status::OK
    }

    /// Whether the host may switch AMT on and off: not once it is provisioned, not once 0x88 disabled it, and
    /// not where BIOS setup keeps the switch.
    #[must_use]
    pub fn is_switchable(&self) -> bool {
        self.provisioning_state == provisioning::PRE && !self.operation.cleared && !self.habits.switch_locked
    }

    /// MHC `SetAmtOperationalState`. Switched on, AMT starts, or does so with the machine only.
    pub fn switch(&mut self, on: bool) -> u32 {
        if !self.is_switchable() {
            return status::WRONG_STATE;
        }
        self.operation.next_start = Some(on);
        if on && self.disabled && !self.habits.starts_anew() {
            self.operation.starting = COMMANDS_TO_START;
            let lease = if self.habits.slow_lease { TO_A_LEASE * 4 } else { TO_A_LEASE };
            self.operation.leased_at = Some(Instant::now() + scaled(lease, self.time_scale));
        }
        self.disabled = !on || self.disabled && self.habits.starts_anew();
        status::OK
    }

    /// What the host has said of the next start, if anything.
    #[must_use]
    pub fn next_start(&self) -> Option<bool> {
        self.operation.next_start
    }

    /// Whether AMT is starting: it is there and not ready.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        !self.disabled && self.operation.starting > 0
    }

    /// Whether a PTHI command is to come again; each one brings the start nearer its end.
    pub fn wants_it_again(&mut self) -> bool {
        let starting = self.is_starting();
        self.operation.starting = self.operation.starting.saturating_sub(u32::from(starting));
        starting
    }

    /// DHCP option 15; a link that is down brings none, and one that has just come up none yet.
    #[must_use]
    pub fn dhcp_suffix(&self) -> &str {
        let leased = self.operation.leased_at.is_none_or(|at| Instant::now() >= at);
        if self.link_up() && leased { &self.surroundings.dhcp_suffix } else { "" }
    }
}
