//! `use` on AMT 19 and newer, which speaks TLS alone: its own die is verified, admin control mode goes over mutual TLS, and
//! nothing lasts before the commit, whose answer is lost.

use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Chain, Leaf, Org, SETTINGS, policy, raise_serial};
use oob_tests::{Machine, code, files, json, scratch, text};
use serde_json::Value;

use crate::deaths::{Death, die, undisturbed};
use crate::honesty::{Target, not_as_policy_asks, passwords_outside_escrow, sealed};
use crate::known::{live, name, opened, taking, with};
use crate::remote::payload;
use crate::use_acm::apply;
use crate::wanted::Wanted;

const PROFILES: [&str; 2] = ["vpro-desktop-amt19", "vpro-desktop-amt20"];
const CCM: &str = "control_mode = \"ccm\"";

fn outcome(result: &Value) -> &Value {
    &result["outcomes"][0]
}

/// As the second run must be: nothing changed, nothing sent that could.
fn rests(machine: &Machine, policy: &Path, out: &Path, what: &str) {
    let mutating = machine.mutating_calls();
    let second = apply(machine, policy, out);
    let result = json(&second);
    let seen = (code(&second), &result["changed"], &outcome(&result)["status"]);
    assert_eq!(seen, (Some(0), &false.into(), &"already_so".into()), "{what}: {}", text(&second.stderr));
    assert_eq!(machine.mutating_calls(), mutating, "{what}: the second run sent a mutating call");
}

fn assert_done(run: &Output, machine: &Machine, out: &Path, mode: u64, what: &str) {
    assert_eq!(code(run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
    let state = machine.state();
    let seen = (&state["control_mode"], &state["provisioning_state"]);
    assert_eq!(seen, (&mode.into(), &2.into()), "{what}");
    assert_eq!(passwords_outside_escrow(&state, out), None, "{what}");
}

/// As before the run, and nothing of it is left.
fn assert_untouched(machine: &Machine, out: &Path, what: &str) {
    let state = machine.state();
    let seen = (&state["control_mode"], &state["provisioning_state"], &state["announced"]);
    assert_eq!(seen, (&0.into(), &0.into(), &false.into()), "{what}");
    assert_eq!(state["mebx_sha256"], Value::Null, "{what}");
    assert_eq!(passwords_outside_escrow(&state, out), None, "{what}");
}

/// The proof that this machine is ours, as an auditor reads it.
fn proof(out: &Path) -> Value {
    let events = files(out).into_iter().filter(|file| file.to_str().unwrap().ends_with(".dsse.json"));
    let proofs = events.map(|file| payload(&file)).filter(|event| event["kind"] == "verified");
    proofs.max_by_key(|event| event["seq"].as_u64()).unwrap()["body"].clone()
}

#[test]
fn client_control_mode_is_committed_and_rests_there() {
    for profile in PROFILES {
        let scratch = scratch();
        let policy = policy(scratch.path(), CCM);
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let first = apply(&machine, &policy, &out);
        assert_done(&first, &machine, &out, 1, profile);
        let result = json(&first);
        let evidence = &outcome(&result)["evidence"];
        assert_eq!(
            (&evidence["on_die_root"], &evidence["upid"]),
            (&"the simulation's".into(), &"compared".into()),
            "{profile}"
        );
        assert!(evidence["quirks"][0].as_str().unwrap().starts_with("Q-AMT-0001"), "{evidence}");
        assert_eq!(sealed(&out, "amt")[0]["endpoint"], "16993/https-digest", "{profile}");
        // Without a word of policy on TLS, what it shows since is what a later run holds it to.
        let state = machine.state();
        assert_eq!(state["tls"]["serving"], evidence["tls_certificate_sha256"], "{profile}");
        let proof = proof(&out);
        assert_eq!(proof["tls_certificate_sha256"], state["tls"]["serving"], "{profile}");
        let seen = proof["proof"][0].as_str().unwrap();
        assert!(seen.contains("the simulation's root") && seen.contains("bound to this platform"), "{seen}");
        assert_eq!(state["counters"]["wsman:AMT_SetupAndConfigurationService.CommitChanges"], 1);
        rests(&machine, &policy, &out, profile);
    }
}

#[test]
fn admin_control_mode_is_committed_over_mutual_tls_and_rests_there() {
    for profile in PROFILES {
        let scratch = scratch();
        let org = Org::new(scratch.path(), SETTINGS);
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let first = apply(&machine, &org.policy, &out);
        assert_done(&first, &machine, &out, 2, profile);
        let state = machine.state();
        assert_eq!(not_as_policy_asks(&state, true), None, "{profile}");
        assert_eq!((sealed(&out, "amt").len(), sealed(&out, "amt-mebx").len()), (1, 1), "{profile}");
        for once in ["SetMEBxPassword", "CommitChanges"] {
            let call = format!("wsman:AMT_SetupAndConfigurationService.{once}");
            assert_eq!(state["counters"][&call], 1, "{profile} {once}");
        }
        let proof = proof(&out);
        assert!(proof["proof"][0].as_str().unwrap().contains("whose leaf AMT named over MEI"), "{proof}");
        rests(&machine, &org.policy, &out, profile);
    }
}

/// AMT does not commit without a MEBx password, so it gets one; a policy that asks for it afterwards has it.
#[test]
fn mebx_has_its_password_whether_or_not_policy_asks() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "");
    let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    let first = apply(&machine, &org.policy, &out);
    assert_done(&first, &machine, &out, 2, "first");
    let told = outcome(&json(&first))["text"].as_str().unwrap().to_owned();
    assert!(told.contains("AMT took the MEBx password and gives no way to read it back"), "{told}");
    let more = Org::new(scratch.path(), "mebx = true");
    raise_serial(&more.policy, 2);
    rests(&machine, &more.policy, &out, "mebx asked for afterwards");
}

