//! What goes wrong while AMT gets a new password: whatever it is, the run says which password AMT has, or that it does not
//! know and which files hold the candidates; and one more run with both at hand ends at the target.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oob_tests::provisioning::{Org, raise_serial};
use oob_tests::{Machine, agent_command, code, scratch, stride, text};
use serde_json::Value;

use crate::honesty::said;
use crate::known::{CHANGE, live, name, of_others, opened, taking, with};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::escrow_files;

/// Whose AMT it is that gets a new password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Ours,
    Others,
}

/// A machine in admin control mode, and what a run needs to give it a new password.
struct Case {
    whose: Whose,
    machine: Machine,
    policy: PathBuf,
    out: PathBuf,
    known: PathBuf,
    before: String,
}

impl Case {
    fn new(whose: Whose, dir: &Path, options: &[&str]) -> Self {
        let out = dir.join("out");
        let (machine, policy, known) = match whose {
            Whose::Ours => {
                let org = Org::new(dir, "sol = true");
                let options = [&org.trusted(), options].concat();
                let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &options);
                let run = apply(&machine, &org.policy, &out);
                assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
                let known = opened(&escrow_files(&out)[0], dir);
                (machine, org.policy, known)
            }
            Whose::Others => {
                let (machine, known) = of_others(dir, options);
                (machine, taking(dir, ", sol = true"), known)
            }
        };
        let before = machine.state()["ha1_sha256"].as_str().unwrap().to_owned();
        Self { whose, machine, policy, out, known, before }
    }

    fn more(&self) -> &'static [&'static str] {
        if self.whose == Whose::Ours { &["--rotate"] } else { &[] }
    }

    fn run(&self) -> Output {
        with(&self.machine, &self.policy, &self.out, &[&self.known], self.more())
    }

    /// With the newest password in the escrow, and the one that was given.
    fn run_with_both(&self, dir: &Path) -> Output {
        let newest = newest(&self.out).map(|file| opened(&file, dir));
        let mut known: Vec<&Path> = newest.iter().map(PathBuf::as_path).collect();
        if !known.contains(&self.known.as_path()) {
            known.push(&self.known);
        }
        with(&self.machine, &self.policy, &self.out, &known, self.more())
    }

    /// What is wrong with what a run said.
    fn dishonest(&self, run: &Output) -> Option<String> {
        let state = self.machine.state();
        let unchanged = state["ha1_sha256"] == self.before.as_str();
        let live: Vec<String> = live(&state, &self.out).iter().map(|file| name(file)).collect();
        if text(&run.stderr).contains("panicked at") {
            return Some("it panicked".to_owned());
        }
        if live.is_empty() && !(self.whose == Whose::Others && unchanged) {
            return Some("the live password is in no escrow file".to_owned());
        }
        let exit = code(run)?;
        let Ok(result) = serde_json::from_slice::<Value>(&run.stdout) else {
            return Some("no JSON".to_owned());
        };
        let said = format!("{}{}", result["text"], result["outcomes"]);
        let holds = match exit {
            0 | 9 => {
                let told = result["outcomes"][0]["evidence"]["escrow"].as_str().unwrap_or_default();
                live.iter().any(|file| file == told) && (exit == 0 || result["reason"] == "amt-incomplete")
            }
            4 | 5 => unchanged && result["changed"] == false,
            6 => {
                let newest = newest(&self.out).map(|file| name(&file));
                let known = name(&self.known);
                newest.is_some_and(|newest| said.contains(&newest))
                    && match self.whose {
                        // Its own escrow file, by the name of which the opened one is called here.
                        Whose::Ours => said.contains(known.trim_end_matches(".json")),
                        Whose::Others => said.contains("password that"),
                    }
            }
            _ => false,
        };
        (!holds).then(|| format!("exit {exit}; the live password is {live:?}, as before: {unchanged}"))
    }
}

fn newest(out: &Path) -> Option<PathBuf> {
    let generation = |file: &PathBuf| name(file).split('.').nth(1).and_then(|it| it.parse::<u32>().ok());
    escrow_files(out).into_iter().filter(|file| name(file).starts_with("amt.")).max_by_key(generation)
}

