//! What a run leaves that is killed: `verify`, and a run with nothing to do, tell it as ours, blame nobody for it, and name
//! what opens AMT.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oob_tests::provisioning::{policy, raise_serial};
use oob_tests::{Machine, agent_command, code, json, scratch, text};
use serde_json::Value;
use tempfile::TempDir;

use crate::deactivate::ours;
use crate::known::{opened, write_journal};
use crate::lockdown::verify;
use crate::upgrade::Story;
use crate::use_acm::{apply, arguments};
use crate::use_ccm::escrow_files;

/// What `made` makes in an empty directory, after a run on it that was killed at the point that `at` finds in the trace of a
/// whole one.
fn killed<T>(
    made: impl Fn(&Path) -> T,
    command: impl Fn(&T) -> Command,
    at: impl Fn(&[&str]) -> usize,
) -> (TempDir, T) {
    let whole = scratch();
    let trace = whole.path().join("trace");
    let run = command(&made(whole.path())).env("OOB_PROBE_TRACE", &trace).output().unwrap();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let point = at(&trace.lines().collect::<Vec<_>>()) + 1;
    let scratch = scratch();
    let struck = made(scratch.path());
    let run = command(&struck).env("OOB_PROBE_KILL", point.to_string()).output().unwrap();
    assert_eq!(code(&run), None, "{}", text(&run.stdout));
    (scratch, struck)
}

fn after(call: &str) -> impl Fn(&[&str]) -> usize {
    move |lines| {
        let is_it = |line: &&str| line.contains("after device mutating") && line.contains(call);
        lines.iter().position(is_it).unwrap_or_else(|| panic!("no {call} in {lines:#?}"))
    }
}

fn run(machine: &Machine, asking: &Path, out: &Path, known: Option<&Path>, more: &[&str]) -> Command {
    let mut command = agent_command();
    command.args(arguments(machine, asking, out)).args(more);
    if let Some(known) = known {
        command.arg("--known-credential").arg(known);
    }
    command
}

/// The same policy, that only wants the hardware recorded.
fn ignoring(dir: &Path, serial: u32) -> PathBuf {
    let file = policy(dir, "control_mode = \"ccm\"");
    let text = fs::read_to_string(&file).unwrap();
    let asks = "action = \"use\"\namt = { control_mode = \"ccm\" }";
    assert!(text.contains(asks), "{text}");
    fs::write(&file, text.replace(asks, "action = \"ignore\"")).unwrap();
    raise_serial(&file, serial);
    file
}

/// The record of AMT in a report of a run that had nothing to do.
#[track_caller]
fn ignored(machine: &Machine, dir: &Path, out: &Path, serial: u32) -> (Value, String) {
    let run = apply(machine, &ignoring(dir, serial), out);
    let result = json(&run);
    assert_eq!((code(&run), &result["changed"]), (Some(0), &false.into()), "{}", text(&run.stdout));
    let findings = result["findings"].to_string();
    assert!(!findings.contains("amt-provisioned-by-others"), "{findings}");
    (result["capability"]["channels"][0].clone(), findings)
}

#[test]
fn a_killed_upgrade_is_not_somebody_elses_doing() {
    let made = |dir: &Path| Story::new("vpro-desktop-amt16", dir, "acm", &[]);
    let command = |it: &Story| run(&it.machine, &it.asking, &it.out, Some(&it.file), &[]);
    let (scratch, story) = killed(made, command, after("UpgradeClientToAdmin"));
    assert_eq!(story.machine.state()["control_mode"], 2);
    let result = verify(&story.machine, scratch.path(), ("not-claimed", 9, "upgrade-not-proven", true));
    let told = result["text"].as_str().unwrap();
    assert!(told.contains("--known-credential") && !told.contains("somebody"), "{told}");
    let (amt, _) = ignored(&story.machine, scratch.path(), &story.out, 3);
    assert_eq!(amt["state"], "provisioned");
    let file = amt["credential"].as_str().unwrap();
    assert!(escrow_files(&story.out)[0].ends_with(file), "{amt}");
}

#[test]
fn a_killed_unprovisioning_is_not_somebody_elses_doing() {
    let leaving = |dir: &Path| {
        let (machine, out) = ours(dir, false, &[]);
        let asking = policy(dir, "provisioned = false");
        raise_serial(&asking, 2);
        (machine, out, asking)
    };
    let command = |(machine, out, asking): &(Machine, PathBuf, PathBuf)| run(machine, asking, out, None, &[]);
    let (scratch, (machine, out, asking)) = killed(leaving, command, after(""));
    assert_eq!(machine.state()["control_mode"], 0);
    let result = verify(&machine, scratch.path(), ("not-claimed", 9, "unprovision-not-recorded", true));
    assert!(!result["text"].as_str().unwrap().contains("somebody"), "{result:#}");
    assert_eq!(code(&apply(&machine, &asking, &out)), Some(0));
    assert_eq!(json(&apply(&machine, &asking, &out))["changed"], false);
}

