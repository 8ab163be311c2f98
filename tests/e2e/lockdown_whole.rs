//! `lockdown` with a provisioning certificate: admin control mode, a MEBx password in the escrow, unprovisioned, off. What
//! fails on the way leaves a machine that a next run ends, and no password live outside the escrow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::{Machine, agent_command, code, files, json, neutralize_policy, scratch, stride, text};
use sha2::{Digest, Sha256};

use crate::honesty::{passwords_outside_escrow, sealed};
use crate::known::{live, opened, with, write_journal};
use crate::lockdown::{body_of, verify};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::{escrow_files, open};

const OFF: &str = "pthi:0x04000088";
const ADMIN: &str = "wsman:IPS_HostBasedSetupService.AdminSetup";
const MEBX: &str = "wsman:AMT_SetupAndConfigurationService.SetMEBxPassword";
const OUT: &str = "wsman:AMT_SetupAndConfigurationService.Unprovision";

fn counter(machine: &Machine, name: &str) -> u64 {
    machine.state()["counters"][name].as_u64().unwrap_or(0)
}

fn told(run: &Output) -> String {
    format!("{}\n{}", text(&run.stdout), text(&run.stderr))
}

pub(crate) struct Story {
    pub(crate) machine: Machine,
    pub(crate) asking: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) out: PathBuf,
}

impl Story {
    pub(crate) fn new(profile: &str, dir: &Path, options: &[&str]) -> Self {
        let org = Org::new(dir, "");
        let options = [&org.trusted()[..], options].concat();
        let machine = Machine::start(profile, &dir.join("vpro"), &options);
        let text = fs::read_to_string(&org.policy).unwrap();
        let (from, to) = (text.find("action = \"use\"").unwrap(), text.find("[[escrow").unwrap());
        let certificate = dir.join("bundle.pem");
        let rule = format!(
            "action = \"neutralize\"\nneutralize = {{ methods = [\"lockdown\"], certificate = \"file:{}\" }}\n\n",
            certificate.display()
        );
        let asking = dir.join("lockdown.toml");
        fs::write(&asking, format!("{}{rule}{}", &text[..from], &text[to..])).unwrap();
        Self { machine, asking, dir: dir.to_path_buf(), out: dir.join("out") }
    }

    fn run(&self) -> Output {
        apply(&self.machine, &self.asking, &self.out)
    }

    /// With every admin's credential that the escrow holds and that is live.
    fn run_with_credential(&self) -> Output {
        let now = live(&self.machine.state(), &self.out);
        let file = opened(&now[0], &self.dir);
        with(&self.machine, &self.asking, &self.out, &[&file], &[])
    }

    /// Off, with the password that MEBx has in the escrow, and the next run rests and says the same.
    #[track_caller]
    fn assert_locked(&self, run: &Output) {
        assert_eq!(code(run), Some(0), "{}", told(run));
        let state = self.machine.state();
        assert_eq!((&state["amt_disabled"], &state["control_mode"]), (&true.into(), &0.into()));
        self.assert_mebx_in_escrow();
        self.assert_rests();
    }

    /// The next run takes back first what one before it left, goes the whole way, and blames nobody.
    #[track_caller]
    fn assert_ends_what_is_ours(&self, first: &str) {
        let run = self.run();
        self.assert_locked(&run);
        assert_eq!(steps(&run), [first, "amt.setup-acm", "amt.unprovision", "neutralize.lockdown"]);
        assert!(!text(&run.stdout).contains("amt-provisioned-by-others"), "{}", told(&run));
    }