#[test]
fn whatever_the_change_answers_the_run_knows_which_password_is_live_and_sends_it_once() {
    for whose in [Whose::Ours, Whose::Others] {
        for (fault, exit) in [
            ("return-value:1", 5),
            ("return-value:2054", 5),
            ("fault", 5),
            ("http-400", 5),
            ("http-401", 5),
            ("http-500", 5),
            ("drop-before", 5),
            ("stall", 5),
            ("drop-after", 0),
            ("garbage", 0),
            ("short", 0),
            ("wrong-command", 0),
            ("settle-401", 0),
        ] {
            let scratch = scratch();
            let case = Case::new(whose, scratch.path(), &["--fault", &format!("{CHANGE}={fault}")]);
            let run = case.run();
            let told = format!("{whose:?} {fault}: {}\n{}", said(&run), text(&run.stderr));
            assert_eq!(code(&run), Some(exit), "{told}");
            assert_eq!(case.dishonest(&run), None, "{told}");
            assert_eq!(case.machine.state()["counters"][CHANGE], 1, "{told}");
            if exit == 5 {
                let again = case.run();
                assert_eq!(
                    (code(&again), case.dishonest(&again)),
                    (Some(0), None),
                    "{told}\nagain: {}",
                    said(&again)
                );
            }
        }
    }
}

#[test]
fn where_nobody_can_tell_both_candidates_are_named_and_the_next_run_goes_on() {
    for whose in [Whose::Ours, Whose::Others] {
        for change in ["drop-before", "drop-after"] {
            let login = "wsman:AMT_GeneralSettings.Get";
            let scratch = scratch();
            let reads = {
                let case = Case::new(whose, &scratch.path().join(made(scratch.path(), "clean")), &[]);
                case.machine.state()["counters"][login].as_u64().unwrap()
            };
            // After the login and the two of its proof, the right password is called wrong, as by an account that is
            // locked; the other one of the probe is wrong.
            let faults = [format!("{login}=http-401#{}", reads + 4), format!("{CHANGE}={change}")];
            let options: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault.as_str()]).collect();
            let dir = scratch.path().join(made(scratch.path(), "struck"));
            let case = Case::new(whose, &dir, &options);
            let run = case.run();
            assert_eq!(code(&run), Some(6), "{whose:?} {change}: {}\n{}", said(&run), text(&run.stderr));
            assert_eq!(case.dishonest(&run), None, "{whose:?} {change}: {}", said(&run));
            let without = apply(&case.machine, &case.policy, &case.out);
            assert_eq!(code(&without), Some(6), "{whose:?} {change}: {}", said(&without));
            assert_eq!(case.dishonest(&without), None, "{whose:?} {change}: {}", said(&without));
            // One more bad login is what the account bears where the newest is not the live one.
            if change == "drop-after" {
                let wrong = dir.join("wrong");
                fs::write(&wrong, "Wrong-Passw0rd!").unwrap();
                let refused = with(&case.machine, &case.policy, &case.out, &[&wrong], &[]);
                assert_eq!(code(&refused), Some(6), "{whose:?}: still not known; {}", said(&refused));
            }
            let next = case.run_with_both(&dir);
            assert_eq!(
                (code(&next), case.dishonest(&next)),
                (Some(0), None),
                "{whose:?} {change}: {}\n{}",
                said(&next),
                text(&next.stderr)
            );
        }
    }
}

fn made(dir: &Path, name: &str) -> String {
    fs::create_dir(dir.join(name)).unwrap();
    name.to_owned()
}

#[test]
fn killed_anywhere_while_the_password_changes_one_more_run_with_both_goes_on() {
    for whose in [Whose::Ours, Whose::Others] {
        let scratch = scratch();
        let case = Case::new(whose, scratch.path(), &[]);
        let trace = scratch.path().join("trace");
        let run = killable(&case).env("OOB_PROBE_TRACE", &trace).output().unwrap();
        assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
        let trace = fs::read_to_string(trace).unwrap();
        let points: Vec<usize> = (1..=trace.lines().count()).step_by(stride(17, 11)).collect();
        let (next, lies) = (AtomicUsize::new(0), Mutex::new(String::new()));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(why) = die(whose, *point) {
                            let line = trace.lines().nth(point - 1).unwrap_or_default();
                            let _ =
                                writeln!(lies.lock().unwrap(), "{whose:?}, point {point} ({line}): {why}");
                        }
                    }
                });
            }
        });
        let lies = lies.into_inner().unwrap();
        let _ = writeln!(
            std::io::stderr(),
            "crash matrix, new password of {whose:?}: {} of {} points, {} dishonest",
            points.len(),
            trace.lines().count(),
            lies.lines().count()
        );
        assert!(lies.is_empty(), "{lies}");
    }
}

