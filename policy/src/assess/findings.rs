//! What an auditor should see, and what nobody looked at.

use super::Assessment;
use super::channels::because;
use crate::{Action, Finding, PolicyTrust, RootKind, Severity, Status, Step, StepKind, Value, shown, step};

/// How many names a finding lists; all of them are in the store.
const MAX_NAMES: usize = 20;

pub(super) fn findings(input: &Assessment<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add =
        |id: &str, severity, text: String| found.push(Finding { id: id.to_owned(), severity, text });
    let capable = ["capable", "standard-manageability"].contains(&input.detection.text("intel.amt.verdict"));
    let provisioning = input.detection.text("intel.amt.provisioning");
    let unprovisioned = input.unprovisioned().is_some();
    let provisioned = !unprovisioned && input.provisioned();
    let set_up = input.set_up().is_some() && !unprovisioned;
    let ours = set_up
        || input.outcome(step::AMT_CONFIRM, Status::AlreadySo).is_some()
        || input.unconfirmed().is_some();

    let locked = input.locked_down().is_some();
    if locked && !input.own_mebx() {
        add(
            "amt-off-default-mebx",
            Severity::Risk,
            "AMT is switched off by its firmware, and its MEBx password is the one it had: as long as that is the \
             factory's, anyone at the keyboard can enable AMT again and take it over. Give MEBx a password of its own \
             at the keyboard."
                .to_owned(),
        );
    }
    if capable
        && (provisioning == "pre" || unprovisioned)
        && !set_up
        && !locked
        && input.indeterminate().is_none()
    {
        add(
            "amt-default-credentials",
            Severity::Risk,
            "AMT is there and nobody has set it up: as long as its MEBx password is the factory's, anyone at the \
             keyboard or with a USB stick can take it over within a minute and control the machine over the network \
             from then on (BSI CB-K15-1256). Set it up with `use`, or give MEBx a password of its own and switch AMT \
             off there."
                .to_owned(),
        );
    }
    let (settings, mebx_escrow) = match input.set_up() {
        Some(done) => {
            let file = done.evidence.get("mebx_escrow").and_then(Value::as_text);
            (super::channels::settings(done), file.map(str::to_owned))
        }
        None => {
            let ours = input.confirmed().or(input.history.amt.as_ref());
            ours.map(|ours| (ours.settings.clone(), ours.mebx_escrow.clone())).unwrap_or_default()
        }
    };
    let asserted = settings.iter().any(|it| it == "mebx = true");
    if (ours || unprovisioned) && asserted || input.own_mebx() {
        let text = "The MEBx password was set to an escrowed one. The firmware gives no way to read it back, so this is \
                    asserted, not proven.";
        add("mebx-password-asserted", Severity::Info, text.to_owned());
    } else if let Some(file) = mebx_escrow.filter(|_| ours) {
        let text = format!(
            "A MEBx password was made ({}), and whether AMT took it is not known: at the keyboard either that one opens \
             MEBx, or the one it had before.",
            shown(&file)
        );
        add("mebx-password-uncertain", Severity::Warning, text);
    } else if ours {
        let text = "Setting AMT up does not change the MEBx password: where it is the factory's, anyone at the \
                    keyboard can still take AMT over there. Change it at the keyboard.";
        add("mebx-password-unchanged", Severity::Warning, text.to_owned());
    }
    if input.indeterminate().is_some() {
        let text = "A change of ours was not finished: AMT may have a new credential. Every candidate is in the escrow.";
        add("amt-indeterminate", Severity::Risk, text.to_owned());
    } else if let Some(open) = input.in_doubt() {
        let text = format!(
            "A run of ours ended while credential generation {} was on its way to AMT, which may have it by now: {}{}. Run \
             again with a policy that uses AMT to find out.",
            open.generation,
            input.history.candidates(open),
            input.history.mebx_candidate()
        );
        add("amt-indeterminate", Severity::Risk, text);
    } else if provisioned && !ours {
        add(
            "amt-provisioned-by-others",
            Severity::Risk,
            format!(
                "AMT is provisioned ({}, {}), and this run has no proof that the org did it: whoever did can switch, \
                 reset and, depending on the mode, watch this machine.",
                because(input, "intel.amt.provisioning"),
                because(input, "intel.amt.control_mode")
            ),
        );
    }
    if capable && !locked {
        found.extend(super::posture::findings(input, provisioned || set_up, ours));
    }
    let mut add =
        |id: &str, severity, text: String| found.push(Finding { id: id.to_owned(), severity, text });
    if input.context.root != RootKind::Live || input.plan.action != Action::Ignore {
        match input.context.trust {
            PolicyTrust::Unsigned => {
                add(
                    "policy-unsigned",
                    Severity::Warning,
                    "The policy is not signed: nothing shows who wrote it.".to_owned(),
                );
            }
            PolicyTrust::UnsignedAllowed => add(
                "policy-unsigned",
                Severity::Warning,
                "The policy is not signed, and the operator permitted that: nothing shows who wrote it."
                    .to_owned(),
            ),
        }
    } else {
        let text =
            "The policy is not signed. `ignore` needs no signature; `use` and `neutralize` would.".to_owned();
        add("policy-unsigned", Severity::Warning, text);
    }
    if input.context.weak_id {
        let text = "This machine has nothing that identifies it for certain: its record hangs on a random id kept in \
                    --out, and another --out would give it another one.";
        add("weak-device-id", Severity::Warning, text.to_owned());
    }
    if input.history.forked {
        let text = "The device's events fork: two runs did not know of each other; the credentials of both are candidates.";
        add("history-forked", Severity::Warning, text.to_owned());
    }
    if !input.history.rejected.is_empty() {
        let names = &input.history.rejected;
        let mut list: Vec<String> = names.iter().take(MAX_NAMES).map(|name| shown(name)).collect();
        if names.len() > MAX_NAMES {
            list.push(format!("and {} more", names.len() - MAX_NAMES));
        }
        let text = format!("These events do not hold and were not believed: {}.", list.join(", "));
        add("events-rejected", Severity::Warning, text);
    }
    for warning in &input.plan.warnings {
        add("plan-warning", Severity::Warning, warning.clone());
    }
    if input.plan.action == Action::Neutralize && input.detection.text("host.cpu.vendor") == "amd" {
        add("amd-psp", Severity::Warning, amd_psp(input));
    }
    if let Some(text) = input.plan.steps.iter().find_map(fallback) {
        add("neutralize-fallback", Severity::Warning, text);
    }
    if input.staged() {
        let text = format!(
            "A firmware image is staged. Nothing was flashed; the management engine is as it was (intel.me.state: {}). \
             Only a look at the running machine on a later boot may say that the image is in effect.",
            shown(input.detection.text("intel.me.state"))
        );
        add("neutralize-staged", Severity::Info, text);
    }
    found
}

