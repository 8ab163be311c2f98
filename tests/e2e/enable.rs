//! `amt.enable = true`: AMT that was switched off is switched on over MHC, once, and used where it answers in this boot.

use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::{Machine, agent, agent_command, code, json, scratch, text};

use crate::honesty::passwords_outside_escrow;
use crate::lockdown::{body_of, boots, switches};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::escrow_files;

const MHC: &str = "mhc:0x53";

fn told(run: &Output) -> String {
    format!("{}\n{}", text(&run.stdout), text(&run.stderr))
}

fn counter(machine: &Machine, name: &str) -> u64 {
    machine.state()["counters"][name].as_u64().unwrap_or(0)
}

/// A machine whose AMT is off, and a policy that may switch it on.
fn off(profile: &str, dir: &Path, options: &[&str]) -> (Machine, PathBuf, PathBuf) {
    let options = [&["--amt-disabled"], options].concat();
    let machine = Machine::start(profile, &dir.join("vpro"), &options);
    (machine, policy(dir, "enable = true"), dir.join("out"))
}

#[track_caller]
fn assert_used(run: &Output, machine: &Machine, asking: &Path, out: &Path, mode: u64) {
    assert_eq!(code(run), Some(0), "{}", told(run));
    let state = machine.state();
    assert_eq!((&state["control_mode"], &state["amt_disabled"]), (&mode.into(), &false.into()));
    assert_eq!(json(run)["capability"]["channels"][0]["confidence"], "proven", "{}", told(run));
    assert_eq!(passwords_outside_escrow(&state, out), None);
    let mutating = machine.mutating_calls();
    let rest = apply(machine, asking, out);
    assert_eq!((code(&rest), &json(&rest)["changed"]), (Some(0), &false.into()), "{}", told(&rest));
    assert_eq!(machine.mutating_calls(), mutating);
}

#[test]
fn without_the_key_it_stays_off_and_the_key_is_named() {
    let scratch = scratch();
    let (machine, _, out) = off("vpro-desktop-amt18", scratch.path(), &[]);
    let run = apply(&machine, &policy(scratch.path(), "control_mode = \"ccm\""), &out);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"amt-disabled".into()), "{}", told(&run));
    assert!(text(&run.stdout).contains("amt.enable = true"), "{}", told(&run));
    assert_eq!((machine.mutating_calls(), &machine.state()["amt_disabled"]), (0, &true.into()));
}

#[test]
fn what_answers_at_once_is_used_in_the_same_run() {
    for profile in ["vpro-desktop-amt16-1", "vpro-desktop-amt18"] {
        let scratch = scratch();
        let (machine, asking, out) = off(profile, scratch.path(), &[]);
        let plan = agent([&["plan"], &arguments(&machine, &asking, &out)[1..]].concat());
        assert_eq!(json(&plan)["steps"][0]["id"], "amt.enable", "{}", told(&plan));
        assert_eq!(machine.mutating_calls(), 0);
        let run = apply(&machine, &asking, &out);
        let result = json(&run);
        let step = |at: usize| result["outcomes"][at]["step"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (step(0), step(1)),
            ("amt.enable".to_owned(), "amt.setup-ccm".to_owned()),
            "{}",
            told(&run)
        );
        assert_eq!(result["plan"]["steps"].as_array().unwrap().len(), 2);
        assert_eq!(counter(&machine, MHC), 1);
        let event = body_of(&result["outcomes"][0], &out);
        assert_eq!((&event["switched_on"], &event["answers"]), (&true.into(), &true.into()));
        assert_used(&run, &machine, &asking, &out, 1);
    }
}

#[test]
fn admin_control_mode_waits_for_the_suffix() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "enable = true, sol = true");
    let options = [&org.trusted()[..], &["--amt-disabled", "--slow-lease"]].concat();
    let machine = Machine::start("vpro-desktop-amt18", &scratch.path().join("vpro"), &options);
    let out = scratch.path().join("out");
    assert_used(&apply(&machine, &org.policy, &out), &machine, &org.policy, &out, 2);
}