/// What the references know of this firmware's ways, or leave open.
#[test]
fn every_way_of_this_firmware_is_gone() {
    for options in [
        &["--on-die-chain", "6-rootless"][..],
        &["--on-die-chain", "4"],
        &["--no-server-auth"],
        &["--tls12-only"],
        &["--tls13-drops"],
        &["--slow-commit"],
        &["--slow-commit", "--commit-answers"],
        &["--close-each"],
        &["--lme-drops-on-close"],
        &["--close-each", "--lme-drops-on-close"],
        &["--commit-answers"],
        &["--hash-as-text"],
        &["--no-challenge"],
        &["--upid-unset"],
        &["--no-upid"],
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "sol = true, tls = \"required\"");
        let machine = Machine::start(
            PROFILES[0],
            &scratch.path().join("vpro"),
            &[&org.trusted()[..], options].concat(),
        );
        let out = scratch.path().join("out");
        let what = options.join(" ");
        let run = apply(&machine, &org.policy, &out);
        assert_done(&run, &machine, &out, 2, &what);
        let upid = outcome(&json(&run))["evidence"]["upid"].as_str().unwrap().to_owned();
        assert_eq!(upid == "compared", !what.contains("upid"), "{what}: {upid}");
        rests(&machine, &org.policy, &out, &what);
    }
}