    #[track_caller]
    fn assert_mebx_in_escrow(&self) {
        let state = self.machine.state();
        let digest = |password: &str| {
            Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let sealed = escrow_files(&self.out);
        let holds = sealed.iter().any(|file| {
            let secret = open(file);
            secret["channel"] == "amt-mebx"
                && state["mebx_sha256"] == digest(secret["password"].as_str().unwrap())
        });
        assert!(holds || state["mebx_sha256"].is_null(), "MEBx has a password that the escrow does not hold");
        assert_eq!(passwords_outside_escrow(&state, &self.out), None);
    }

    #[track_caller]
    fn assert_rests(&self) {
        let (mutating, escrow) = (self.machine.mutating_calls(), escrow_files(&self.out));
        let rest = self.run();
        let result = json(&rest);
        assert_eq!((code(&rest), &result["changed"]), (Some(0), &false.into()), "{}", told(&rest));
        assert_eq!(result["outcomes"][0]["step"], "neutralize.locked-down");
        assert_eq!(result["outcomes"][0]["evidence"]["mebx"], "asserted");
        assert_eq!(result["capability"]["channels"][0]["state"], "disabled");
        assert_eq!((self.machine.mutating_calls(), escrow_files(&self.out)), (mutating, escrow));
    }
}

#[test]
fn amt_ends_off_with_a_mebx_password_of_its_own() {
    for profile in [
        "vpro-desktop-amt12",
        "vpro-desktop-amt16",
        "vpro-desktop-amt16-1",
        "vpro-desktop-amt18",
        "vpro-desktop-amt19",
    ] {
        let scratch = scratch();
        let story = Story::new(profile, scratch.path(), &[]);
        let run = story.run();
        let result = json(&run);
        story.assert_locked(&run);
        let steps: Vec<_> =
            result["outcomes"].as_array().unwrap().iter().map(|it| it["step"].as_str().unwrap()).collect();
        assert_eq!(steps, ["amt.setup-acm", "amt.unprovision", "neutralize.lockdown"], "{profile}");
        // Over TLS alone, the password is given and then committed.
        let enter = match profile {
            "vpro-desktop-amt19" => "wsman:AMT_AuthorizationService.SetAdminAclEntryEx",
            _ => ADMIN,
        };
        for call in [enter, MEBX, OUT, OFF] {
            assert_eq!(counter(&story.machine, call), 1, "{profile}: {call}");
        }
        assert_eq!((sealed(&story.out, "amt").len(), sealed(&story.out, "amt-mebx").len()), (1, 1));
        let amt = &result["capability"]["channels"][0];
        assert_eq!((&amt["state"], &amt["confidence"]), (&"disabled".into(), &"proven".into()), "{profile}");
        assert!(!result["findings"].to_string().contains("amt-off-default-mebx"));
        let file = result["outcomes"][2]["evidence"]["mebx_escrow"].as_str().unwrap();
        assert!(escrow_files(&story.out).iter().any(|it| it.ends_with(file)), "{file}");
        let boot = story.machine.dir.join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot.parent().unwrap()).unwrap();
        fs::write(&boot, "00000000-0000-4000-8000-000000000002\n").unwrap();
        // That boot is not known to be a later one: the machine had no boot id when it was switched off.
        verify(&story.machine, &story.dir, ("staged", 10, "boot-unknown", false));
    }
}

#[test]
fn verify_is_satisfied_on_a_later_boot() {
    let scratch = scratch();
    let story = Story::new("vpro-desktop-amt16-1", scratch.path(), &[]);
    let boots = |boot: u8| {
        let file = story.machine.dir.join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("00000000-0000-4000-8000-0000000000{boot:02}\n")).unwrap();
    };
    boots(1);
    story.assert_locked(&story.run());
    verify(&story.machine, &story.dir, ("staged", 10, "same-boot", false));
    boots(2);
    verify(&story.machine, &story.dir, ("effective", 0, "satisfied", true));
    verify(&story.machine, &story.dir, ("effective", 0, "satisfied", false));
}

#[test]
fn what_the_device_does_not_take_leaves_it_unprovisioned() {
    let scratch = scratch();
    let story = Story::new("vpro-desktop-amt16", scratch.path(), &["--dhcp-suffix", "elsewhere.test"]);
    let run = story.run();
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(8), &"certificate-not-fit".into()),
        "{}",
        told(&run)
    );
    assert_eq!((story.machine.mutating_calls(), &json(&run)["changed"]), (0, &false.into()));
    assert_eq!((counter(&story.machine, OFF), &story.machine.state()["amt_disabled"]), (0, &false.into()));
}

#[test]
fn what_fails_on_the_way_is_ended_by_a_next_run() {
    for (call, fault) in [
        (ADMIN, "return-value:5"),
        (ADMIN, "drop-before"),
        (ADMIN, "drop-after"),
        (MEBX, "return-value:2054"),
        (MEBX, "http-400"),
        (MEBX, "drop-before"),
        (MEBX, "drop-after"),
        (OUT, "return-value:1"),
        (OUT, "drop-before"),
        (OUT, "drop-after"),
        (OFF, "return-value:3"),
        (OFF, "drop-before"),
        (OFF, "drop-after"),
    ] {
        let (when, scratch) = (format!("{call} {fault}"), scratch());
        let fault = format!("{call}={fault}");
        let story = Story::new("vpro-desktop-amt16", scratch.path(), &["--fault", &fault]);
        let run = story.run();
        assert_eq!(counter(&story.machine, call), 1, "{when}: sent again");
        story.assert_mebx_in_escrow();
        if code(&run) == Some(0) {
            story.assert_locked(&run);
            continue;
        }
        assert_eq!(story.machine.state()["amt_disabled"], false, "{when}: {}", told(&run));
        let provisioned = story.machine.state()["control_mode"] == 2;
        if provisioned {
            // Only the password gets it out, and that is said.
            let mutating = story.machine.mutating_calls();
            let blind = story.run();
            assert!(text(&blind.stdout).contains("--known-credential FILE"), "{when}: {}", told(&blind));
            assert_eq!(story.machine.mutating_calls(), mutating, "{when}");
            story.assert_locked(&story.run_with_credential());
        } else {
            story.assert_locked(&story.run());
        }
    }
}

