//! Staging a neutralized image. Nothing is flashed: the verdict is `staged`, never more.

use oob_mecheck::neutralize::{self, Neutralized, Options, Refusal};
use oob_policy::{Exit, ImageSource, Method, Outcome, Staged, Status, Step};
use serde_json::{Value, json};

use super::{Run, failed, outcome, with_evidence};
use crate::error::chain_of;
use crate::firmware::{Binding, Image, Staging, lay_out, sha256_hex};
use crate::state::{Kind, MANIFEST, StateError, Written};

/// Stages a copy of the image changed by `method`; `skipped` is why no method before it was taken.
pub(super) fn stage(
    run: &mut Run<'_>,
    step: &Step,
    method: Method,
    keep: &[String],
    skipped: &[String],
) -> Outcome {
    let Some(image) = run.image else {
        return failed(
            step,
            Exit::Impossible,
            "no-firmware-image",
            "no image was given; name one with --firmware-image",
        );
    };
    run.progress.begin(&format!("firmware: changing a copy of the image, by `{}`", method.word()));
    let mut ended = changed(run, step, image, method, keep, skipped).unwrap_or_else(|refused| refused);
    run.progress.end(match ended.status {
        Status::Done => "staged",
        Status::AlreadySo => "so already",
        _ => "refused",
    });
    // What policy would rather have had is said wherever the outcome is read alone.
    if !skipped.is_empty() {
        ended.text.push_str(&format!(". Before `{}`: {}", method.word(), skipped.join("; ")));
        ended.evidence.insert("skipped".to_owned(), skipped.to_vec().into());
    }
    let source = match image.facts.source {
        ImageSource::Given => "--firmware-image",
        ImageSource::Chip => "this machine's flash chip, read twice",
    };
    with_evidence(ended, [("method", method.word().into()), ("image", source.into())])
}

/// What the method makes of the image, checked against policy's pins before anything is written.
fn changed(
    run: &mut Run<'_>,
    step: &Step,
    image: &Image,
    method: Method,
    keep: &[String],
    skipped: &[String],
) -> Result<Outcome, Outcome> {
    let done = neutralize(&image.bytes, method, keep).map_err(|refusal| {
        let exit = match refusal {
            Refusal::Impossible(_) => Exit::Impossible,
            Refusal::Image(_) | Refusal::Invalid(_) | Refusal::Breach(_) => Exit::DeviceFailed,
        };
        failed(step, exit, "image-refused", format!("{refusal}; no file was written"))
    })?;
    check_pins(run, &sha256_hex(&done.image))
        .map_err(|text| failed(step, Exit::Impossible, "result-not-pinned", text))?;
    if done.changes.is_empty() {
        let text = format!(
            "there is nothing left to change in the image, so nothing was staged; if this is what the flash holds, \
             power-cycle and look again ({})",
            me_state(run)
        );
        let set = outcome(step, Status::AlreadySo, text);
        return Ok(Outcome { exit: Exit::Pending, cause: Some("strap-set".into()), ..set });
    }
    let machine = json!({
        "device_id": run.chain.run().device_id,
        "me_version": run.detection.text("intel.me.version"),
        "me_state": run.detection.text("intel.me.state"),
        "heci": run.detection.text("intel.me.pci"),
    });
    let binding = Binding {
        policy_sha256: Some(run.policy.sha256.clone()),
        machine: Some(machine),
        skipped: skipped.to_vec(),
    };
    let staging = lay_out(&image.bytes, &done, &binding);
    let (directory, fresh) = write(run, &staging, method).map_err(|error| {
        let next = match error {
            StateError::Corrupt { .. } => {
                "; nobody but the agent writes there: move that directory away, and run again"
            }
            _ => "",
        };
        let text = format!("staging the image: {}{next}", chain_of(&error));
        failed(step, Exit::EscrowNotDurable, "staging-not-written", text)
    })?;
    let what = match method {
        Method::CleanAndSoftDisable => "an image without ME code and with its soft-disable strap set",
        _ => "a soft-disabled image",
    };
    let text = format!(
        "{what} is staged in {directory}; flash it with flash.sh there, power-cycle, and look again. Nothing was \
         flashed ({})",
        me_state(run)
    );
    let status = if fresh { Status::Done } else { Status::AlreadySo };
    let done = outcome(step, status, text);
    let done = Outcome { exit: Exit::Pending, cause: Some("staged".into()), changed: fresh, ..done };
    Ok(with_evidence(
        done,
        [
            ("staging", directory.into()),
            ("original_sha256", staging.original_sha256.as_str().into()),
            ("result_sha256", staging.result_sha256.as_str().into()),
            ("verdict", "staged".into()),
        ],
    ))
}

