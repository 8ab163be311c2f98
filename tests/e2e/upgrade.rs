//! From client to admin control mode without deactivation: one call, seen in PTHI and by a login; what fails leaves client
//! control mode and its credential as they were.

use std::path::{Path, PathBuf};

use oob_tests::provisioning::{Org, SETTINGS, policy, raise_serial};
use oob_tests::{Machine, agent_command, code, json, scratch, stride, text};

use crate::honesty::{not_as_policy_asks, passwords_outside_escrow};
use crate::known::{CHANGE, live, opened, with};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::escrow_files;

const UP: &str = "wsman:IPS_HostBasedSetupService.UpgradeClientToAdmin";

fn counter(machine: &Machine, name: &str) -> u64 {
    machine.state()["counters"][name].as_u64().unwrap_or(0)
}

/// AMT of ours in client control mode, a policy that asks for admin control mode with all settings, and the credential.
pub(crate) struct Story {
    pub(crate) machine: Machine,
    pub(crate) out: PathBuf,
    pub(crate) asking: PathBuf,
    pub(crate) file: PathBuf,
}

impl Story {
    pub(crate) fn new(profile: &str, dir: &Path, mode: &str, options: &[&str]) -> Self {
        let org = Org::new(dir, SETTINGS);
        let chain = std::fs::read_to_string(dir.join("bundle.pem")).unwrap();
        let root = std::fs::read_to_string(&org.root).unwrap();
        let options = [&org.trusted()[..], options].concat();
        let machine = Machine::start(profile, &dir.join("vpro"), &options);
        let out = dir.join("out");
        // On one of them over TLS, whose certificate stays.
        let tls = if profile == "vpro-desktop-amt16" { ", tls = \"required\"" } else { "" };
        let client = policy(dir, &format!("control_mode = \"ccm\", sol = true, clock = true{tls}"));
        let run = apply(&machine, &client, &out);
        assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
        let asking = Org::with(dir, &root, &chain, mode, SETTINGS).policy;
        raise_serial(&asking, 2);
        let file = opened(&escrow_files(&out)[0], dir);
        Self { machine, out, asking, file }
    }

    fn run(&self) -> std::process::Output {
        with(&self.machine, &self.asking, &self.out, &[&self.file], &[])
    }

    /// In admin control mode as policy asks, proven, with the password of before; and the next run rests.
    #[track_caller]
    fn assert_up(&self, run: &std::process::Output) {
        assert_eq!(code(run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
        let result = json(run);
        let amt = &result["capability"]["channels"][0];
        assert_eq!(
            (&amt["state"], &amt["confidence"], &amt["control_mode"]),
            (&"verified".into(), &"proven".into(), &"acm".into()),
            "{amt}"
        );
        let state = self.machine.state();
        assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&2.into(), &2.into()));
        assert_eq!(not_as_policy_asks(&state, true), None);
        assert_eq!((counter(&self.machine, CHANGE), live(&state, &self.out).len()), (0, 1));
        assert_eq!(passwords_outside_escrow(&state, &self.out), None);
        self.assert_rests("acm");
    }

    #[track_caller]
    fn assert_rests(&self, mode: &str) {
        let (mutating, escrow) = (self.machine.mutating_calls(), escrow_files(&self.out));
        let rest = apply(&self.machine, &self.asking, &self.out);
        let result = json(&rest);
        assert_eq!((code(&rest), &result["changed"]), (Some(0), &false.into()), "{}", text(&rest.stdout));
        assert_eq!(result["capability"]["channels"][0]["control_mode"], mode);
        assert_eq!((self.machine.mutating_calls(), escrow_files(&self.out)), (mutating, escrow));
    }
}

/// What client control mode had is not proven any more where a run that went up rewrote it and failed.
#[test]
fn what_is_rewritten_on_the_way_up_is_not_proven_any_more() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "kvm = true, consent = \"none\"");
    let client = policy(scratch.path(), "control_mode = \"ccm\", sol = true, kvm = false");
    let options = [&org.trusted()[..], &["--fault", "wsman:IPS_OptInService.Put=fault"]].concat();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &client, &out)), Some(0));
    let file = opened(&escrow_files(&out)[0], scratch.path());
    let asking = |settings: &str, serial: u32| {
        let policy = Org::new(scratch.path(), settings).policy;
        raise_serial(&policy, serial);
        policy
    };
    let up = with(&machine, &asking("kvm = true, consent = \"none\"", 2), &out, &[&file], &[]);
    assert_eq!(code(&up), Some(9), "{}\n{}", text(&up.stdout), text(&up.stderr));
    assert_eq!(json(&up)["outcomes"][0]["evidence"]["settings"].to_string(), "[\"sol = true\"]");
    let rest = apply(&machine, &asking("sol = true, kvm = false", 3), &out);
    assert_eq!((code(&rest), &json(&rest)["reason"]), (Some(9), &"amt-incomplete".into()));
    assert!(json(&rest)["text"].as_str().unwrap().contains("kvm = false"), "{}", text(&rest.stdout));
}

#[test]
fn ours_goes_up_with_the_credential_and_gets_what_it_could_not_have() {
    for profile in ["vpro-desktop-amt11", "vpro-desktop-amt16", "vpro-desktop-amt18", "vpro-desktop-amt19"] {
        let scratch = scratch();
        let story = Story::new(profile, scratch.path(), "acm", &[]);
        let mutating = story.machine.mutating_calls();
        let refused = apply(&story.machine, &story.asking, &story.out);
        assert_eq!((code(&refused), &json(&refused)["reason"]), (Some(9), &"credential-needed".into()));
        assert_eq!(story.machine.mutating_calls(), mutating);
        assert_eq!(json(&refused)["capability"]["channels"][0]["state"], "provisioned", "still ours");
        let realm = story.machine.state()["realm"].clone();
        let run = story.run();
        assert_eq!(json(&run)["changed"], true);
        story.assert_up(&run);
        assert_eq!(counter(&story.machine, UP), 1, "{profile}");
        assert_eq!(counter(&story.machine, "pthi:0x04000010"), 0, "{profile}: it was not deactivated");
        assert_eq!(story.machine.state()["realm"], realm);
    }
}