/// Who is not this machine's firmware is not told anything, and nothing is changed.
#[test]
fn a_stranger_at_the_other_end_is_refused() {
    for (option, told, modes) in [
        ("--wrong-on-die-root", "does not end at Intel's on-die root", &["ccm", "acm"][..]),
        ("--foreign-upid", "another machine", &["ccm", "acm"]),
        ("--on-die-chain=1", "it is not in pre-provisioning any more", &["ccm", "acm"]),
        ("--wrong-leaf-hash", "somebody stands in between", &["acm"]),
    ] {
        for mode in modes {
            let scratch = scratch();
            let org = Org::new(scratch.path(), "");
            let ccm = scratch.path().join("ccm");
            std::fs::create_dir(&ccm).unwrap();
            let policy = if *mode == "ccm" { policy(&ccm, CCM) } else { org.policy.clone() };
            let options = [&org.trusted()[..], &[option]].concat();
            let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &options);
            let out = scratch.path().join("out");
            let run = apply(&machine, &policy, &out);
            let result = json(&run);
            assert_eq!(
                (code(&run), &result["reason"]),
                (Some(5), &"amt-not-trusted".into()),
                "{mode} {option}: {}",
                text(&run.stderr)
            );
            assert!(result["text"].as_str().unwrap().contains(told), "{mode} {option}: {}", result["text"]);
            assert_untouched(&machine, &out, option);
            let state = machine.state();
            assert_eq!(state["per_kind"]["Invoke"], Value::Null, "{mode} {option}: {}", state["per_kind"]);
            // Only where AMT was to name its leaf was anything begun, and that was taken back.
            let begun = state["counters"].get("pthi:0x0400005e").is_some();
            assert_eq!(begun, option == "--wrong-leaf-hash", "{mode} {option}");
        }
    }
}

/// Whatever goes wrong before the commit is taken back whole; what is lost with the answer is found out.
#[test]
fn what_goes_wrong_before_the_commit_is_taken_back() {
    const COMMIT: &str = "wsman:AMT_SetupAndConfigurationService.CommitChanges";
    const MEBX: &str = "wsman:AMT_SetupAndConfigurationService.SetMEBxPassword";
    const ACL: &str = "wsman:AMT_AuthorizationService.SetAdminAclEntryEx";
    const SETUP: &str = "wsman:IPS_HostBasedSetupService.Setup";
    for (mode, fault, told) in [
        ("acm", "pthi:0x0400008b=return-value:16".to_owned(), Some("still unprovisioned")),
        ("acm", "pthi:0x0400008b=drop-before".to_owned(), Some("StartConfigurationHBased")),
        ("acm", "pthi:0x0400008b=drop-after".to_owned(), Some("rolled back")),
        ("acm", format!("{ACL}=return-value:1"), Some("rolled back")),
        ("acm", format!("{ACL}=drop-after"), Some("rolled back")),
        ("acm", format!("{MEBX}=return-value:2054"), Some("rolled back")),
        ("acm", format!("{MEBX}=http-500"), Some("rolled back")),
        ("acm", format!("{COMMIT}=return-value:2057"), Some("rolled back")),
        ("acm", format!("{COMMIT}=drop-before"), Some("rolled back")),
        ("acm", format!("{COMMIT}=me-restart"), Some("unprovisioned as before")),
        ("ccm", format!("{COMMIT}=me-restart"), Some("unprovisioned as before")),
        ("acm", format!("{COMMIT}=drop-after"), None),
        ("ccm", format!("{SETUP}=return-value:1"), Some("still unprovisioned")),
        ("ccm", format!("{SETUP}=drop-after"), None),
        ("ccm", format!("{COMMIT}=return-value:1"), Some("rolled back")),
        ("ccm", format!("{COMMIT}=drop-before"), Some("rolled back")),
        ("ccm", format!("{COMMIT}=garbage"), None),
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "");
        let ccm = scratch.path().join("ccm");
        std::fs::create_dir(&ccm).unwrap();
        let policy = if mode == "ccm" { policy(&ccm, CCM) } else { org.policy.clone() };
        let options = [&org.trusted()[..], &["--fault", &fault]].concat();
        let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &options);
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        let what = format!("{mode} {fault}");
        let state = machine.state();
        for once in [COMMIT, MEBX, ACL, SETUP, "pthi:0x0400008b"] {
            assert!(state["counters"][once].as_u64().unwrap_or(0) <= 1, "{what}: {once} was sent again");
        }
        match told {
            None => assert_done(&run, &machine, &out, if mode == "acm" { 2 } else { 1 }, &what),
            Some(told) => {
                let result = json(&run);
                assert_eq!(code(&run), Some(5), "{what}: {}\n{}", result["text"], text(&run.stderr));
                assert!(result["text"].as_str().unwrap().contains(told), "{what}: {}", result["text"]);
                assert_untouched(&machine, &out, &what);
            }
        }
        // And the run that comes after it ends at the target.
        let next = apply(&machine, &policy, &out);
        assert_done(&next, &machine, &out, if mode == "acm" { 2 } else { 1 }, &format!("{what}, then"));
        rests(&machine, &policy, &out, &what);
    }
}