/// An org that pins results has seen the one it wants. Any other is not staged, whatever made it.
fn check_pins(run: &Run<'_>, sha256: &str) -> Result<(), String> {
    let rule = run.rule.and_then(|id| run.policy.rules.iter().find(|rule| rule.id == id));
    let pins = rule.map_or(&[][..], |rule| &rule.neutralize.result_sha256);
    if pins.is_empty() || pins.iter().any(|pin| pin == sha256) {
        return Ok(());
    }
    Err(format!(
        "the result has sha256 {sha256}, which is none of the {} that `neutralize.result_sha256` pins: no file was \
         written; look at the image, then pin its result or remove the key",
        pins.len()
    ))
}

/// Nothing to stage: what policy asks for is what the machine shows.
pub(super) fn already(run: &Run<'_>, step: &Step) -> Outcome {
    let text =
        format!("{}: detected, as the machine reports it about itself; nothing was staged", me_state(run));
    with_evidence(outcome(step, Status::AlreadySo, text), [("verdict", "detected".into())])
}

fn me_state(run: &Run<'_>) -> String {
    format!("the management engine is as it was: {}", run.detection.text("intel.me.state"))
}

/// The directory of the staged files, and whether any of them is new. The image lies in the part of the store that
/// never leaves the machine: a dump holds serial numbers and keys (reference/org-state.md 4.3).
fn write(run: &mut Run<'_>, staging: &Staging, method: Method) -> Result<(String, bool), StateError> {
    let device_id = run.chain.run().device_id.clone();
    let name = staging.result_sha256.get(..16).unwrap_or_default();
    run.store.clean_staged(&device_id, name)?;
    let held = run.store.staged_manifest(&device_id, name)?.filter(|held| is_kept(run, staging, held));
    let mut fresh = false;
    for (file, bytes) in &staging.files {
        if *file == MANIFEST && held.is_some() {
            continue;
        }
        let written = run.store.put_staged(&device_id, name, file, bytes)?;
        fresh |= written == Written::New;
    }
    let manifest_sha256 = held.map_or_else(|| staging.manifest_sha256.clone(), |held| sha256_hex(&held));
    let known = recorded(run, staging)
        .is_some_and(|staged| staged.manifest_sha256.as_ref().is_none_or(|it| *it == manifest_sha256));
    if !known {
        let body = json!({
            "original_sha256": staging.original_sha256, "result_sha256": staging.result_sha256,
            "manifest_sha256": manifest_sha256, "method": method.word(), "verdict": "staged",
        });
        run.chain.record(run.store, Kind::Staged, body)?;
    }
    Ok((run.store.staged_dir(&device_id, name)?.display().to_string(), fresh || !known))
}

/// The claim that this very image is staged, where org state holds it.
fn recorded<'a>(run: &Run<'a>, staging: &Staging) -> Option<&'a Staged> {
    run.history.staged.as_ref().filter(|staged| staged.result_sha256 == staging.result_sha256)
}

/// A manifest tells under which policy, and beside which state of the engine, its image was staged: what is so today
/// does not make another of it. It is the one that was recorded; where the run died before it recorded it, it is one
/// of the same files.
fn is_kept(run: &Run<'_>, staging: &Staging, held: &[u8]) -> bool {
    if let Some(of_record) = recorded(run, staging).and_then(|staged| staged.manifest_sha256.as_ref()) {
        return sha256_hex(held) == *of_record;
    }
    let files = |bytes: &[u8]| -> Option<Value> {
        serde_json::from_slice::<Value>(bytes).ok()?.get("sha256").cloned()
    };
    let ours = staging.files.iter().find(|(file, _)| *file == MANIFEST).and_then(|(_, bytes)| files(bytes));
    ours.is_some() && files(held) == ours
}

fn neutralize(image: &[u8], method: Method, keep: &[String]) -> Result<Neutralized, Refusal> {
    let method = match method {
        Method::CleanAndSoftDisable => neutralize::Method::CleanAndSoftDisable,
        Method::SoftDisable => neutralize::Method::SoftDisable,
        Method::Lockdown | Method::ReportOnly => {
            return Err(Refusal::Impossible(format!("`{}` changes no image", method.word())));
        }
    };
    neutralize::neutralize(image, &Options { method, keep: Some(keep.to_vec()) })
}
