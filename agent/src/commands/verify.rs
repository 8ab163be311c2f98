//! `oob-agent verify`: look at the machine again, and compare with what org state claims of it.
//!
//! It changes nothing on the machine. Org state gets an event only where the verdict is not there yet.

use oob_policy::{
    AmtSeen, Claims, Detection, Exit, FlashEvidence, History, Look, SoftDisable, Strap, Verification,
    verify as compare,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::detect::{look, open_machine};
use super::{Stop, print, print_json, verify_remote};
use crate::carry_out::{amt_enabled, see_amt};
use crate::cli::Verify;
use crate::error::chain_of;
use crate::firmware::Image;
use crate::report;
use crate::state::{
    CHANNEL, Chain, DirStore, EventError, Journal, Kind, Medium, OrgState, Run, Signer, StateError, claims,
    fold_answering, new_run_id,
};

pub(super) async fn verify(arguments: &Verify) -> Result<Exit, Stop> {
    if let Some(remote) = &arguments.remote {
        return verify_remote::verify(arguments, remote).await;
    }
    let machine = open_machine(&arguments.root)?;
    let signer = match &arguments.signing_key {
        Some(file) => Signer::from_file(file),
        None => Signer::ephemeral(),
    }
    .map_err(|error| Stop::new(Exit::Usage, "signing-key", chain_of(&error)))?;
    let image = arguments.firmware_image.as_deref().map(Image::read).transpose();
    let image = image.map_err(|error| Stop::new(Exit::DeviceFailed, "image-unreadable", error))?;
    let detection = look(&machine).await;
    let Some(device_id) = &detection.device_id else {
        let text = "this machine has nothing that identifies it, so org state cannot be searched for it: run as root, or \
                    give its SMBIOS a serial number";
        return Err(Stop::new(Exit::Impossible, "no-identity", text));
    };
    let store = DirStore::at(&arguments.out);
    store.check_root(device_id, machine.kind()).map_err(|error| unreadable(&error))?;
    let mut claimed = Claimed::read(&store, device_id, None).map_err(|error| unreadable(&error))?;
    let flash = image.as_ref().map(flash_evidence);
    // Asked without a login, and only where there is a claim to compare the answer with.
    let amt = match &claimed.history.amt {
        Some(_) => see_amt(&machine, &claimed.history, &detection).await,
        None => AmtSeen::NotAsked,
    };
    if amt.realm().is_some() {
        claimed = Claimed::read(&store, device_id, amt.realm()).map_err(|error| unreadable(&error))?;
    }
    let amt_on = match &claimed.claims.locked_down {
        Some(_) => amt_enabled(&machine).await,
        None => None,
    };
    let seen = Seen { detection: &detection, device_id, flash: flash.as_ref(), amt: &amt, amt_on };
    let mut result = seen.compare_with(&claimed);
    let held = match (&result.lockdown, &claimed.claims.locked_down) {
        (Some(_), Some(lockdown)) => lockdown.recorded.as_ref(),
        _ => claimed.claims.recorded.as_ref(),
    };
    let mut recorded = held.map(|it| it.event.clone());
    let mut changed = false;
    if result.new {
        match record(&store, &seen, signer) {
            Ok((anew, event)) => {
                changed = event.is_some();
                recorded = event.or(recorded);
                result = anew;
            }
            Err(error) => undelivered(&mut result, &error),
        }
    }
    // Of a look that is not worth an event, none is named as holding it.
    let event = recorded
        .filter(|_| matches!(result.exit, Exit::Satisfied | Exit::Drift) || result.verdict.is_effective());
    if arguments.json {
        print_json(&document(arguments, &detection, &claimed, &result, changed, event.as_deref()))
    } else {
        print(&report::verification_text(&detection, &result, result.exit, changed, event.as_deref()))
    }?;
    Ok(result.exit)
}

/// What this run saw; the store may be read twice, the machine is not.
struct Seen<'a> {
    detection: &'a Detection,
    device_id: &'a str,
    flash: Option<&'a FlashEvidence>,
    amt: &'a AmtSeen,
    amt_on: Option<bool>,
}

impl Seen<'_> {
    fn compare_with(&self, claimed: &Claimed) -> Verification {
        compare(&Look {
            history: &claimed.history,
            claims: &claimed.claims,
            detection: self.detection,
            flash: self.flash,
            amt: self.amt,
            amt_on: self.amt_on,
            now: OffsetDateTime::now_utc().unix_timestamp(),
        })
    }
}

struct Claimed {
    history: History,
    claims: Claims,
}

