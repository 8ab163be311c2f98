//! `lockdown`: AMT is switched off by its own firmware, once, and read back; what is missing is said; a lost answer is
//! never answered by sending again.

use std::path::Path;
use std::process::Output;

use oob_tests::provisioning::policy;
use oob_tests::{Machine, agent, agent_command, code, files, json, neutralize_policy, scratch, stride, text};
use serde_json::Value;

use crate::remote::payload;

const PTHI: &str = "pthi:0x04000088";
const MHC: &str = "mhc:0x53";

fn arguments(verb: &str, machine: &Machine, dir: &Path) -> Vec<String> {
    let policy = neutralize_policy(dir, "methods = [\"soft-disable\", \"lockdown\", \"report-only\"]");
    let mut arguments = vec![verb.to_owned(), "--json".to_owned()];
    for (name, path) in [("--root", &machine.dir), ("--policy", &policy), ("--out", &dir.join("out"))] {
        arguments.extend([name.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    arguments
}

fn apply(machine: &Machine, dir: &Path) -> Output {
    agent(arguments("apply", machine, dir))
}

/// What the journal tells of AMT being switched: the entry, its call, and the answer where it has one.
pub(crate) fn switches(dir: &Path) -> Vec<String> {
    let journal = files(dir).into_iter().find(|file| file.ends_with("journal.jsonl"));
    let journal = std::fs::read_to_string(journal.expect("a journal")).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let words = |line: Value| {
        ["entry", "call", "answer"].map(|name| line[name].as_str().unwrap_or_default().to_owned()).join(" ")
    };
    let of_a_switch = |line: &String| {
        ["enabling ", "enabled ", "disabling ", "disabled "].iter().any(|word| line.starts_with(word))
    };
    lines.map(words).map(|line| line.trim_end().to_owned()).filter(of_a_switch).collect()
}

/// The body of the event that an outcome names.
#[track_caller]
pub(crate) fn body_of(outcome: &Value, dir: &Path) -> Value {
    let event = outcome["evidence"]["event"].as_str().expect("an outcome that names its event");
    let named = files(dir).into_iter().find(|file| file.display().to_string().contains(event));
    payload(&named.expect("that event"))["body"].clone()
}

fn count(machine: &Machine, call: &str) -> usize {
    machine.calls().iter().filter(|it| *it == call).count()
}

fn finding<'a>(result: &'a Value, id: &str) -> Option<&'a Value> {
    result["findings"].as_array().unwrap().iter().find(|it| it["id"] == id)
}

/// Off, proven, told as not satisfied; and a second run sends nothing that changes anything.
fn assert_locked(run: &Output, machine: &Machine, dir: &Path, when: &str) {
    assert_eq!(code(run), Some(8), "{when}: {}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(run);
    let outcome = &result["outcomes"][0];
    assert_eq!(
        (&outcome["step"], &outcome["status"]),
        (&"neutralize.lockdown".into(), &"done".into()),
        "{when}"
    );
    assert_eq!(
        (&result["changed"], &result["reason"]),
        (&true.into(), &"default-mebx-password".into()),
        "{when}"
    );
    assert_eq!(outcome["evidence"]["proof"], "read-back", "{when}");
    assert_eq!(outcome["evidence"]["verdict"], "not-satisfied: default MEBx password", "{when}");
    assert!(text(&run.stdout).contains("soft-disable: no --firmware-image"), "{when}");
    let amt = &result["capability"]["channels"][0];
    assert_eq!((&amt["state"], &amt["confidence"]), (&"disabled".into(), &"proven".into()), "{when}");
    assert!(finding(&result, "amt-off-default-mebx").is_some(), "{when}");
    assert_eq!(machine.state()["amt_disabled"], true, "{when}");
    assert_rests(machine, dir, when);
}

fn assert_rests(machine: &Machine, dir: &Path, when: &str) {
    let mutating = machine.mutating_calls();
    let again = apply(machine, dir);
    let result = json(&again);
    assert_eq!(code(&again), Some(8), "{when}: {}", text(&again.stderr));
    let outcome = &result["outcomes"][0];
    assert_eq!(
        (&outcome["step"], &outcome["status"], &result["changed"], &result["reason"]),
        (
            &"neutralize.locked-down".into(),
            &"already_so".into(),
            &false.into(),
            &"default-mebx-password".into()
        ),
        "{when}"
    );
    assert_eq!(machine.mutating_calls(), mutating, "{when}: the second run sent a mutating call");
}

#[test]
fn amt_is_switched_off_and_a_second_run_changes_nothing() {
    for profile in ["vpro-desktop-amt12", "ism-desktop-amt14", "vpro-desktop-amt16", "vpro-desktop-amt16-1"] {
        let scratch = scratch();
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let plan = agent(arguments("plan", &machine, scratch.path()));
        assert_eq!(code(&plan), Some(8), "{profile}: {}", text(&plan.stderr));
        assert_eq!(machine.mutating_calls(), 0, "{profile}: a plan touches nothing");
        let run = apply(&machine, scratch.path());
        assert_eq!((machine.mutating_calls(), count(&machine, PTHI)), (1, 1), "{profile}");
        assert_locked(&run, &machine, scratch.path(), profile);
        let body = body_of(&json(&run)["outcomes"][0], &scratch.path().join("out"));
        assert_eq!((&body["call"], &body["mebx"]), (&"CFG_DisableAndClearAMT".into(), &"not-changed".into()));
    }
}

#[test]
fn the_journal_tells_of_the_call_before_it_is_sent() {
    let scratch = scratch();
    let fault = format!("{PTHI}=kill-peer-before");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &fault]);
    assert_eq!(code(&apply(&machine, scratch.path())), None, "the agent was not killed");
    assert_eq!(machine.state()["amt_disabled"], false);
    assert_eq!(switches(scratch.path()), ["disabling CFG_DisableAndClearAMT"]);
    assert_locked(&apply(&machine, scratch.path()), &machine, scratch.path(), "after the kill");
    // The same of the second way.
    let scratch = self::scratch();
    let faults =
        ["--fault", &format!("{PTHI}=return-value:2051#*"), "--fault", &format!("{MHC}=kill-peer-before")];
    let machine = Machine::start("vpro-desktop-amt16-1", &scratch.path().join("vpro"), &faults);
    assert_eq!(code(&apply(&machine, scratch.path())), None, "the agent was not killed");
    let told = ["disabling CFG_DisableAndClearAMT", "disabled CFG_DisableAndClearAMT refused"];
    assert_eq!(switches(scratch.path()), [&told[..], &["disabling SetAmtOperationalState"]].concat());
    assert_locked(&apply(&machine, scratch.path()), &machine, scratch.path(), "after the kill");
    let last = switches(scratch.path()).pop();
    assert_eq!(last.as_deref(), Some("disabled SetAmtOperationalState accepted"));
}

