//! A machine, what org state claims of it, and a look at it, built in a line.

use oob_policy::{
    AmtOurs, AmtSeen, Claims, Confidence, Detection, Fact, FlashEvidence, History, Look, Moment, RootKind,
    Rung, Staged, Strap, Value, Verification, WasEffective, verify,
};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const DAY: i64 = 24 * 3600;

/// A machine whose image was staged while its engine ran, seen on the next boot.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) facts: Vec<Fact>,
    pub(super) history: History,
    pub(super) claims: Claims,
    pub(super) flash: Option<FlashEvidence>,
    pub(super) amt: AmtSeen,
    pub(super) amt_on: Option<bool>,
    pub(super) now: i64,
}

impl Case {
    pub(super) fn staged() -> Self {
        let history = History {
            staged: Some(Staged {
                original_sha256: "original".into(),
                result_sha256: "result".into(),
                method: "soft-disable".into(),
                manifest_sha256: None,
                event: "e1-staged".into(),
            }),
            ..History::default()
        };
        let claims = Claims { since: Some(then("boot-1", NOW)), ..Claims::default() };
        let case = Self {
            facts: Vec::new(),
            history,
            claims,
            flash: None,
            amt: AmtSeen::NotAsked,
            amt_on: None,
            now: NOW,
        };
        case.fact("host.boot_id", "boot-2")
            .fact("host.cpu.vendor", "intel")
            .fact("host.bios.version", "1.2")
            .fact("intel.me.pci", "8086:a13a")
    }

    pub(super) fn asked(mut self) -> Self {
        self.history.staged = None;
        self
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.retain(|fact| fact.name != name);
        self.facts.push(Fact::observed(name, value, "test"));
        self
    }

    pub(super) fn put(mut self, fact: Fact) -> Self {
        self.facts.retain(|other| other.name != fact.name);
        self.facts.push(fact);
        self
    }

    /// Registers from the driver: working state, operation mode, init complete, error, phase.
    pub(super) fn shows(self, state: &str, mode: &str, complete: bool, error: &str, phase: &str) -> Self {
        self.fact("intel.me.working_state", state)
            .fact("intel.me.operation_mode", mode)
            .fact("intel.me.init_complete", complete)
            .fact("intel.me.error", error)
            .fact("intel.me.phase", phase)
    }

    pub(super) fn disabled(self) -> Self {
        self.shows("disabled", "alt-disable", false, "disabled", "unknown")
    }

    pub(super) fn mode_3(self) -> Self {
        self.shows("disabled", "temporary-disable", false, "none", "unknown")
    }

    pub(super) fn runs(self) -> Self {
        self.shows("normal", "normal", true, "none", "host-communication/0x00")
    }

    pub(super) fn hidden(self) -> Self {
        self.fact("intel.me.pci", "absent").put(
            Fact::inferred("intel.me.state", "hidden", "sys/bus/pci/devices")
                .because("no HECI function on the bus"),
        )
    }

    pub(super) fn asleep(self) -> Self {
        let why = "mei0/fw_status reads as all ones or zero: asleep (D3) or hidden";
        self.put(Fact::unknown("intel.me.working_state", "sys/class/mei", why)).put(Fact::unknown(
            "intel.me.state",
            "sys/class/mei",
            why,
        ))
    }

    pub(super) fn sources(self, states: &[(&str, &str)]) -> Self {
        let states = states.iter().map(|(source, state)| ((*source).to_owned(), Value::from(*state)));
        self.fact("intel.me.state_by_source", Value::Map(states.collect()))
    }

    pub(super) fn recorded_only(mut self) -> Self {
        for fact in self.facts.iter_mut().filter(|fact| fact.name.starts_with("intel.me.")) {
            fact.confidence = Confidence::Inferred;
            fact.source = "smbios:219".into();
        }
        self
    }

    pub(super) fn same_boot(self) -> Self {
        self.fact("host.boot_id", "boot-1")
    }

    pub(super) fn flash(mut self, sha256: &str, strap: Strap) -> Self {
        self.flash = Some(FlashEvidence { sha256: sha256.into(), strap, me_version: None });
        self
    }

    pub(super) fn was_effective(mut self) -> Self {
        self.claims.effective = Some(WasEffective {
            first: then("boot-2", NOW),
            engine: "soft-disabled".into(),
            persistent: false,
            refuted: false,
        });
        self
    }

    pub(super) fn was(mut self, change: impl FnOnce(&mut WasEffective)) -> Self {
        self = self.was_effective();
        if let Some(was) = &mut self.claims.effective {
            change(was);
        }
        self
    }

    pub(super) fn ours(mut self, realm: &str) -> Self {
        self.history.amt = Some(AmtOurs {
            generation: 1,
            realm: "Digest:ours".into(),
            control_mode: "ccm".into(),
            event: "e1-proof".into(),
            escrow: "amt.1.0000000000000000.age".into(),
            sealed: true,
            recipients: Vec::new(),
            settings: Vec::new(),
            tls_pin: None,
            tls_leaf: None,
            network_pin: None,

            sealed_by: None,
            mebx_escrow: None,
        });
        self.amt = AmtSeen::Realm(realm.into());
        self
    }

    pub(super) fn look(&self) -> Verification {
        let detection = Detection::new(RootKind::Simulated, Some("d1-abc".into()), self.facts.clone());
        verify(&Look {
            history: &self.history,
            claims: &self.claims,
            detection: &detection,
            flash: self.flash.as_ref(),
            amt: &self.amt,
            amt_on: self.amt_on,
            now: self.now,
        })
    }

    pub(super) fn told(&self) -> (Rung, u8, String) {
        let found = self.look();
        (found.verdict, found.exit.code(), found.reason)
    }
}

pub(super) fn then(boot: &str, wall: i64) -> Moment {
    Moment {
        event: "e1-then".into(),
        wall: Some(wall),
        boot_id: Some(boot.into()),
        engine_ran: true,
        bios: Some("1.2".into()),
    }
}