impl Claimed {
    /// Reading takes no lock and creates nothing. `realm`: the one that AMT answers with, where it was asked.
    fn read(store: &DirStore, device_id: &str, realm: Option<&str>) -> Result<Self, StateError> {
        let journal = Journal::read(store, device_id)?;
        let stored = store.stored(device_id)?;
        let history = fold_answering(&stored, &journal, realm);
        Ok(Self { claims: claims(&stored, &history), history })
    }
}

fn flash_evidence(image: &Image) -> FlashEvidence {
    FlashEvidence {
        sha256: image.facts.sha256.clone(),
        strap: match &image.facts.soft_disable {
            SoftDisable::AlreadySet => Strap::Set,
            SoftDisable::Possible => Strap::Clear,
            SoftDisable::Refused(why) => Strap::Unknown(why.clone()),
        },
        me_version: image.facts.me_version.clone(),
    }
}

/// Adds the verdict to the chain of events. Another run may have been at work since the store was read, so it is read
/// again under the lock, and compared again.
fn record(
    store: &DirStore,
    seen: &Seen<'_>,
    signer: Signer,
) -> Result<(Verification, Option<String>), StateError> {
    let _lock = store.lock(seen.device_id)?;
    let claimed = Claimed::read(store, seen.device_id, seen.amt.realm())?;
    let result = seen.compare_with(&claimed);
    if !result.new {
        return Ok((result, None));
    }
    let run = Run {
        device_id: seen.device_id.to_owned(),
        run_id: new_run_id()?,
        root: seen.detection.root,
        policy: None,
        medium: Medium::default(),
        clock_source: "rtc".to_owned(),
    };
    let mut chain = Chain::resume(run, signer, &claimed.history);
    let kind = if result.verdict.is_effective() { Kind::Neutralized } else { Kind::Verified };
    let staged = claimed.history.staged.as_ref();
    let mut body = json!({
        "channel": CHANNEL, "verdict": result.verdict, "reason": result.reason, "exit_code": result.exit.code(),
        "engine": result.engine, "confidence": result.confidence, "text": result.text, "amt": result.amt,
        "lockdown": result.lockdown,
        "staged": staged.map(|it| &it.event), "original_sha256": staged.map(|it| &it.original_sha256),
        "result_sha256": staged.map(|it| &it.result_sha256),
        "boot_id": seen.detection.known("host.boot_id"), "bios": seen.detection.known("host.bios.version"),
        "contradictions": result.contradictions, "findings": result.findings, "evidence": result.evidence,
    });
    let event = match chain.record(store, kind.clone(), body.clone()) {
        // A hostile machine can name more sources than an event holds: the verdict is what counts.
        Err(StateError::Event(EventError::TooLong(_))) => {
            for name in ["text", "contradictions", "findings", "evidence"] {
                body[name] = Value::Null;
            }
            chain.record(store, kind, body)?
        }
        recorded => recorded?,
    };
    Ok((result, Some(event)))
}

/// What was seen was seen, but the org does not know of it.
fn undelivered(result: &mut Verification, error: &StateError) {
    let why = format!("writing the verdict to org state: {}", chain_of(error));
    crate::log::problem(&why);
    if Exit::worst([result.exit, Exit::Undelivered]) == Exit::Undelivered {
        result.exit = Exit::Undelivered;
        result.reason = "undelivered".to_owned();
    }
    result.text = format!("{} But {why}; run again.", result.text);
}

fn document(
    arguments: &Verify,
    detection: &Detection,
    claimed: &Claimed,
    result: &Verification,
    changed: bool,
    event: Option<&str>,
) -> Value {
    json!({
        "schema": "oob-verify/1", "root": detection.root, "device_id": detection.device_id,
        "exit_code": result.exit.code(), "reason": result.reason, "changed": changed, "text": result.text,
        "verdict": result.verdict, "confidence": result.confidence, "engine": result.engine,
        "claimed": { "staged": claimed.history.staged, "lockdown": result.lockdown, "amt": claimed.history.amt.as_ref().map(|it| &it.event) },
        "evidence": result.evidence, "contradictions": result.contradictions, "findings": result.findings,
        "next": result.next, "amt": result.amt, "not_assessed": result.not_assessed, "event": event,
        "out": arguments.out.display().to_string(),
    })
}

pub(super) fn unreadable(error: &StateError) -> Stop {
    let cause = match error {
        StateError::OtherRoot { .. } => "other-root",
        StateError::Corrupt { .. } => "store-damaged",
        _ => "out-not-readable",
    };
    Stop::new(Exit::EscrowNotDurable, cause, format!("reading --out: {}", chain_of(error)))
}