/// Between the look and the call: the plan was another one then.
#[test]
fn what_was_provisioned_meanwhile_is_not_switched_off() {
    for asked in ["pthi:0x0400006b", "pthi:0x04000011"] {
        let scratch = scratch();
        let fault = format!("{asked}=odd-values#2");
        let machine =
            Machine::start("vpro-desktop-amt16-1", &scratch.path().join("vpro"), &["--fault", &fault]);
        let run = apply(&machine, scratch.path());
        assert_eq!(code(&run), Some(5), "{asked}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let result = json(&run);
        assert_eq!((&result["reason"], &result["changed"]), (&"state-changed".into(), &false.into()));
        assert_eq!(
            (machine.mutating_calls(), &machine.state()["amt_disabled"]),
            (0, &false.into()),
            "{asked}"
        );
    }
}

#[test]
fn killed_at_any_point_one_more_run_ends_with_amt_off() {
    let mut tried = 0;
    for point in (1..).step_by(stride(29, 5)) {
        let (when, scratch) = (format!("crash point {point}"), scratch());
        let machine = Machine::start("vpro-desktop-amt16-1", &scratch.path().join("vpro"), &[]);
        let mut command = agent_command();
        command.args(arguments("apply", &machine, scratch.path())).env("OOB_PROBE_KILL", point.to_string());
        let ended = command.output().expect("running oob-agent");
        let over = code(&ended).is_some();
        if !over {
            let again = apply(&machine, scratch.path());
            assert_eq!(code(&again), Some(8), "{when}: {}", text(&again.stderr));
        }
        assert_eq!(
            (&machine.state()["amt_disabled"], count(&machine, PTHI) <= 1),
            (&true.into(), true),
            "{when}"
        );
        assert_rests(&machine, scratch.path(), &when);
        if over {
            break;
        }
        tried += 1;
    }
    assert!(tried > 2, "only {tried} points");
}

#[test]
fn provisioned_amt_is_left_alone() {
    // By the plan, where it is seen; by the precondition and the firmware, where it happens meanwhile.
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let use_it = policy(scratch.path(), "control_mode = \"ccm\"");
    let set_up = crate::use_acm::apply(&machine, &use_it, &scratch.path().join("other"));
    assert_eq!(code(&set_up), Some(0), "{}", text(&set_up.stderr));
    let mutating = machine.mutating_calls();
    let run = apply(&machine, scratch.path());
    assert_eq!(code(&run), Some(8), "{}", text(&run.stderr));
    let result = json(&run);
    assert_eq!(
        (&result["outcomes"][0]["step"], &result["changed"]),
        (&"neutralize.report-only".into(), &false.into())
    );
    assert!(text(&run.stdout).contains("lockdown: AMT is provisioned (state post, control mode ccm)"));
    assert_eq!((machine.mutating_calls(), &machine.state()["amt_disabled"]), (mutating, &false.into()));
}

#[test]
fn firmware_before_12_is_not_asked() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt11", &scratch.path().join("vpro"), &[]);
    let run = apply(&machine, scratch.path());
    assert_eq!(code(&run), Some(8), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("AMT 11.8.50.3425 has no such command"), "{}", text(&run.stdout));
    assert_eq!(machine.mutating_calls(), 0);
}