#[test]
fn what_needs_a_restart_is_told_and_not_switched_again() {
    let scratch = scratch();
    let options = ["--enable-needs-reboot"];
    let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &options);
    for changed in [true, false] {
        let run = apply(&machine, &asking, &out);
        let result = json(&run);
        assert_eq!((code(&run), &result["reason"]), (Some(10), &"reboot-needed".into()), "{}", told(&run));
        assert_eq!((&result["changed"], counter(&machine, MHC)), (&changed.into(), 1));
        assert_eq!(result["capability"]["channels"][0]["state"], "disabled");
        // Said to be on by the firmware alone; the second run names the same event.
        assert_eq!(body_of(&result["outcomes"][0], &out)["answers"], false);
        assert!(escrow_files(&out).is_empty());
    }
    // The machine is started again.
    drop(machine);
    let (machine, ..) = off("vpro-desktop-amt18", scratch.path(), &options);
    let run = apply(&machine, &asking, &out);
    assert_eq!(counter(&machine, MHC), 0);
    assert_used(&run, &machine, &asking, &out, 1);
}

#[test]
fn what_the_host_may_not_switch_is_left_to_a_person() {
    let scratch = scratch();
    let (machine, asking, out) = off("vpro-desktop-amt16", scratch.path(), &[]);
    let run = apply(&machine, &asking, &out);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(8), &"amt-not-switchable".into()),
        "{}",
        told(&run)
    );
    assert_eq!(machine.mutating_calls(), 0);
    // Switched off by `lockdown`: only MEBx brings it back.
    let dir = scratch.path().join("locked");
    std::fs::create_dir(&dir).unwrap();
    let machine = Machine::start("vpro-desktop-amt18", &dir.join("vpro"), &[]);
    let out = dir.join("out");
    let locking = oob_tests::neutralize_policy(&dir, "methods = [\"lockdown\"]");
    assert_eq!(code(&apply(&machine, &locking, &out)), Some(8));
    assert_eq!(machine.state()["amt_disabled"], true);
    let asking = policy(&dir, "enable = true");
    raise_serial(&asking, 2);
    let mutating = machine.mutating_calls();
    let run = apply(&machine, &asking, &out);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(8), &"amt-not-switchable".into()),
        "{}",
        told(&run)
    );
    assert_eq!((machine.mutating_calls(), &machine.state()["amt_disabled"]), (mutating, &true.into()));
}

/// As far as a boot id tells one boot from the next.
#[test]
fn what_is_still_off_on_a_later_boot_is_switched_on_again() {
    let scratch = scratch();
    let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &["--enable-needs-reboot"]);
    for (boot, changed, calls) in [(1, true, 1), (1, false, 1), (2, true, 2), (2, false, 2)] {
        boots(&machine, boot);
        let run = apply(&machine, &asking, &out);
        let result = json(&run);
        assert_eq!((code(&run), &result["reason"]), (Some(10), &"reboot-needed".into()), "{}", told(&run));
        assert_eq!((&result["changed"], counter(&machine, MHC)), (&changed.into(), calls), "boot {boot}");
    }
}

#[test]
fn hidden_amt_is_switched_on_and_used_after_a_restart() {
    let scratch = scratch();
    let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &["--amt-hidden"]);
    let run = apply(&machine, &asking, &out);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(10), &"reboot-needed".into()), "{}", told(&run));
    drop(machine);
    let (machine, ..) = off("vpro-desktop-amt18", scratch.path(), &["--amt-hidden"]);
    assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
}

#[test]
fn firmware_that_does_not_tell_over_mhc_is_not_switched() {
    for (profile, options, expected) in [
        // By its version it can be switched; it does not say so itself.
        ("vpro-desktop-amt16", &[][..], (8, "amt-not-switchable")),
        ("vpro-desktop-amt18", &["--fault", "mhc:0x51=drop-before"], (5, "mhc-unreachable")),
        (
            "vpro-desktop-amt18",
            &["--amt-hidden", "--fault", "mhc:0x51=drop-before"],
            (8, "amt-absent-or-disabled"),
        ),
    ] {
        let scratch = scratch();
        let (machine, asking, out) = off(profile, scratch.path(), options);
        std::fs::write(machine.dir.join("sys/class/mei/mei0/fw_ver"), "0:18.0.5.1913").unwrap();
        let run = apply(&machine, &asking, &out);
        let result = json(&run);
        assert_eq!((code(&run).unwrap(), result["reason"].as_str().unwrap()), expected, "{}", told(&run));
        assert_eq!(result["outcomes"][0]["step"], "amt.enable", "{}", told(&run));
        assert_eq!((&result["changed"], machine.mutating_calls()), (&false.into(), 0), "{expected:?}");
        assert_eq!(machine.state()["amt_disabled"], true, "{expected:?}");
    }
}

