//! Killed anywhere, one more run ends at the target, and no password is ever live that is not sealed in the store.
//!
//! Two ways to die: the simulator kills its peer before or after the N-th device call, and the agent's own crash
//! points (debug builds) kill it before or after every write, sync and rename. `cargo test` runs a sample; the whole
//! runs with `OOB_FAULTS_ALL=1`, more than a sample with `OOB_CRASH_ALL=1`, as in `.ci/run`.

use std::io::Write;
use std::path::Path;

use oob_tests::{Machine, agent_command, code, json, scratch, stride, text};

use crate::honesty::passwords_outside_escrow;
use crate::use_ccm::{apply, arguments};

/// Whether the password that is live on the device, if any, is sealed in the store.
fn assert_no_password_outside_escrow(machine: &Machine, out: &Path, when: &str) {
    assert_eq!(passwords_outside_escrow(&machine.state(), out), None, "{when}");
}

fn assert_at_target(machine: &Machine, out: &Path, when: &str) {
    let last = apply(machine, out);
    assert_eq!(code(&last), Some(0), "{when}:\n{}\n{}", text(&last.stdout), text(&last.stderr));
    let state = machine.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&1.into(), &2.into()), "{when}");
    assert_no_password_outside_escrow(machine, out, when);
    // And it rests there.
    let mutating = machine.mutating_calls();
    let rest = apply(machine, out);
    assert_eq!(
        (code(&rest), &json(&rest)["changed"]),
        (Some(0), &false.into()),
        "{when}: {}",
        text(&rest.stderr)
    );
    assert_eq!(machine.mutating_calls(), mutating, "{when}: the run after the last sent a mutating call");
}

fn report(kind: &str, tried: usize, of: usize) {
    let _ = writeln!(std::io::stderr(), "crash loop: {tried} of {of} {kind} tried");
}

#[test]
fn killed_by_the_device_before_and_after_every_call() {
    // How many calls a run makes, from one that nobody kills.
    let (_, calls) = undisturbed();
    let mut tried = 0;
    for side in ["kill-peer-before", "kill-peer-after"] {
        for call in (1..=calls).step_by(stride(11, 3).div_ceil(2)) {
            let when = format!("{side} call {call} of {calls}");
            let scratch = scratch();
            let fault = format!("call:{call}={side}");
            let machine =
                Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &fault]);
            let out = scratch.path().join("out");
            let killed = apply(&machine, &out);
            assert_eq!(code(&killed), None, "{when}: the agent was not killed: {}", text(&killed.stderr));
            assert_no_password_outside_escrow(&machine, &out, &when);
            assert_at_target(&machine, &out, &when);
            tried += 1;
        }
    }
    report("device-call crash points", tried, 2 * calls);
}

#[test]
fn killed_at_every_write() {
    let points = undisturbed().0.lines().count();
    let mut tried = 0;
    for point in (1..=points).step_by(stride(11, 3)) {
        let when = format!("crash point {point} of {points}");
        let scratch = scratch();
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let killed = agent_command()
            .args(arguments(&machine, &out))
            .env("OOB_PROBE_KILL", point.to_string())
            .output()
            .expect("running oob-agent");
        assert_eq!(code(&killed), None, "{when}: the agent was not killed: {}", text(&killed.stderr));
        assert_no_password_outside_escrow(&machine, &out, &when);
        assert_at_target(&machine, &out, &when);
        tried += 1;
    }
    report("journal and store crash points", tried, points);
}

#[test]
fn killed_twice_in_a_row_while_taking_back_its_own_change() {
    // First death right after Setup took effect; the second run undoes that, and dies at each of its points in turn.
    let mut tried = 0;
    for point in (1..).step_by(stride(11, 3)) {
        let when = format!("second death at crash point {point}");
        let scratch = scratch();
        let fault = "wsman:IPS_HostBasedSetupService.Setup=kill-peer-after";
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
        let out = scratch.path().join("out");
        assert_eq!(code(&apply(&machine, &out)), None, "{when}: the first run was not killed");
        let second = agent_command()
            .args(arguments(&machine, &out))
            .env("OOB_PROBE_KILL", point.to_string())
            .output()
            .expect("running oob-agent");
        assert_no_password_outside_escrow(&machine, &out, &when);
        if code(&second).is_some() {
            assert_eq!(code(&second), Some(0), "{when}: {}", text(&second.stderr));
            break;
        }
        assert_at_target(&machine, &out, &when);
        tried += 1;
    }
    assert!(tried > 2, "only {tried} points while undoing");
    report("crash points of an interrupted undo", tried, tried * stride(11, 3));
}

#[test]
fn the_journal_knows_of_the_call_before_the_device_does() {
    let scratch = scratch();
    let fault = "wsman:IPS_HostBasedSetupService.Setup=kill-peer-before";
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &out)), None, "the run was not killed");
    let journal =
        oob_tests::files(&out).into_iter().find(|file| file.ends_with("journal.jsonl")).expect("a journal");
    let journal = std::fs::read_to_string(journal).unwrap();
    let last = journal.lines().last().unwrap_or_default();
    assert!(last.contains("sending") && last.contains("IPS_HostBasedSetupService.Setup"), "{journal}");
}

#[test]
fn what_others_set_up_after_our_unfinished_run_is_not_undone() {
    let scratch = scratch();
    let fault = "wsman:IPS_HostBasedSetupService.Setup=kill-peer-after";
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
    let ours = scratch.path().join("ours");
    assert_eq!(code(&apply(&machine, &ours)), None, "the run was not killed");
    // Somebody takes that back over MEI and sets AMT up for himself: the same mode, another realm.
    let unprovision = [1, 1, 0, 0, 0x10, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(&oob_tests::pthi(&machine.dir, &unprovision)[12..16], [0; 4], "status of the unprovisioning");
    let theirs = scratch.path().join("theirs");
    assert_eq!(code(&apply(&machine, &theirs)), Some(0));
    let mutating = machine.mutating_calls();
    let run = apply(&machine, &ours);
    assert_eq!(code(&run), Some(8), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(json(&run)["reason"], "provisioned-by-others");
    assert_eq!(machine.mutating_calls(), mutating, "somebody else's provisioning was touched");
    assert_no_password_outside_escrow(&machine, &theirs, "afterwards");
}

/// Crash points, line by line, and device calls of a run that nobody kills.
pub(crate) fn undisturbed() -> (String, usize) {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let trace = scratch.path().join("trace");
    let run = agent_command()
        .args(arguments(&machine, &scratch.path().join("out")))
        .env("OOB_PROBE_TRACE", &trace)
        .output()
        .expect("running oob-agent");
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let trace = std::fs::read_to_string(trace).expect("a debug build writes its trace");
    (trace, machine.calls().len())
}
