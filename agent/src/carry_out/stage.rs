//! Staging a neutralized image. Nothing is flashed: the verdict is `staged`, never more.

use oob_policy::{Exit, Outcome, Status, Step};
use serde_json::json;

use super::{Run, failed, outcome, with_evidence};
use crate::firmware::lay_out;
use crate::state::{Kind, StateError, Written};

pub(super) fn soft_disable(run: &mut Run<'_>, step: &Step) -> Outcome {
    let Some(image) = run.image else {
        return failed(
            step,
            Exit::Impossible,
            "no-firmware-image",
            "no image was given; name one with --firmware-image",
        );
    };
    run.progress.begin("firmware: setting the soft-disable strap in a copy of the image");
    let changed = oob_mecheck::inspect(&image.bytes)
        .map_err(oob_mecheck::Refusal::from)
        .and_then(|inspection| Ok((oob_mecheck::set_soft_disable(&image.bytes)?, inspection)));
    let (neutralized, inspection) = match changed {
        Ok(changed) => changed,
        Err(refusal) => {
            run.progress.end("refused");
            return failed(
                step,
                Exit::DeviceFailed,
                "image-refused",
                format!("{refusal}; no file was written"),
            );
        }
    };
    if neutralized.changes.is_empty() {
        run.progress.end("set already");
        let text = format!(
            "the image's soft-disable strap is set already, so nothing was staged; if this is what the flash holds, \
             power-cycle and look again ({})",
            me_state(run)
        );
        return Outcome {
            exit: Exit::Pending,
            cause: Some("strap-set".into()),
            ..outcome(step, Status::AlreadySo, text)
        };
    }
    let machine = json!({
        "device_id": run.chain.run().device_id,
        "me_version": run.detection.text("intel.me.version"),
        "me_state": run.detection.text("intel.me.state"),
        "heci": run.detection.text("intel.me.pci"),
    });
    let staging = lay_out(&image.bytes, &inspection, &neutralized, &run.policy.sha256, &machine);
    let written = write(run, &staging);
    run.progress.end(if written.is_ok() { "done" } else { "failed" });
    let (directory, fresh) = match written {
        Ok(written) => written,
        Err(error) => {
            return failed(
                step,
                Exit::EscrowNotDurable,
                "staging-not-written",
                format!("staging the image: {error}"),
            );
        }
    };
    let text = format!(
        "a soft-disabled image is staged in {directory}; flash it with flash.sh there, power-cycle, and look again. \
         Nothing was flashed ({})",
        me_state(run)
    );
    let status = if fresh { Status::Done } else { Status::AlreadySo };
    let done = Outcome {
        exit: Exit::Pending,
        cause: Some("staged".into()),
        changed: fresh,
        ..outcome(step, status, text)
    };
    with_evidence(
        done,
        [
            ("staging", directory.into()),
            ("original_sha256", staging.original_sha256.as_str().into()),
            ("result_sha256", staging.result_sha256.as_str().into()),
            ("verdict", "staged".into()),
        ],
    )
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
fn write(run: &mut Run<'_>, staging: &crate::firmware::Staging) -> Result<(String, bool), StateError> {
    let device_id = run.chain.run().device_id.clone();
    let name = staging.result_sha256.get(..16).unwrap_or_default();
    let mut fresh = false;
    for (file, bytes) in &staging.files {
        let written = run.store.put_staged(&device_id, name, file, bytes)?;
        fresh |= written == Written::New;
    }
    let known =
        run.history.staged.as_ref().is_some_and(|staged| staged.result_sha256 == staging.result_sha256);
    if !known {
        let body = json!({
            "original_sha256": staging.original_sha256, "result_sha256": staging.result_sha256,
            "method": "soft-disable", "verdict": "staged",
        });
        run.chain.record(run.store, Kind::Staged, body)?;
    }
    Ok((run.store.staged_dir(&device_id, name)?.display().to_string(), fresh || !known))
}