/// Where TLS with the announced certificate is the login, a request without another one is no question: LMS that hangs up on
/// it is not asked again.
#[test]
fn nothing_that_counts_once_is_sent_twice_where_tls_is_the_login() {
    const MEBX: &str = "wsman:AMT_SetupAndConfigurationService.SetMEBxPassword";
    const ACL: &str = "wsman:AMT_AuthorizationService.SetAdminAclEntryEx";
    for call in [ACL, MEBX] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "");
        let fault = format!("{call}=drop-after");
        let options = [&org.trusted()[..], &["--lms", "--no-challenge", "--fault", &fault]].concat();
        let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &options);
        let out = scratch.path().join("out");
        let run = apply(&machine, &org.policy, &out);
        assert_eq!(code(&run), Some(5), "{call}: {}", text(&run.stdout));
        assert_eq!(machine.state()["counters"][call], 1, "{call} was sent again");
        assert_untouched(&machine, &out, call);
        assert_done(&apply(&machine, &org.policy, &out), &machine, &out, 2, call);
        rests(&machine, &org.policy, &out, call);
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_seen_before_anything_begins() {
    for (mode, exit) in [("acm", 8), ("acm-or-ccm", 0)] {
        let scratch = scratch();
        let chain = Chain::of(Leaf::default());
        let org = Org::with(scratch.path(), &chain.root, &chain.bundle(), mode, "");
        // Nobody told this machine of the root.
        let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &org.policy, &out);
        assert_eq!(code(&run), Some(exit), "{mode}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let state = machine.state();
        assert_eq!(state["counters"].get("pthi:0x0400008b"), None, "{mode}");
        if exit == 0 {
            assert_eq!(state["control_mode"], 1);
            assert!(outcome(&json(&run))["evidence"]["instead_of_acm"].is_string());
            rests(&machine, &org.policy, &out, mode);
        } else {
            assert_eq!(json(&run)["reason"], "certificate-not-fit");
            assert_untouched(&machine, &out, mode);
        }
    }
}

/// In provisioning by others: seen, told, and not touched.
#[test]
fn what_others_began_is_left_alone() {
    for option in ["--in-provisioning", "--half-set-up"] {
        let scratch = scratch();
        let policy = policy(scratch.path(), CCM);
        let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &[option]);
        let run = apply(&machine, &policy, &scratch.path().join("out"));
        assert_eq!(
            (code(&run), &json(&run)["reason"]),
            (Some(8), &"provisioned-by-others".into()),
            "{option}: {}",
            text(&run.stderr)
        );
        assert_eq!((machine.mutating_calls(), &machine.state()["provisioning_state"]), (0, &1.into()));
    }
}

/// Rotation, and taking over what others set up: the certificate is the proven one, or what it shows over MEI.
#[test]
fn a_known_credential_rotates_and_takes_over() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "");
    let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    assert_done(&apply(&machine, &org.policy, &out), &machine, &out, 2, "first");
    let known = |out: &Path| opened(&live(&machine.state(), out)[0], scratch.path());
    let rotated = with(&machine, &org.policy, &out, &[&known(&out)], &["--rotate"]);
    assert_done(&rotated, &machine, &out, 2, "rotated");
    assert_eq!(sealed(&out, "amt").len(), 2);
    rests(&machine, &org.policy, &out, "after the rotation");
    // Another org, which knows nothing of it but the password.
    let theirs = scratch.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let policy = taking(&theirs, ", sol = true, tls = \"required\"");
    let out_of_theirs = theirs.join("out");
    let taken = with(&machine, &policy, &out_of_theirs, &[&known(&out)], &[]);
    assert_eq!(code(&taken), Some(0), "{}\n{}", text(&taken.stdout), text(&taken.stderr));
    assert_eq!(live(&machine.state(), &out_of_theirs).len(), 1, "their password is the live one");
    assert_eq!(proof(&out_of_theirs)["tls_certificate_sha256"], machine.state()["tls"]["serving"]);
    rests(&machine, &policy, &out_of_theirs, "after the take-over");
}