/// Nothing can be taken from an AMD machine, so what would have been asked for is told (reference/me.md 6).
fn amd_psp(input: &Assessment<'_>) -> String {
    let attributes = input.detection.fact("amd.psp.attributes").map(|fact| &fact.value);
    let fused = match attributes {
        Some(Value::Map(attributes)) => match attributes.get("fused_part").and_then(Value::as_text) {
            Some("1") => "yes (amd.psp.attributes: fused_part is 1)".to_owned(),
            Some("0") => "no (amd.psp.attributes: fused_part is 0)".to_owned(),
            Some(other) => format!("unknown (amd.psp.attributes: fused_part is {})", shown(other)),
            None => "unknown (amd.psp.attributes has no fused_part)".to_owned(),
        },
        _ => format!("unknown ({})", because(input, "amd.psp.attributes")),
    };
    let adapter = because(input, "dash.nic");
    let dash = match input.detection.text("dash.nic") {
        "absent" => format!("no adapter has it ({adapter})"),
        "present" | "likely" => format!(
            "unknown whether it is enabled ({adapter}): disable it in firmware setup, close ports 623 and 664, and probe \
             them from another machine"
        ),
        _ => format!("unknown ({adapter})"),
    };
    let psp = because(input, "amd.psp.state");
    format!("AMD PSP ({psp}): not neutralizable. Platform Secure Boot fused: {fused}. DASH: {dash}.")
}

/// What policy would rather have had, where another method was taken.
fn fallback(step: &Step) -> Option<String> {
    let (method, skipped) = match &step.what {
        StepKind::Stage { method, skipped, .. } => (method.word(), skipped),
        StepKind::AmtLockdown { skipped, .. } | StepKind::AmtLockedDown { skipped, .. } => {
            ("lockdown", skipped)
        }
        _ => return None,
    };
    (!skipped.is_empty()).then(|| {
        format!(
            "Policy would rather have another method than `{method}`, which was taken: {}.",
            skipped.join("; ")
        )
    })
}

/// Said plainly in every report, so that silence is never taken for a result.
pub(super) fn not_assessed(input: &Assessment<'_>) -> Vec<String> {
    let mut list = vec![
        "firmware that lies: everything here is as this machine reports it about itself".to_owned(),
        "whether any channel is reachable from another machine: only a login from there can tell".to_owned(),
        "whether the machine comes back: nothing was reset or switched off to try".to_owned(),
        "power distribution: which outlets feed this machine".to_owned(),
    ];
    if input.detection.text("intel.amt.verdict") != "absent" {
        list.push("the MEBx password: it cannot be read, so it may be the factory's".to_owned());
        list.extend(super::posture::unread(input));
    }
    if !["absent", "false-sign"].contains(&input.detection.text("bmc.verdict")) {
        list.push("users and passwords of a BMC, if there is one".to_owned());
    }
    if input.context.root != RootKind::Live {
        list.push("a real machine: this root is a capture or a simulation".to_owned());
    }
    list
}