#[test]
fn a_lost_answer_that_nothing_clears_up_is_told_as_unknown() {
    let scratch = scratch();
    let faults = ["--fault", &format!("{MHC}=drop-before"), "--fault", "mhc:0x51=drop-before#2"];
    let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &faults);
    let run = apply(&machine, &asking, &out);
    let result = json(&run);
    assert_eq!((code(&run), &result["reason"]), (Some(6), &"indeterminate".into()), "{}", told(&run));
    assert_eq!((&result["changed"], counter(&machine, MHC)), (&true.into(), 1));
    assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
}

#[test]
fn amt_that_is_still_starting_is_waited_for_and_one_that_goes_again_is_told() {
    const VERSIONS: &str = "pthi:0x0400001a";
    // The one or the other of what it is asked is not answered yet.
    for asked in [&[2][..], &[3, 4, 5]] {
        let scratch = scratch();
        let call = if asked.len() == 1 { VERSIONS } else { "pthi:0x0400006b" };
        let faults: Vec<String> = asked.iter().map(|nth| format!("{call}=return-value:1#{nth}")).collect();
        let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &faults);
        assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
    }
    // It answered once, and says that it is disabled when it is looked at anew.
    let scratch = scratch();
    let fault = format!("{VERSIONS}=return-value:16384#3");
    let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &["--fault", &fault]);
    let run = apply(&machine, &asking, &out);
    let result = json(&run);
    assert_eq!((code(&run), &result["reason"]), (Some(10), &"reboot-needed".into()), "{}", told(&run));
    assert_eq!((&result["changed"], counter(&machine, MHC)), (&true.into(), 1));
    assert!(text(&run.stdout).contains("does not any more"), "{}", told(&run));
    assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
}

#[test]
fn a_refusal_and_a_lost_answer_are_told_as_they_are() {
    for (fault, answer, on) in [
        ("return-value:3", "refused", false),
        ("drop-before", "unknown", false),
        ("stall", "unknown", false),
        ("drop-after", "unknown", true),
        ("garbage", "unknown", true),
    ] {
        let scratch = scratch();
        let fault = format!("{MHC}={fault}");
        let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &["--fault", &fault]);
        let run = apply(&machine, &asking, &out);
        assert_eq!(counter(&machine, MHC), 1, "{fault}: sent again");
        let ended = format!("enabled SetAmtOperationalState {answer}");
        assert_eq!(switches(&out), ["enabling SetAmtOperationalState", ended.as_str()], "{fault}");
        if !on {
            assert_eq!(
                (code(&run), &json(&run)["changed"]),
                (Some(5), &false.into()),
                "{fault}: {}",
                told(&run)
            );
            assert_eq!(machine.state()["amt_disabled"], true, "{fault}");
            assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
        } else {
            assert_used(&run, &machine, &asking, &out, 1);
        }
    }
}

#[test]
fn killed_while_it_is_switched_on_one_more_run_uses_it() {
    for side in ["before", "after"] {
        let scratch = scratch();
        let fault = format!("{MHC}=kill-peer-{side}");
        let (machine, asking, out) = off("vpro-desktop-amt18", scratch.path(), &["--fault", &fault]);
        let ended = agent_command().args(arguments(&machine, &asking, &out)).output().unwrap();
        assert_eq!(code(&ended), None, "it was killed");
        assert_eq!(switches(&out), ["enabling SetAmtOperationalState"]);
        assert_used(&apply(&machine, &asking, &out), &machine, &asking, &out, 1);
        assert_eq!(counter(&machine, MHC), if side == "before" { 2 } else { 1 });
    }
}