fn killable(case: &Case) -> std::process::Command {
    let mut command = agent_command();
    command.args(arguments(&case.machine, &case.policy, &case.out));
    command.arg("--known-credential").arg(&case.known).args(case.more());
    command
}

fn die(whose: Whose, point: usize) -> Result<(), String> {
    let scratch = scratch();
    let case = Case::new(whose, scratch.path(), &[]);
    let killed = killable(&case).env("OOB_PROBE_KILL", point.to_string()).output().unwrap();
    let told = |run: &Output, what: &str| format!("{what}; exit {:?}, {}", code(run), said(run));
    if code(&killed).is_some() {
        return Err(told(&killed, "it was not killed"));
    }
    if let Some(what) = case.dishonest(&killed) {
        return Err(told(&killed, &what));
    }
    // Without a credential it says what it knows, and touches nothing.
    let mutating = case.machine.mutating_calls();
    let without = apply(&case.machine, &case.policy, &case.out);
    let exit = code(&without);
    let honest = match exit {
        Some(0) => {
            let escrow = without_escrow(&without);
            live(&case.machine.state(), &case.out).iter().any(|file| name(file) == escrow)
        }
        Some(6 | 9) => true,
        Some(8) => whose == Whose::Others && case.machine.state()["ha1_sha256"] == case.before.as_str(),
        _ => false,
    };
    if !honest || case.machine.mutating_calls() != mutating {
        return Err(told(&without, "without a credential it claims what is not so"));
    }
    let next = case.run_with_both(scratch.path());
    if let Some(what) = case.dishonest(&next) {
        return Err(told(&next, &what));
    }
    if code(&next) != Some(0) {
        return Err(told(&next, "it does not go on"));
    }
    let rest = apply(&case.machine, &case.policy, &case.out);
    if code(&rest) != Some(0) {
        return Err(told(&rest, "it does not rest"));
    }
    Ok(())
}

/// The escrow file that a run without a credential takes for the live one.
fn without_escrow(run: &Output) -> String {
    let result: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
    result["capability"]["channels"][0]["credential"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn killed_while_tls_is_added_one_more_run_with_the_credential_goes_on() {
    let case = |dir: &Path| {
        let org = Org::new(dir, "sol = true");
        let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &org.trusted());
        let out = dir.join("out");
        assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(0));
        let more = Org::new(dir, "sol = true, tls = \"required\"").policy;
        raise_serial(&more, 2);
        let known = opened(&escrow_files(&out)[0], dir);
        (machine, more, out, known)
    };
    let started = |(machine, policy, out, known): &(Machine, PathBuf, PathBuf, PathBuf)| {
        let mut command = agent_command();
        command.args(arguments(machine, policy, out)).arg("--known-credential").arg(known);
        command
    };
    let first = scratch();
    let whole = case(first.path());
    let trace = first.path().join("trace");
    let run = started(&whole).env("OOB_PROBE_TRACE", &trace).output().unwrap();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    // From where the journal knows the certificate to where the proof has it.
    let lines: Vec<&str> = trace.lines().collect();
    let from = lines.iter().position(|line| line.contains("before device mutating certificate")).unwrap() + 1;
    let step = if stride(17, 11) == 1 { 1 } else { 9 };
    for point in (from..=lines.len()).step_by(step) {
        let scratch = scratch();
        let struck = case(scratch.path());
        let killed = started(&struck).env("OOB_PROBE_KILL", point.to_string()).output().unwrap();
        let told = format!("point {point} ({}): {}", lines[point - 1], text(&killed.stderr));
        assert_eq!(code(&killed), None, "{told}");
        let (machine, policy, out, known) = &struck;
        let without = apply(machine, policy, out);
        assert!([Some(0), Some(9)].contains(&code(&without)), "{told}\n{}", said(&without));
        let next = with(machine, policy, out, &[known], &[]);
        assert_eq!(code(&next), Some(0), "{told}\n{}", said(&next));
        let result: Value = serde_json::from_slice(&apply(machine, policy, out).stdout).unwrap();
        assert_eq!(result["exit_code"], 0, "{told}\n{}", result["text"]);
        assert!(machine.state()["tls"]["serving"].is_string(), "{told}");
    }
}