/// Whoever enabled it again knows the password of MEBx, or took it away.
#[test]
fn the_mebx_password_of_before_is_not_asserted_once_somebody_enabled_amt_again() {
    let scratch = scratch();
    let story = Story::new("vpro-desktop-amt16", scratch.path(), &[]);
    story.assert_locked(&story.run());
    let Story { machine, asking, dir, out } = story;
    drop(machine);
    // A machine of the same make in its place, on.
    let killing = ["--fault", &format!("{OFF}=kill-peer-after")];
    let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &killing);
    let rule = fs::read_to_string(&asking).unwrap();
    let certificate = format!(", certificate = \"file:{}\"", dir.join("bundle.pem").display());
    fs::write(&asking, rule.replacen(&certificate, "", 1)).unwrap();
    raise_serial(&asking, 2);
    let unasserted = |machine: &Machine| {
        let run = apply(machine, &asking, &out);
        let told = (code(&run), json(&run)["reason"].clone());
        assert_eq!(told, (Some(8), "default-mebx-password".into()), "{}", text(&run.stdout));
        run
    };
    // Where that run dies, its journal still knows.
    assert_eq!(code(&apply(&machine, &asking, &out)), None, "it was killed");
    let run = unasserted(&machine);
    assert_eq!(json(&run)["outcomes"][0]["step"], "neutralize.locked-down");
    drop(machine);
    let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &[]);
    let run = unasserted(&machine);
    let outcome = json(&run)["outcomes"][0].clone();
    assert_eq!(
        (&outcome["step"], &outcome["evidence"]["mebx"]),
        (&"neutralize.lockdown".into(), &"not-changed".into())
    );
    let body = body_of(&outcome, &out);
    assert_eq!((&body["mebx"], body["mebx_escrow"].is_null()), (&"not-changed".into(), true));
}

/// Before its event: what the escrow knows of MEBx does not hang on that.
#[test]
fn killed_once_amt_is_off_a_next_run_still_knows_the_mebx_password() {
    let scratch = scratch();
    let story =
        Story::new("vpro-desktop-amt16", scratch.path(), &["--fault", &format!("{OFF}=kill-peer-after")]);
    assert_eq!(code(&story.run()), None, "killed");
    story.assert_locked(&story.run());
}

#[test]
fn killed_at_any_point_a_next_run_ends_with_amt_off_or_names_the_credential() {
    die_on_the_way("vpro-desktop-amt16", stride(83, 29));
}

/// Where what is not committed goes back over MEI.
#[test]
fn killed_at_any_point_from_amt_19_on_a_next_run_ends_with_amt_off_or_names_the_credential() {
    die_on_the_way("vpro-desktop-amt19", stride(83, 29));
}

fn die_on_the_way(profile: &str, stride: usize) {
    let mut tried = 0;
    for point in (1..).step_by(stride) {
        let (when, scratch) = (format!("{profile}, crash point {point}"), scratch());
        let story = Story::new(profile, scratch.path(), &[]);
        let mut command = agent_command();
        command.args(arguments(&story.machine, &story.asking, &story.out));
        let ended = command.env("OOB_PROBE_KILL", point.to_string()).output().expect("running oob-agent");
        let over = code(&ended).is_some();
        story.assert_mebx_in_escrow();
        if over {
            story.assert_locked(&ended);
            break;
        }
        let again = story.run();
        if code(&again) == Some(0) {
            assert_eq!(story.machine.state()["amt_disabled"], true, "{when}");
            story.assert_rests();
        } else {
            let state = story.machine.state();
            let seen = (&state["control_mode"], &state["provisioning_state"]);
            assert_eq!(seen, (&2.into(), &2.into()), "{when}: {}", told(&again));
            assert!(text(&again.stdout).contains("--known-credential FILE"), "{when}: {}", told(&again));
            story.assert_locked(&story.run_with_credential());
        }
        story.assert_mebx_in_escrow();
        tried += 1;
    }
    assert!(tried > 3, "only {tried} points");
}