#[test]
fn a_new_password_that_was_never_sent_is_no_open_question() {
    let made = |dir: &Path| {
        let (machine, out) = ours(dir, false, &[]);
        let known = opened(&escrow_files(&out)[0], dir);
        (machine, out, policy(dir, "control_mode = \"ccm\", sol = true"), known)
    };
    let command = |(machine, out, asking, known): &(Machine, PathBuf, PathBuf, PathBuf)| {
        run(machine, asking, out, Some(known), &["--rotate"])
    };
    // The journal says that it begins, and not that it is sent.
    let (scratch, (machine, out, asking, _)) = killed(made, command, |lines| {
        let sent = lines.iter().position(|line| line.contains("before device mutating")).unwrap();
        let journaled = |line: &&str| line.contains("before disk.append") && line.contains("journal");
        lines[..sent].iter().rposition(journaled).unwrap()
    });
    assert_eq!(escrow_files(&out).len(), 2, "the new password is sealed");
    verify(&machine, scratch.path(), ("not-claimed", 0, "satisfied", false));
    let rest = apply(&machine, &asking, &out);
    assert_eq!((code(&rest), &json(&rest)["changed"]), (Some(0), &false.into()), "{}", text(&rest.stdout));
    verify(&machine, scratch.path(), ("not-claimed", 0, "satisfied", false));
}

#[test]
fn a_killed_setup_is_told_with_its_candidate_where_policy_wants_nothing_any_more() {
    let made = |dir: &Path| {
        let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &[]);
        (machine, dir.join("out"), policy(dir, "control_mode = \"ccm\""))
    };
    let command = |(machine, out, asking): &(Machine, PathBuf, PathBuf)| run(machine, asking, out, None, &[]);
    let (scratch, (machine, out, _)) = killed(made, command, after("HostBasedSetupService.Setup"));
    assert_eq!(machine.state()["control_mode"], 1);
    let candidate = escrow_files(&out)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let (amt, findings) = ignored(&machine, scratch.path(), &out, 2);
    assert_eq!(amt["state"], "unknown", "{amt}");
    assert!(amt["reason"].as_str().unwrap().contains(&candidate), "{amt}");
    assert!(findings.contains("amt-indeterminate") && findings.contains(&candidate), "{findings}");
    let result = verify(&machine, scratch.path(), ("not-claimed", 6, "indeterminate", false));
    assert!(result["text"].as_str().unwrap().contains(&candidate), "{result:#}");
    // And once it is taken back and done again, it is ours, also by a run that has nothing to do.
    let again = policy(scratch.path(), "control_mode = \"ccm\"");
    raise_serial(&again, 3);
    let run = apply(&machine, &again, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(json(&run)["capability"]["channels"][0]["state"], "verified");
    let (amt, _) = ignored(&machine, scratch.path(), &out, 4);
    assert_eq!((&amt["state"], amt["credential"].is_string()), (&"provisioned".into(), true), "{amt}");
}

/// AMT that a run was unprovisioning when it died, and policy wants it again.
#[test]
fn what_is_half_unprovisioned_is_ended_and_set_up_anew() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--in-provisioning"]);
    let (asking, out) = (policy(scratch.path(), "control_mode = \"ccm\""), scratch.path().join("out"));
    let run = apply(&machine, &asking, &out);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"provisioned-by-others".into()));
    let realm = machine.state()["realm"].as_str().unwrap().to_owned();
    write_journal(&out, &[&format!("{{\"entry\":\"leaving\",\"realm\":\"{realm}\",\"call\":\"x\"}}")]);
    let run = apply(&machine, &asking, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    let steps: Vec<_> = result["outcomes"].as_array().unwrap().iter().map(|it| it["step"].clone()).collect();
    assert_eq!(steps, ["amt.unprovision", "amt.setup-ccm"]);
    assert_eq!(result["capability"]["channels"][0]["state"], "verified");
    assert_eq!(machine.state()["control_mode"], 1);
    let rest = apply(&machine, &asking, &out);
    assert_eq!((code(&rest), &json(&rest)["changed"]), (Some(0), &false.into()), "{}", text(&rest.stdout));
}