#[test]
fn a_refusal_leaves_amt_as_it_was_and_is_told() {
    let scratch = scratch();
    let fault = format!("{PTHI}=return-value:3#*");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &fault]);
    let run = apply(&machine, scratch.path());
    assert_eq!(code(&run), Some(5), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    assert_eq!((&result["reason"], &result["changed"]), (&"lockdown-refused".into(), &false.into()));
    assert_eq!((count(&machine, PTHI), &machine.state()["amt_disabled"]), (1, &false.into()));
    let told = ["disabling CFG_DisableAndClearAMT", "disabled CFG_DisableAndClearAMT refused"];
    assert_eq!(switches(scratch.path()), told);
}

#[test]
fn from_16_1_on_a_refusal_is_followed_by_the_switch() {
    let scratch = scratch();
    let fault = format!("{PTHI}=return-value:2051#*");
    let machine = Machine::start("vpro-desktop-amt16-1", &scratch.path().join("vpro"), &["--fault", &fault]);
    let run = apply(&machine, scratch.path());
    assert_eq!((count(&machine, PTHI), count(&machine, MHC)), (1, 1));
    assert_locked(&run, &machine, scratch.path(), "by MHC");
    assert!(text(&run.stdout).contains("root's rights can take back"), "{}", text(&run.stdout));
}

#[test]
fn a_switch_that_the_host_may_not_move_is_not_tried() {
    let scratch = scratch();
    let options = ["--switch-locked", "--fault", &format!("{PTHI}=return-value:2051#*")];
    let machine = Machine::start("vpro-desktop-amt16-1", &scratch.path().join("vpro"), &options);
    let run = apply(&machine, scratch.path());
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(5), &"lockdown-refused".into()));
    assert!(text(&run.stdout).contains("over MHC it may not be switched (0x82)"), "{}", text(&run.stdout));
    assert_eq!((count(&machine, PTHI), count(&machine, MHC)), (1, 0));
}