fn steps(run: &Output) -> Vec<String> {
    let result = json(run);
    result["outcomes"].as_array().unwrap().iter().map(|it| it["step"].as_str().unwrap().to_owned()).collect()
}

/// From AMT 19 on, whichever call was the last one before the commit.
#[test]
fn killed_between_announcement_and_commit_it_is_taken_back_and_done_again() {
    for fault in [
        "pthi:0x0400008b=kill-peer-after",
        "wsman:AMT_AuthorizationService.SetAdminAclEntryEx=kill-peer-after",
        "wsman:AMT_SetupAndConfigurationService.SetMEBxPassword=kill-peer-after",
        "wsman:AMT_SetupAndConfigurationService.CommitChanges=kill-peer-before",
    ] {
        let scratch = scratch();
        let story = Story::new("vpro-desktop-amt19", scratch.path(), &["--fault", fault]);
        assert_eq!(code(&story.run()), None, "{fault}: killed");
        assert_eq!(story.machine.state()["provisioning_state"], 1, "{fault}");
        story.assert_ends_what_is_ours("amt.undo");
    }
}

#[test]
fn unprovisioning_that_stopped_half_way_is_ended_only_where_it_is_ours() {
    for profile in ["vpro-desktop-amt12", "vpro-desktop-amt16", "vpro-desktop-amt18"] {
        let scratch = scratch();
        let story = Story::new(profile, scratch.path(), &["--in-provisioning"]);
        let run = story.run();
        assert_eq!((code(&run), story.machine.mutating_calls()), (Some(8), 0), "{profile}: {}", told(&run));
        // What a run of ours would have left that died there.
        let realm = story.machine.state()["realm"].as_str().unwrap().to_owned();
        let entry = format!("{{\"entry\":\"leaving\",\"realm\":\"{realm}\",\"call\":\"x\"}}");
        write_journal(&story.out, &[&entry]);
        story.assert_ends_what_is_ours("amt.stop");
    }
}

/// AMT that is switched off has nothing of a change that a run of ours began before, so `verify` does not wait for its end.
#[test]
fn a_change_that_did_not_stay_is_closed() {
    let (scratch, fault) = (scratch(), "wsman:IPS_HostBasedSetupService.Setup=kill-peer-before");
    let dir = scratch.path();
    let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &["--fault", fault]);
    let boots = |boot: u8| {
        let file = machine.dir.join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("00000000-0000-4000-8000-0000000000{boot:02}\n")).unwrap();
    };
    boots(1);
    let out = dir.join("out");
    let using = policy(dir, "control_mode = \"ccm\"");
    assert_eq!(code(&apply(&machine, &using, &out)), None, "killed");
    let asking = neutralize_policy(dir, "methods = [\"lockdown\"]");
    raise_serial(&asking, 2);
    let run = apply(&machine, &asking, &out);
    assert_eq!(
        (code(&run), steps(&run)),
        (Some(8), vec!["neutralize.lockdown".to_owned()]),
        "{}",
        told(&run)
    );
    boots(2);
    verify(&machine, dir, ("effective", 8, "default-mebx-password", true));
    // A run that found AMT off already: it was unprovisioned where nothing was sent, or where a run of ours switched it off
    // since. Where others did, nobody knows.
    let begin = "{\"entry\":\"begin\",\"run_id\":\"r\",\"generation\":7,\"realm\":\"Digest:00\",\"escrow\":\"amt.7.age\"}";
    let (sending, off) =
        ("{\"entry\":\"sending\",\"call\":\"x\"}", "{\"entry\":\"disabling\",\"call\":\"x\"}");
    for (entries, closed) in
        [(&[begin][..], true), (&[begin, sending, off], true), (&[begin, sending], false)]
    {
        write_journal(&out, entries);
        let run = apply(&machine, &asking, &out);
        assert_eq!(steps(&run), ["neutralize.locked-down"], "{}", told(&run));
        let journal = files(&out).into_iter().find(|file| file.ends_with("journal.jsonl")).unwrap();
        let journal = fs::read_to_string(journal).unwrap();
        let undone = journal.contains("\"entry\":\"undone\",\"generation\":7");
        assert_eq!(undone, closed, "{journal}");
        if closed {
            verify(&machine, dir, ("effective", 8, "default-mebx-password", false));
        }
    }
}
