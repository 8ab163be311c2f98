//! What hardware this machine has to bring it back with: one file per subject, each giving facts, never opinions.
//!
//! Every stable name is always printed: what cannot be read is `unknown` with its reason, and `unknown` is never
//! `absent` (DESIGN section 6, reference/detect.md).

mod amd;
pub mod amt;
pub mod amt_posture;
mod bmc;
mod dash;
mod hfsts;
mod host;
mod lms;
mod me;
mod security;
mod survey;
mod virt;
mod watchdog;
mod wol;

use oob_policy::{Detection, Fact};

pub use amt::{Failure, PthiAnswer, Versions, amt_verdict};
pub use survey::Survey;

use crate::identity::Identity;
use crate::machine::{Machine, PTHI};

/// Everything that can be found out passively: nothing is opened that reacts to being opened.
pub async fn detect(machine: &Machine) -> Detection {
    detect_with(machine, None).await
}

/// Like [`detect`], with what AMT's host interface answered to the caller, or why it did not.
pub async fn detect_with(machine: &Machine, pthi: Option<PthiAnswer>) -> Detection {
    let survey = Survey::of(machine);
    let identity = survey.identity();
    let mut amt = amt_verdict(&survey.mei, &survey.cpu.vendor, pthi.as_ref());
    amt::without_amt(&survey, &mut amt);
    let facts = [
        identity_facts(&identity),
        host::facts(&survey),
        me::facts(&survey),
        amt,
        lms::facts(&survey),
        amt::hints(&survey),
        amd::facts(&survey),
        dash::facts(&survey),
        bmc::facts(&survey),
        watchdog::facts(&survey),
        wol::facts(&survey),
        virt::facts(&survey),
        security::facts(&survey),
    ];
    Detection::new(machine.kind(), identity.device_id, facts.concat())
}

/// What this machine is known by, its aliases included.
pub fn identity(machine: &Machine) -> Identity {
    Survey::of(machine).identity()
}

/// Whether it is worth connecting to AMT's host interface: the firmware announces it, or its clients cannot be
/// listed although a device is there.
pub fn may_have_pthi(machine: &Machine) -> bool {
    let survey = Survey::of(machine);
    survey.mei.announces(PTHI).unwrap_or(machine.exists("dev/mei0") || !survey.mei.devices.is_empty())
}

fn identity_facts(identity: &Identity) -> Vec<Fact> {
    let fact = match identity.source {
        "smbios" => Fact::inferred("identity.source", "smbios", "smbios:1"),
        "nic" => Fact::inferred("identity.source", "nic", "sys/class/net"),
        other => Fact::inferred("identity.source", other, "smbios:1, sys/class/net"),
    };
    vec![match &identity.reason {
        Some(reason) => fact.because(reason),
        None => fact,
    }]
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