#[test]
fn a_ca_over_https_that_is_not_there_is_found_out_before_anything_changes() {
    let scratch = scratch();
    let story = Story::new("vpro-desktop-amt18", scratch.path(), "acm", &[]);
    let roots = std::fs::canonicalize(scratch.path().join("bundle.pem")).unwrap();
    let wishes = format!(
        "tls = \"required\", tls_ca_url = \"https://ca.example.test/est\", tls_ca_trust = \"file:{}\", {SETTINGS}",
        roots.display()
    );
    let policy = std::fs::read_to_string(&story.asking).unwrap();
    std::fs::write(&story.asking, policy.replace(SETTINGS, &wishes)).unwrap();
    let mutating = story.machine.mutating_calls();
    let run = story.run();
    assert_eq!(
        (code(&run), &json(&run)["reason"], &json(&run)["changed"]),
        (Some(8), &"tls-ca-unreachable".into(), &false.into()),
        "{}",
        text(&run.stdout)
    );
    assert_eq!(story.machine.mutating_calls(), mutating);
}

#[test]
fn a_certificate_that_is_not_taken_leaves_client_control_mode() {
    for (mode, exit) in [("acm", 8), ("acm-or-ccm", 0)] {
        let scratch = scratch();
        let story =
            Story::new("vpro-desktop-amt16", scratch.path(), mode, &["--dhcp-suffix", "elsewhere.test"]);
        let mutating = story.machine.mutating_calls();
        let run = story.run();
        assert_eq!(code(&run), Some(exit), "{mode}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert!(text(&run.stdout).contains("elsewhere.test"), "{mode}: {}", text(&run.stdout));
        let state = story.machine.state();
        assert_eq!((&state["control_mode"], counter(&story.machine, UP)), (&1.into(), 0), "{mode}");
        assert_eq!(passwords_outside_escrow(&state, &story.out), None);
        if exit == 0 {
            // What client control mode can have was set: policy asks for it either way.
            assert_eq!(json(&run)["capability"]["channels"][0]["control_mode"], "ccm");
            story.assert_rests("ccm");
        } else {
            assert_eq!(story.machine.mutating_calls(), mutating, "judged before anything was sent");
        }
    }
}

#[test]
fn what_fails_leaves_it_ours_in_client_control_mode_and_is_not_sent_again() {
    for (fault, up) in [
        ("return-value:5", false),
        ("http-400", false),
        ("http-401", false),
        ("drop-before", false),
        ("drop-after", true),
        ("garbage", true),
    ] {
        let scratch = scratch();
        let fault = format!("{UP}={fault}");
        let story = Story::new("vpro-desktop-amt16", scratch.path(), "acm", &["--fault", &fault]);
        let run = story.run();
        assert_eq!(counter(&story.machine, UP), 1, "{fault}: sent again");
        if !up {
            assert_eq!(code(&run), Some(5), "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
            let result = json(&run);
            assert!(
                result["reason"].as_str().unwrap().starts_with("upgrade-"),
                "{fault}: {}",
                result["reason"]
            );
            assert_eq!(result["capability"]["channels"][0]["control_mode"], "ccm", "{fault}");
            assert_eq!(story.machine.state()["control_mode"], 1, "{fault}");
            assert_eq!(passwords_outside_escrow(&story.machine.state(), &story.out), None, "{fault}");
            // The chain is handed over anew, and this time it is taken.
            story.assert_up(&story.run());
        } else {
            story.assert_up(&run);
        }
    }
}

#[test]
fn killed_at_any_point_one_more_run_ends_in_admin_control_mode() {
    die_everywhere("vpro-desktop-amt16", stride(59, 17));
    die_everywhere("vpro-desktop-amt19", stride(131, 41));
}

fn die_everywhere(profile: &str, step: usize) {
    let mut tried = 0;
    for point in (1..).step_by(step) {
        let (when, scratch) = (format!("{profile}, crash point {point}"), scratch());
        let story = Story::new(profile, scratch.path(), "acm", &[]);
        let mut command = agent_command();
        command.args(arguments(&story.machine, &story.asking, &story.out));
        command.args(["--known-credential".as_ref(), story.file.as_os_str()]);
        let ended = command.env("OOB_PROBE_KILL", point.to_string()).output().expect("running oob-agent");
        let over = code(&ended).is_some();
        if over {
            story.assert_up(&ended);
            break;
        }
        // Without the credential the next run touches nothing, and never calls it others' doing.
        let mutating = story.machine.mutating_calls();
        let blind = apply(&story.machine, &story.asking, &story.out);
        let reason = json(&blind)["reason"].as_str().unwrap().to_owned();
        assert!(
            ["credential-needed", "upgrade-not-proven", "amt-incomplete", "satisfied"]
                .contains(&reason.as_str()),
            "{when}: {reason}"
        );
        assert_eq!(story.machine.mutating_calls(), mutating, "{when}");
        if reason != "satisfied" {
            story.assert_up(&story.run());
        }
        assert_eq!(counter(&story.machine, UP), 1, "{when}");
        tried += 1;
    }
    assert!(tried > 1, "only {tried} points");
}
