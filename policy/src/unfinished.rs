//! What a run of ours left behind that ended too early. What is decided, verified and told all ask here, so that they agree.

use crate::{AmtOurs, Detection, History, OpenChange, shown};

impl History {
    /// Our open change, unless a proof tells how it ended. A new password that was never sent, or
    /// was refused, leaves AMT as it was, and is none.
    pub fn unfinished(&self) -> Option<&OpenChange> {
        let open = self.open.as_ref().filter(|open| open.call_sent || !open.rotation)?;
        (!self.proofs().any(|ours| open.is_ended_by(ours))).then_some(open)
    }

    /// The unfinished change that AMT may have taken, so that nobody can tell which password it has. AMT that shows itself
    /// unprovisioned did not take it.
    pub fn in_doubt(&self, detection: &Detection) -> Option<&OpenChange> {
        let clean = standing(detection) == ("pre", "none");
        self.unfinished().filter(|open| open.call_sent && !clean)
    }

    /// Which passwords AMT may have after a change that was left open, as a clause.
    pub fn candidates(&self, open: &OpenChange) -> String {
        let mut files = vec![shown(&open.escrow)];
        files.extend(open.earlier.iter().rev().map(|file| shown(file)));
        if open.rotation {
            let before = self.proof_of(&open.realm);
            files.push(
                before.map_or("the password that it was taken over with".to_owned(), |it| shown(&it.escrow)),
            );
        }
        match files.as_slice() {
            [one] => format!("the candidate is {one}"),
            several => format!("the candidates are {}, the newest first", several.join(", ")),
        }
    }

    /// From AMT 19 on MEBx gets a password before admin control mode is committed, so it may have that one by now. A clause
    /// that follows another, or nothing.
    pub fn mebx_candidate(&self) -> String {
        let file = self.mebx_open.as_ref();
        file.map_or_else(String::new, |file| format!(", and MEBx may have the password of {}", shown(file)))
    }

    /// AMT of ours that our own call took into admin control mode, by a run that died before it could prove that.
    pub fn went_up(&self, detection: &Detection) -> Option<&AmtOurs> {
        let ours = self.amt.as_ref().filter(|ours| ours.control_mode == "ccm")?;
        let (_, mode) = standing(detection);
        (mode == "acm" && self.upgrading.as_ref() == Some(&ours.realm)).then_some(ours)
    }

    /// The realm of AMT that is half way out of its mode, where a run of ours was unprovisioning it when it ended.
    pub fn half_left(&self, detection: &Detection) -> Option<&String> {
        self.leaving.as_ref().filter(|_| standing(detection) == ("in", "none"))
    }

    /// The proof of AMT that is not provisioned any more, or half way there, where a run of ours was unprovisioning it when
    /// it ended.
    pub fn left(&self, detection: &Detection) -> Option<&AmtOurs> {
        let realm = self.leaving.as_ref()?;
        let gone = [("pre", "none"), ("in", "none")].contains(&standing(detection));
        self.proof_of(realm).filter(|_| gone)
    }
}

/// Provisioning state and control mode, as AMT says.
fn standing(detection: &Detection) -> (&str, &str) {
    (detection.text("intel.amt.provisioning"), detection.text("intel.amt.control_mode"))
}
