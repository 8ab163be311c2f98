//! The ways out of a mode (`reference/amt.md` 5.13, 0 facts 8 and 9).

use super::{Amt, control, new_realm, provisioning, status};
use crate::digest::Logins;
use crate::features::Features;

impl Amt {
    /// PTHI 0x10: client control mode only. In admin control mode and before provisioning it is the wrong state.
    pub fn unprovision_locally(&mut self) -> u32 {
        if self.control_mode == control::CLIENT { self.reset() } else { status::WRONG_STATE }
    }

    /// WS-Man `Unprovision`, for whoever has logged in on a provisioned device.
    pub fn unprovision(&mut self) -> u32 {
        if self.provisioning_state == provisioning::PRE {
            return status::WRONG_STATE;
        }
        if self.is_blocked() { status::BLOCKING } else { self.reset() }
    }

    /// `PartialUnprovision`: keeps the administrator's account and the certificates, and with the account the realm
    /// that its hash is made from.
    pub fn unprovision_partially(&mut self) -> u32 {
        if self.provisioning_state != provisioning::POST {
            return status::WRONG_STATE;
        }
        if self.is_blocked() {
            return status::BLOCKING;
        }
        self.leave();
        status::OK
    }

    /// PTHI 0x5E: from in-provisioning back to before it; any other state is the wrong one.
    pub fn stop_configuration(&mut self) -> u32 {
        if self.provisioning_state == provisioning::IN { self.reset() } else { status::WRONG_STATE }
    }

    /// Whether a component blocks this time; it does not for ever.
    fn is_blocked(&mut self) -> bool {
        let blocked = self.habits.blocking > 0;
        self.habits.blocking = self.habits.blocking.saturating_sub(1);
        blocked
    }

    /// All is forgotten but the MEBx password, the clock and, since 12, the suffix set in MEBx.
    pub(super) fn reset(&mut self) -> u32 {
        let Ok(realm) = new_realm() else { return status::INTERNAL };
        self.realm = realm;
        self.ha1 = None;
        self.leave();
        self.store = self.store.emptied(self.host_based.is_here());
        self.logins = Logins::new(self.time_scale);
        self.settling_until = None;
        if self.facts.firmware.major < 12 {
            self.surroundings.pki_suffix.clear();
        }
        status::OK
    }

    /// Out of every mode, with the settings as they were at first.
    fn leave(&mut self) {
        self.chain = crate::chain::Chain::default();
        self.nonce = None;
        self.control_mode = control::NONE;
        self.provisioning_state = provisioning::PRE;
        self.enumerations.clear();
        self.host_based.forget();
        self.features = Features { power: self.features.power, ..Features::begun(&self.facts, &self.habits) };
    }
}
