//! `use` in admin control mode with a provisioning certificate, below AMT 19: every generation, every form of the
//! certificate, and again.

use std::fs;
use std::path::Path;
use std::process::Output;

use oob_tests::provisioning::{Org, PASSPHRASE, SETTINGS, fixture, policy, raise_serial};
use oob_tests::{Machine, agent, agent_command, code, files, json, scratch, text};

use crate::honesty::{not_as_policy_asks, passwords_outside_escrow, sealed};
use crate::use_ccm::escrow_files;

pub(crate) fn arguments<'a>(machine: &'a Machine, policy: &'a Path, out: &'a Path) -> [&'a str; 8] {
    let paths = [machine.dir.as_path(), policy, out].map(|path| path.to_str().unwrap());
    ["apply", "--root", paths[0], "--policy", paths[1], "--out", paths[2], "--json"]
}

pub(crate) fn apply(machine: &Machine, policy: &Path, out: &Path) -> Output {
    agent(arguments(machine, policy, out))
}

#[test]
fn every_generation_ends_in_admin_control_mode_as_policy_asks_and_rests_there() {
    for profile in [
        "vpro-desktop-amt11",
        "vpro-desktop-amt12",
        "ism-desktop-amt14",
        "vpro-desktop-amt15",
        "vpro-desktop-amt16",
        "vpro-desktop-amt16-1",
        "vpro-desktop-amt18",
    ] {
        let scratch = scratch();
        // Standard Manageability has no KVM: it can be asked to be off, and is.
        let kvm = !profile.starts_with("ism");
        let settings = SETTINGS.replace("kvm = true", &format!("kvm = {kvm}"));
        let org = Org::new(scratch.path(), &settings);
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let first = apply(&machine, &org.policy, &out);
        assert_eq!(code(&first), Some(0), "{profile}: {}\n{}", text(&first.stdout), text(&first.stderr));
        let result = json(&first);
        assert_eq!((&result["changed"], &result["reason"]), (&true.into(), &"satisfied".into()), "{profile}");
        let amt = &result["capability"]["channels"][0];
        assert_eq!(
            (&amt["state"], &amt["confidence"], &amt["control_mode"]),
            (&"verified".into(), &"proven".into(), &"acm".into()),
            "{profile}"
        );
        let state = machine.state();
        assert_eq!(
            (&state["control_mode"], &state["provisioning_state"]),
            (&2.into(), &2.into()),
            "{profile}"
        );
        assert_eq!(not_as_policy_asks(&state, kvm), None, "{profile}");
        assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.AddNextCertInChain"], 4, "{profile}");
        assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.AdminSetup"], 1, "{profile}");
        assert_eq!((sealed(&out, "amt").len(), sealed(&out, "amt-mebx").len()), (1, 1), "{profile}");
        assert_eq!(passwords_outside_escrow(&state, &out), None, "{profile}");

        let mutating = machine.mutating_calls();
        let second = apply(&machine, &org.policy, &out);
        assert_eq!(
            (code(&second), &json(&second)["changed"]),
            (Some(0), &false.into()),
            "{profile}: {}",
            text(&second.stderr)
        );
        assert_eq!(machine.mutating_calls(), mutating, "{profile}: the second run sent a mutating call");
        assert_eq!(escrow_files(&out).len(), 2, "{profile}");
    }
}

#[test]
fn a_policy_that_asks_for_more_afterwards_is_drift_and_touches_nothing() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "sol = true");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    let first = apply(&machine, &org.policy, &out);
    assert_eq!(code(&first), Some(0), "{}", text(&first.stderr));
    let (mutating, escrow) = (machine.mutating_calls(), escrow_files(&out));
    let more = Org::new(scratch.path(), "sol = true, kvm = true, consent = \"none\"");
    raise_serial(&more.policy, 2);
    for run in ["first", "second"] {
        let later = apply(&machine, &more.policy, &out);
        assert_eq!(
            (code(&later), &json(&later)["reason"], &json(&later)["changed"]),
            (Some(9), &"amt-incomplete".into(), &false.into()),
            "{run}: {}",
            text(&later.stderr)
        );
        let told = json(&later)["text"].as_str().unwrap().to_owned();
        assert!(told.contains("kvm = true") && told.contains("consent = none"), "{run}: {told}");
        assert_eq!(machine.mutating_calls(), mutating, "{run}");
        assert_eq!(escrow_files(&out), escrow, "{run}");
    }
    // And a policy that asks for no more than was done is satisfied again.
    let less = Org::new(scratch.path(), "");
    raise_serial(&less.policy, 3);
    assert_eq!(code(&apply(&machine, &less.policy, &out)), Some(0));
    // A machine that is ours does not need the certificate any more.
    fs::remove_file(scratch.path().join("bundle.pem")).unwrap();
    let without = apply(&machine, &less.policy, &out);
    assert_eq!((code(&without), machine.mutating_calls()), (Some(0), mutating), "{}", text(&without.stderr));
}

#[test]
fn pkcs12_files_of_both_ages_are_opened() {
    for name in ["modern.p12", "legacy.p12"] {
        let scratch = scratch();
        let passphrase = scratch.path().join("passphrase");
        // With the line break that an editor leaves.
        fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
        let policy = policy(
            scratch.path(),
            &format!(
                "control_mode = \"acm\", certificate = \"file:{}\", certificate_passphrase = \"file:{}\", sol = true",
                fixture(name).display(),
                passphrase.display()
            ),
        );
        let root = fixture("root.pem");
        let machine = Machine::start(
            "vpro-desktop-amt16",
            &scratch.path().join("vpro"),
            &["--trusted-root", root.to_str().unwrap()],
        );
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{name}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let state = machine.state();
        assert_eq!((&state["control_mode"], &state["settings"]["redirection"]), (&2.into(), &32770.into()));
        assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.AddNextCertInChain"], 2, "{name}");
    }
}

#[test]
fn the_service_manager_may_hold_certificate_and_passphrase() {
    let scratch = scratch();
    let credentials = scratch.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(fixture("modern.p12"), credentials.join("amt-pfx")).unwrap();
    fs::write(credentials.join("amt-pass"), PASSPHRASE).unwrap();
    let policy = policy(
        scratch.path(),
        "control_mode = \"acm\", certificate = \"credential:amt-pfx\", certificate_passphrase = \"credential:amt-pass\"",
    );
    let root = fixture("root.pem");
    let trusted = ["--trusted-root", root.to_str().unwrap()];
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &trusted);
    let out = scratch.path().join("out");
    // Without a service manager there are none, and that is said.
    let without = agent_command()
        .env_remove("CREDENTIALS_DIRECTORY")
        .args(arguments(&machine, &policy, &out))
        .output()
        .unwrap();
    assert_eq!((code(&without), &json(&without)["reason"]), (Some(8), &"acm-not-possible".into()));
    assert!(
        json(&without)["text"].as_str().unwrap().contains("LoadCredential="),
        "{}",
        text(&without.stdout)
    );
    assert_eq!(machine.mutating_calls(), 0);
    let run = agent_command()
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .args(arguments(&machine, &policy, &out))
        .output()
        .unwrap();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(machine.state()["control_mode"], 2);
    assert!(files(&credentials).len() == 2, "the credentials are only read");
}
