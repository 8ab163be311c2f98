//! The fault matrix: one fault at each device call of a whole run, each against a machine of its own. What the run says
//! afterwards is what the device is, no password lives outside the escrow, nothing panics; and one more run, without the
//! fault, goes on from there.
//!
//! `cargo test` tries a sample, `OOB_FAULTS_ALL=1` the whole; CONTRIBUTING.md has the counts of a whole run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oob_tests::provisioning::{Org, SETTINGS, policy};
use oob_tests::{Machine, code, scratch, text};

use crate::honesty::{CLIENT_SETTINGS, Target, dishonest, said};
use crate::use_acm::apply;

/// What may happen to a call, once.
const FAULTS: [&str; 9] = [
    "return-value:1",
    "fault",
    "http-400",
    "http-401",
    "http-500",
    "drop-before",
    "drop-after",
    "garbage",
    "stall",
];

/// In a sample every N-th pair of call and fault is tried. Coprime to the number of faults, so that all come up.
fn stride() -> usize {
    if std::env::var_os("OOB_FAULTS_ALL").is_some() { 1 } else { 23 }
}

#[test]
fn no_fault_in_admin_control_mode_makes_a_run_lie() {
    run_all(Target::Admin, "vpro-desktop-amt16");
}

#[test]
fn no_fault_in_client_control_mode_makes_a_run_lie() {
    run_all(Target::Client, "vpro-desktop-amt16");
}

/// What a run needs besides the machine.
struct Wanted {
    target: Target,
    profile: &'static str,
    policy: PathBuf,
    root: Option<PathBuf>,
}

impl Wanted {
    fn new(target: Target, profile: &'static str, dir: &Path) -> Self {
        match target {
            Target::Admin => {
                let org = Org::new(dir, SETTINGS);
                Self { target, profile, policy: org.policy, root: Some(org.root) }
            }
            Target::Client => {
                let policy = policy(dir, &format!("control_mode = \"ccm\", {CLIENT_SETTINGS}"));
                Self { target, profile, policy, root: None }
            }
        }
    }

    fn machine(&self, dir: &Path, faults: &[&str]) -> Machine {
        let mut arguments: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        if let Some(root) = &self.root {
            arguments.extend(["--trusted-root", root.to_str().unwrap()]);
        }
        Machine::start(self.profile, &dir.join("vpro"), &arguments)
    }
}

fn run_all(target: Target, profile: &'static str) {
    let scratch = scratch();
    let wanted = Wanted::new(target, profile, scratch.path());
    let calls = {
        let clean = scratch.path().join("clean");
        fs::create_dir(&clean).unwrap();
        let machine = wanted.machine(&clean, &[]);
        let run = apply(&machine, &wanted.policy, &clean.join("out"));
        assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
        assert_eq!(dishonest(&run, &machine, &clean.join("out"), target), None);
        machine.calls()
    };
    let pairs = (0..calls.len()).flat_map(|call| FAULTS.map(|fault| (call, fault)));
    let pairs: Vec<(usize, &str)> = pairs.step_by(stride()).collect();
    let (next, told) = (AtomicUsize::new(0), Mutex::new((BTreeMap::<String, usize>::new(), Vec::new())));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((call, fault)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = format!("{fault} at call {} ({})", call + 1, calls[*call]);
                    let ended = one(&wanted, &format!("call:{}={fault}", call + 1));
                    let mut told = told.lock().unwrap();
                    match ended {
                        Ok(exits) => *told.0.entry(exits).or_default() += 1,
                        Err(why) => told.1.push(format!("{name}: {why}")),
                    }
                }
            });
        }
    });
    let (exits, lies) = told.into_inner().unwrap();
    let counts: Vec<String> = exits.iter().map(|(exits, count)| format!("{exits}: {count}")).collect();
    let _ = writeln!(
        std::io::stderr(),
        "fault matrix, {profile} {}: {} of {} pairs of {} calls and {} faults, {} dishonest; exit, then exit of the \
         next run: {}",
        if target == Target::Admin { "acm" } else { "ccm" },
        pairs.len(),
        calls.len() * FAULTS.len(),
        calls.len(),
        FAULTS.len(),
        lies.len(),
        counts.join(", ")
    );
    assert!(lies.is_empty(), "{}", lies.join("\n"));
}

/// A run with that fault and a run after it: both exit codes, or why one of them was not honest.
fn one(wanted: &Wanted, fault: &str) -> Result<String, String> {
    let scratch = scratch();
    let (machine, out) = (wanted.machine(scratch.path(), &[fault]), scratch.path().join("out"));
    let told = |run: &std::process::Output, which: &str, what: &str| {
        format!("{which}: {what}; exit {:?}, {}", code(run), said(run))
    };
    let run = apply(&machine, &wanted.policy, &out);
    if let Some(what) = dishonest(&run, &machine, &out, wanted.target) {
        return Err(told(&run, "the run", &what));
    }
    let sent = machine.state()["counters"][wanted.target.one_shot()].as_u64().unwrap_or(0);
    if sent > 1 {
        return Err(told(&run, "the run", "the one-shot call was sent again"));
    }
    let (first, mutating) = (code(&run).unwrap_or(-1), machine.mutating_calls());
    let again = apply(&machine, &wanted.policy, &out);
    let second = code(&again).unwrap_or(-1);
    if let Some(what) = dishonest(&again, &machine, &out, wanted.target) {
        return Err(told(&again, "the run after", &what));
    }
    // Settled: satisfied, or reported as incomplete. Then nothing more is sent.
    if first == 0 || first == 9 {
        if second != first || machine.mutating_calls() != mutating {
            return Err(told(&again, "the run after", "it does not rest"));
        }
        return Ok(format!("{first} {second}"));
    }
    match (first, second) {
        (_, 0) => Ok(format!("{first} {second}")),
        // Admin control mode without a proof: nobody but a person with the escrow goes on from there.
        (6, 6) if wanted.target == Target::Admin && machine.mutating_calls() == mutating => {
            Ok(format!("{first} {second}"))
        }
        _ => Err(told(&again, "the run after", "it does not go on")),
    }
}