#[test]
fn a_lost_answer_is_probed_and_never_answered_by_sending_again() {
    for profile in ["vpro-desktop-amt16", "vpro-desktop-amt16-1"] {
        for (fault, acted) in
            [("drop-after", true), ("garbage", true), ("drop-before", false), ("stall", false)]
        {
            let (when, scratch) = (format!("{profile} {fault}"), scratch());
            let fault = format!("{PTHI}={fault}");
            let machine = Machine::start(profile, &scratch.path().join("vpro"), &["--fault", &fault]);
            let run = apply(&machine, scratch.path());
            assert_eq!(count(&machine, PTHI), 1, "{when}: sent again");
            assert_eq!(machine.state()["amt_disabled"], acted, "{when}");
            if acted {
                assert_locked(&run, &machine, scratch.path(), &when);
            } else {
                assert_eq!(code(&run), Some(5), "{when}: {}", text(&run.stderr));
                assert_eq!(
                    (&json(&run)["reason"], &json(&run)["changed"]),
                    (&"lockdown-lost".into(), &false.into()),
                    "{when}"
                );
                // One more run looks first, and then does it.
                assert_locked(&apply(&machine, scratch.path()), &machine, scratch.path(), &when);
            }
        }
    }
}

#[test]
fn an_odd_answer_while_it_is_watched_is_passed_over() {
    // The third time it is asked for its control mode is after the call whose answer was lost.
    let scratch = scratch();
    let faults = ["--fault", "pthi:0x0400006b=return-value:1#3", "--fault", "pthi:0x04000088=drop-after"];
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &faults);
    let run = apply(&machine, scratch.path());
    assert_locked(&run, &machine, scratch.path(), "one odd answer while watching");
}

/// A machine with this fault, whose AMT answers something else for as long as it is watched after the call.
fn watched(profile: &str, dir: &Path, fault: &str, seen: &str) -> Machine {
    let mut faults: Vec<String> = (3..200).map(|nth| format!("{seen}#{nth}")).collect();
    faults.push(fault.to_owned());
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    Machine::start(profile, &dir.join("vpro"), &faults)
}

const NO_CLIENT: &str = "connect:pthi=errno:25";
const SAYS_NOTHING: &str = "pthi:0x0400006b=return-value:1";
/// That AMT is disabled.
const SAYS_OFF: &str = "pthi:0x0400006b=return-value:16384";

#[test]
fn what_the_two_witnesses_say_decides_and_not_the_answer_to_the_call() {
    for (profile, answer, seen, expected) in [
        // Accepted, and nothing shows it.
        ("vpro-desktop-amt16", "return-value:0", "call:999=stall", (6, "indeterminate", "")),
        // Refused, and off all the same.
        ("vpro-desktop-amt16", "return-value:3", SAYS_OFF, (8, "default-mebx-password", "read-back")),
        // PTHI says off, and MHC says on.
        ("vpro-desktop-amt16-1", "drop-before", SAYS_OFF, (6, "indeterminate", "")),
        // PTHI says nothing that tells, and MHC says off.
        ("vpro-desktop-amt16-1", "drop-after", SAYS_NOTHING, (8, "default-mebx-password", "read-back")),
        // The client is gone, which proves nothing by itself; MHC says off.
        ("vpro-desktop-amt16", "drop-after", NO_CLIENT, (8, "default-mebx-password", "client-gone")),
        ("vpro-desktop-amt16-1", "drop-after", NO_CLIENT, (8, "default-mebx-password", "read-back")),
    ] {
        let (when, scratch) = (format!("{profile} {answer} {seen}"), scratch());
        let machine = watched(profile, scratch.path(), &format!("{PTHI}={answer}"), seen);
        let run = apply(&machine, scratch.path());
        let result = json(&run);
        let proof = result["outcomes"][0]["evidence"]["proof"].as_str().unwrap_or_default();
        assert_eq!(
            (code(&run).unwrap(), result["reason"].as_str().unwrap(), proof),
            expected,
            "{when}: {}\n{}",
            text(&run.stdout),
            text(&run.stderr)
        );
        assert_eq!((count(&machine, PTHI), count(&machine, MHC)), (1, 0), "{when}");
    }
}