/// AMT that took `CommitChanges` of a run that saw no answer, and nothing after.
fn killed_behind_the_commit(dir: &Path, settings: &str) -> (Org, Machine, PathBuf) {
    let org = Org::new(dir, settings);
    let fault = "wsman:AMT_SetupAndConfigurationService.CommitChanges=kill-peer-after";
    let options = [&org.trusted()[..], &["--fault", fault]].concat();
    let machine = Machine::start(PROFILES[0], &dir.join("vpro"), &options);
    let out = dir.join("out");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), None, "it was not killed");
    (org, machine, out)
}

/// Where policy says nothing of TLS, what AMT made for itself stands in the proof all the same: a later run has no other
/// way to know it by.
#[test]
fn without_a_word_on_tls_what_was_taken_over_or_finished_rests() {
    let scratch = scratch();
    let (org, machine, out) = killed_behind_the_commit(scratch.path(), "");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(6)); // its ports come back meanwhile
    let known = opened(&live(&machine.state(), &out)[0], scratch.path());
    assert_done(&with(&machine, &org.policy, &out, &[&known], &[]), &machine, &out, 2, "resumed");
    assert_eq!(proof(&out)["tls_certificate_sha256"], machine.state()["tls"]["serving"]);
    rests(&machine, &org.policy, &out, "after it was resumed");

    let theirs = scratch.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let (policy, out) = (taking(&theirs, ""), theirs.join("out"));
    let taken = with(&machine, &policy, &out, &[&known], &[]);
    assert_eq!(code(&taken), Some(0), "{}\n{}", text(&taken.stdout), text(&taken.stderr));
    assert_eq!(proof(&out)["tls_certificate_sha256"], machine.state()["tls"]["serving"]);
    rests(&machine, &policy, &out, "after the take-over");
}

/// Client control mode goes back without a password, committed or not.
#[test]
fn killed_in_client_control_mode_it_is_undone_and_done_again() {
    let commit = "wsman:AMT_SetupAndConfigurationService.CommitChanges";
    for call in ["wsman:IPS_HostBasedSetupService.Setup", commit] {
        for side in ["kill-peer-before", "kill-peer-after"] {
            let scratch = scratch();
            let policy = policy(scratch.path(), CCM);
            let fault = format!("{call}={side}");
            let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &["--fault", &fault]);
            let out = scratch.path().join("out");
            assert_eq!(code(&apply(&machine, &policy, &out)), None, "{fault}: it was not killed");
            let begun = machine.state()["provisioning_state"] != 0;
            let next = apply(&machine, &policy, &out);
            assert_done(&next, &machine, &out, 1, &fault);
            let undone = json(&next)["outcomes"][0]["step"] == "amt.undo";
            assert_eq!(undone, begun, "{fault}");
            rests(&machine, &policy, &out, &fault);
        }
    }
}

