//! From what was seen to the verdict: every way in which a machine can fall short of the claim, by its reason.

use super::engine::{Engine, Picture};
use super::witness::{self, Boot, Flash};
use super::{Look, Rung, WasEffective};
use crate::{Confidence, Exit};

/// After this long, on another boot, the state counts as persistent.
const PERSISTENT_AFTER: i64 = 30 * 24 * 3600;

pub(super) struct Case<'a> {
    pub(super) look: &'a Look<'a>,
    pub(super) engine: &'a Engine,
    pub(super) flash: &'a Flash,
    pub(super) boot: &'a Boot,
    pub(super) contradictions: &'a [String],
}

pub(super) struct Judgment {
    pub(super) verdict: Rung,
    pub(super) exit: Exit,
    pub(super) reason: &'static str,
    pub(super) text: String,
    pub(super) next: Vec<String>,
}

const VERIFY_AGAIN: &str = "then run `verify` again";

impl Case<'_> {
    pub(super) fn judge(&self) -> Judgment {
        if self.engine.picture == Picture::None {
            return self.not_neutralizable();
        }
        if self.look.history.staged.is_none() && self.look.claims.since.is_none() {
            return self.not_claimed();
        }
        if !self.contradictions.is_empty() {
            let text = format!("Sources contradict each other: {}.", self.contradictions.join("; "));
            let next = "read the flash anew, power-cycle the machine, and compare the sources named here";
            return self.drift("contradiction", text, next);
        }
        if self.was().is_some() && matches!(self.flash, Flash::NotWritten { .. }) {
            let text = "Org state claims that the engine is neutralized, and the flash holds it no more.";
            return self.drift("flash-reverted", text.to_owned(), FLASH_AGAIN);
        }
        if self.engine.is_disabled() && matches!(self.flash, Flash::None) && self.denied_in_this_boot() {
            let text = "An earlier look of this boot found the soft-disable strap clear in the flash, and no dump that was \
                        given since says otherwise.";
            return self.drift("contradiction", text.to_owned(), FLASH_AGAIN);
        }
        match self.engine.picture {
            Picture::SoftDisabled => self.soft_disabled(),
            Picture::TemporarilyDisabled => self.temporarily_disabled(),
            Picture::Running => self.running(),
            Picture::Override => self.other("override", "take the jumper or the override away, power-cycle"),
            Picture::ShuttingDown => {
                self.other("shutting-down", "save what is open: the machine may switch itself off")
            }
            Picture::ImageFailure => self.other("code-removed-only", FLASH_AGAIN),
            Picture::Unclear | Picture::NotShown | Picture::None => self.not_shown(),
        }
    }

    fn was(&self) -> Option<&WasEffective> {
        self.look.claims.effective.as_ref()
    }

    /// What runs now was started before the flash was written again, so the registers still tell the old story.
    fn denied_in_this_boot(&self) -> bool {
        let now = self.look.detection.known("host.boot_id");
        let recorded = self.look.claims.recorded.as_ref();
        now.is_some() && recorded.is_some_and(|it| it.flash_denied && it.boot_id.as_deref() == now)
    }

    /// The rung that the claim stands on without evidence from the machine.
    fn claimed(&self) -> Rung {
        if self.look.history.staged.is_some() { Rung::Staged } else { Rung::Planned }
    }

    fn soft_disabled(&self) -> Judgment {
        if let Flash::Unusable(why) = self.flash {
            let text = format!(
                "The engine shows itself soft-disabled, and the flash that was given does not agree: {why}."
            );
            return self.wait("flash-unusable", &text, "read the whole flash of this machine");
        }
        if self.was().is_some() {
            return self.effective();
        }
        match self.boot {
            Boot::Later(_) => self.effective(),
            Boot::Same(why) => {
                let text = format!("The engine shows itself soft-disabled, but not on a later boot: {why}.");
                self.wait("same-boot", &text, "power-cycle the machine")
            }
            Boot::Unknown => {
                let text = "The engine shows itself soft-disabled, and nothing tells whether the machine was booted since.";
                self.wait("boot-unknown", text, "power-cycle the machine")
            }
        }
    }

    /// Operation mode 3 is what a set strap shows on some machines, and what the BIOS switch shows on all: only the
    /// strap itself tells them apart.
    fn temporarily_disabled(&self) -> Judgment {
        let as_before =
            self.was().is_some_and(|was| !was.refuted && was.engine == self.engine.picture.word());
        match self.flash {
            Flash::Written(_) => return self.soft_disabled(),
            Flash::None if as_before => return self.effective(),
            Flash::None | Flash::NotWritten { .. } | Flash::Unusable(_) => {}
        }
        let next = "read the flash and give it as --firmware-image: the strap tells this from a switch in BIOS setup";
        self.other("temporarily-disabled", next)
    }

    fn running(&self) -> Judgment {
        let later = matches!(self.boot, Boot::Later(_));
        match self.flash {
            _ if self.was().is_some() => {
                let text = "Org state claims that the engine is neutralized, and it runs.".to_owned();
                self.drift("reverted", text, FLASH_AGAIN)
            }
            Flash::Written(what) if later => {
                let text = format!(
                    "The flash {what}, and the engine runs on a later boot than the staging: the strap has no effect, or \
                     it was written during this boot."
                );
                let next = "power-cycle the machine once more, mains off; if the engine still runs, this strap does \
                            not stop it: tell the policy's owner";
                self.drift("ineffective", text, next)
            }
            Flash::Written(what) => {
                let text = format!("The flash {what}; it takes effect at the next power cycle.");
                self.wait("written", &text, "power-cycle the machine, mains off")
            }
            Flash::NotWritten { original } => {
                let holds = if *original { "the original image" } else { "no soft-disable strap" };
                let text = format!("The engine runs, and the flash holds {holds}: it was not flashed.");
                self.wait("not-flashed", &text, FLASH)
            }
            Flash::Unusable(why) => {
                let text = format!("The engine runs; of the flash that was given: {why}.");
                self.wait("not-in-effect", &text, FLASH)
            }
            Flash::None => self.wait("not-in-effect", "The engine runs.", FLASH),
        }
    }

    /// Something other than a set strap is seen, and it is not what an effective claim looked like.
    fn other(&self, reason: &'static str, next: &str) -> Judgment {
        let seen = &self.engine.text;
        if self.was().is_some() {
            let text =
                format!("Org state claims that the engine is neutralized, and the machine shows: {seen}.");
            return self.drift(reason, text, next);
        }
        self.wait(reason, &format!("Not shown to be in effect: {seen}."), next)
    }

    fn not_shown(&self) -> Judgment {
        let why = if self.engine.picture == Picture::Unclear { "says nothing" } else { "cannot be read" };
        let text = format!("The engine's state {why}: {}.", self.engine.text);
        let next = if self.engine.picture == Picture::Unclear {
            "power-cycle the machine, mains off"
        } else {
            "run as root with the mei_me driver loaded and the engine's interface not hidden in BIOS setup"
        };
        let waiting = self.wait("not-shown", &text, next);
        // Nothing refutes the claim, and nothing bears it out.
        if self.was().is_some() { Judgment { exit: Exit::Impossible, ..waiting } } else { waiting }
    }

    fn effective(&self) -> Judgment {
        let by = match self.engine.confidence {
            Confidence::Observed => "read from the running machine",
            Confidence::Inferred | Confidence::Hint => "as firmware recorded it at this start",
        };
        let flash = match self.flash {
            Flash::Written(what) => format!("; the flash {what}"),
            _ => String::new(),
        };
        let persistent = self.persistence();
        let since = persistent.as_ref().map(|why| format!(" It has lasted: {why}.")).unwrap_or_default();
        Judgment {
            verdict: if persistent.is_some() { Rung::EffectivePersistent } else { Rung::Effective },
            exit: Exit::Satisfied,
            reason: "satisfied",
            text: format!("The engine is neutralized: {}, {by}{flash}.{since}", self.engine.text),
            next: vec!["verify again after each firmware update: an update may undo it".to_owned()],
        }
    }

    fn persistence(&self) -> Option<String> {
        let was = self.was().filter(|was| !was.refuted)?;
        let now_bios = self.look.detection.known("host.bios.version");
        let later = matches!(witness::boot_since(&was.first, self.look.detection), Boot::Later(_));
        if let (Some(then), Some(now)) = (was.first.bios.as_deref(), now_bios)
            && then != now
            && later
        {
            return Some(format!(
                "firmware changed from {} to {} since",
                crate::shown(then),
                crate::shown(now)
            ));
        }
        let age = self.look.now.saturating_sub(was.first.wall?);
        if age >= PERSISTENT_AFTER && later {
            return Some("more than 30 days by this machine's clock, and a boot since".to_owned());
        }
        was.persistent.then(|| "as an earlier look found".to_owned())
    }

    /// Not in effect yet: what is left to be done.
    fn wait(&self, reason: &'static str, text: &str, next: &str) -> Judgment {
        let written = matches!(self.flash, Flash::Written(_));
        let staged = self.look.history.staged.is_some() || self.look.claims.pending || written;
        let disabled = matches!(self.engine.picture, Picture::SoftDisabled | Picture::TemporarilyDisabled);
        if !staged && !disabled {
            return Judgment {
                verdict: self.claimed(),
                exit: Exit::Impossible,
                reason: "nothing-staged",
                text: format!("Policy asked to neutralize, and no image was staged. {text}"),
                next: vec!["run `apply` with --firmware-image, so that an image is staged".to_owned()],
            };
        }
        let claim = if staged { "Staged, not shown to be effective. " } else { "" };
        Judgment {
            verdict: self.claimed(),
            exit: Exit::Pending,
            reason,
            text: format!("{claim}{text}"),
            next: vec![next.to_owned(), VERIFY_AGAIN.to_owned()],
        }
    }

    fn drift(&self, reason: &'static str, text: String, next: &str) -> Judgment {
        let next = vec![next.to_owned(), VERIFY_AGAIN.to_owned()];
        Judgment { verdict: self.claimed(), exit: Exit::Drift, reason, text, next }
    }

    fn not_neutralizable(&self) -> Judgment {
        let amd = self.look.detection.text("host.cpu.vendor") == "amd";
        let (reason, text) = if amd {
            ("amd", "AMD's secure processor cannot be neutralized, so there is nothing to verify.".to_owned())
        } else {
            ("no-engine", format!("There is no management engine to verify: {}.", self.engine.text))
        };
        let next = if amd {
            vec!["disable DASH in BIOS setup, and probe ports 623 and 664 from another machine".to_owned()]
        } else {
            Vec::new()
        };
        Judgment { verdict: Rung::NotNeutralizable, exit: Exit::Impossible, reason, text, next }
    }

    /// With a claim about AMT that one is verified; without any there is nothing to compare with.
    fn not_claimed(&self) -> Judgment {
        let claimed = self.look.history.amt.is_some();
        Judgment {
            verdict: Rung::NotClaimed,
            exit: if claimed { Exit::Satisfied } else { Exit::Impossible },
            reason: if claimed { "satisfied" } else { "nothing-claimed" },
            text: "Org state does not claim that this machine's management engine is neutralized.".to_owned(),
            next: if claimed {
                Vec::new()
            } else {
                vec!["run `apply` first, with the same --out".to_owned()]
            },
        }
    }
}

const FLASH: &str = "flash the staged image with its flash.sh, and power-cycle the machine, mains off";
const FLASH_AGAIN: &str = "find out what undid it (a firmware update, self-healing firmware), flash the staged image \
                           again, and power-cycle the machine";