#[test]
fn a_client_that_comes_back_was_not_switched_off() {
    let scratch = scratch();
    let faults = ["--fault", &format!("{PTHI}=drop-before"), "--fault", &format!("{NO_CLIENT}#3")];
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &faults);
    let run = apply(&machine, scratch.path());
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(5), &"lockdown-lost".into()),
        "{}",
        text(&run.stdout)
    );
    assert_eq!((count(&machine, PTHI), &machine.state()["amt_disabled"]), (1, &false.into()));
}

#[test]
fn a_device_that_cannot_be_read_back_is_told_as_unknown() {
    let scratch = scratch();
    // After the call it answers nothing but errors for as long as it is watched.
    let machine = watched("vpro-desktop-amt16", scratch.path(), "call:999=stall", SAYS_NOTHING);
    let run = apply(&machine, scratch.path());
    assert_eq!(code(&run), Some(6), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    assert_eq!((&result["reason"], &result["changed"]), (&"indeterminate".into(), &true.into()));
    assert_eq!((count(&machine, PTHI), &machine.state()["amt_disabled"]), (1, &true.into()));
    assert_rests(&machine, scratch.path(), "the next run sees it off");
}

/// Starts the machine again as far as its kernel tells: another boot id.
pub(crate) fn boots(machine: &Machine, boot: u8) {
    let file = machine.dir.join("proc/sys/kernel/random/boot_id");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("00000000-0000-4000-8000-0000000000{boot:02}\n")).unwrap();
}

/// Looks, and compares verdict, exit code, reason and whether org state changed.
#[track_caller]
pub(crate) fn verify(machine: &Machine, dir: &Path, expected: (&str, i32, &str, bool)) -> Value {
    let mut arguments = vec!["verify".to_owned(), "--json".to_owned()];
    for (name, path) in [("--root", &machine.dir), ("--out", &dir.join("out"))] {
        arguments.extend([name.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let mutating = machine.mutating_calls();
    let run = agent(arguments);
    let result = json(&run);
    let told = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
    let changed = result["changed"] == true;
    assert_eq!(
        (told("verdict").as_str(), code(&run).unwrap(), told("reason").as_str(), changed),
        expected,
        "{result:#}\n{}",
        text(&run.stderr)
    );
    assert_eq!(machine.mutating_calls(), mutating, "a look changes nothing");
    result
}

#[test]
fn verify_says_effective_on_a_later_boot_only() {
    for profile in ["vpro-desktop-amt16", "vpro-desktop-amt16-1"] {
        let scratch = scratch();
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        boots(&machine, 1);
        let dir = scratch.path();
        let run = apply(&machine, dir);
        assert_locked(&run, &machine, dir, profile);
        let body = body_of(&json(&run)["outcomes"][0], &dir.join("out"));
        assert_eq!(body["boot_id"], "00000000-0000-4000-8000-000000000001");
        let look = |expected| verify(&machine, dir, expected);
        look(("staged", 10, "same-boot", false));
        boots(&machine, 2);
        let result = look(("effective", 8, "default-mebx-password", true));
        assert!(result["text"].as_str().unwrap().contains("default MEBx password"), "{result:#}");
        let names: Vec<_> =
            result["evidence"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
        assert_eq!(names.contains(&"mhc".into()), profile.ends_with("-1"), "{names:?}");
        let event = result["event"].clone();
        let again = look(("effective", 8, "default-mebx-password", false));
        assert_eq!((&again["event"], event.is_null()), (&event, false));
        // The look is no lockdown of its own: apply still names the run that did it.
        assert_rests(&machine, dir, profile);
        look(("effective", 8, "default-mebx-password", false));
        // Enabled again: a machine of the same make in its place, on.
        drop(machine);
        let machine = Machine::start(profile, &dir.join("vpro"), &[]);
        boots(&machine, 3);
        verify(&machine, dir, ("staged", 9, "lockdown-reverted", true));
        verify(&machine, dir, ("staged", 9, "lockdown-reverted", false));
    }
}