/// Killed behind the commit, the candidate is named, and with it the run is finished: the certificate that AMT made is
/// one that nobody has told of yet.
#[test]
fn killed_behind_the_commit_it_is_finished_with_the_credential() {
    let scratch = scratch();
    let (org, machine, out) = killed_behind_the_commit(scratch.path(), "sol = true, tls = \"required\"");
    let stuck = apply(&machine, &org.policy, &out);
    assert_eq!((code(&stuck), &json(&stuck)["reason"]), (Some(6), &"indeterminate".into()));
    let known = opened(&live(&machine.state(), &out)[0], scratch.path());
    let resumed = with(&machine, &org.policy, &out, &[&known], &[]);
    assert_done(&resumed, &machine, &out, 2, "resumed");
    assert_eq!(proof(&out)["tls_certificate_sha256"], machine.state()["tls"]["serving"]);
    rests(&machine, &org.policy, &out, "after it was resumed");
}

/// MEBx has a password of ours by then, whether or not policy asks for one: a run that finishes says which.
#[test]
fn killed_behind_the_commit_the_password_of_mebx_is_named() {
    let scratch = scratch();
    let (org, machine, out) = killed_behind_the_commit(scratch.path(), "");
    let files = files(&out).into_iter().map(|file| name(&file));
    let mebx = files.into_iter().find(|file| file.starts_with("amt-mebx.1.")).unwrap();
    let stuck = apply(&machine, &org.policy, &out);
    assert_eq!(code(&stuck), Some(6));
    assert!(json(&stuck)["text"].as_str().unwrap().contains(&mebx), "{}", text(&stuck.stdout));
    let known = opened(&live(&machine.state(), &out)[0], scratch.path());
    let resumed = with(&machine, &org.policy, &out, &[&known], &[]);
    assert_done(&resumed, &machine, &out, 2, "resumed");
    assert_ne!(machine.state()["mebx_sha256"], Value::Null);
    assert_eq!(outcome(&json(&resumed))["evidence"]["mebx_escrow"], mebx.as_str());
    for run in [resumed, apply(&machine, &org.policy, &out)] {
        let found = json(&run)["findings"].as_array().unwrap().clone();
        assert!(found.iter().all(|it| it["id"] != "mebx-password-unchanged"), "{found:?}");
        let uncertain = found.iter().find(|it| it["id"] == "mebx-password-uncertain").unwrap();
        assert!(uncertain.to_string().contains(&mebx), "{uncertain}");
    }
}

/// Where the proof fails behind the commit, both files are named that hold a password of it.
#[test]
fn a_proof_that_fails_behind_the_commit_names_both_passwords() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "");
    let options = [&org.trusted()[..], &["--fault", "wsman:AMT_GeneralSettings.Get=other-realm#3"]].concat();
    let machine = Machine::start(PROFILES[0], &scratch.path().join("vpro"), &options);
    let out = scratch.path().join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!((code(&run), &machine.state()["control_mode"]), (Some(6), &2.into()), "{}", text(&run.stdout));
    let told = json(&run)["text"].as_str().unwrap().to_owned();
    for file in files(&out).iter().map(|file| name(file)).filter(|file| file.ends_with(".age")) {
        assert!(told.contains(&file), "{file}: {told}");
    }
}

/// A sample of deaths on the way to admin control mode; the whole is in `deaths`.
#[test]
fn killed_before_the_commit_it_is_undone_and_done_again() {
    let scratch = scratch();
    let run = Wanted::new(Target::ADMIN, PROFILES[0], scratch.path());
    let (_, calls) = undisturbed(&run);
    let wanted = ["pthi:0x0400008b", "SetAdminAclEntryEx", "SetMEBxPassword", "CommitChanges"];
    let mut tried = 0;
    for (index, call) in
        calls.iter().enumerate().filter(|(_, call)| wanted.iter().any(|it| call.contains(it)))
    {
        for side in ["kill-peer-before", "kill-peer-after"] {
            let exit =
                die(&run, &Death::Call(side, index + 1)).unwrap_or_else(|why| panic!("{side} {call}: {why}"));
            let committed = call.contains("CommitChanges") && side == "kill-peer-after";
            assert_eq!(exit, if committed { "6" } else { "0" }, "{side} {call}");
            tried += 1;
        }
    }
    assert_eq!(tried, 8, "{calls:?}");
}
