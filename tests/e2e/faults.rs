//! The fault matrix: one fault at each device call of a whole run, each against a machine of its own. What the run says
//! afterwards is what the device is, no password lives outside the escrow, nothing panics; and one more run, without the
//! fault, goes on from there.
//!
//! `cargo test` tries a sample, `OOB_CRASH_ALL=1` a larger one as in `.ci/run`, `OOB_FAULTS_ALL=1` the whole; `tests/FAULTS.md`
//! has the counts of a whole run.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use oob_tests::{Machine, code, scratch, stride};

use crate::honesty::{Target, dishonest, said};
use crate::use_acm::apply;
use crate::wanted::Wanted;

/// What may happen to a call, once. A stride through them is coprime to their number, so that all come up.
const FAULTS: [&str; 19] = [
    "return-value:1",
    "fault",
    "http-400",
    "http-401",
    "http-500",
    "drop-before",
    "drop-after",
    "garbage",
    "stall",
    "short",
    "long",
    "wrong-command",
    "settle-401",
    "redirect",
    "basic",
    "other-realm",
    "huge",
    "no-fields",
    "odd-values",
];

/// What may happen to this many calls in a row.
const BURST: usize = 12;
const BURSTS: [&str; 5] = ["drop-before", "drop-after", "http-500", "http-401", "garbage"];

const LATEST_CLEARTEXT: &str = "vpro-desktop-amt16";
const FIRST_TLS_ONLY: &str = "vpro-desktop-amt19";

/// Every machine type that has AMT and a wired port.
const GENERATIONS: [&str; 9] = [
    "vpro-desktop-amt11",
    "vpro-desktop-amt12",
    "ism-desktop-amt14",
    "vpro-desktop-amt15",
    LATEST_CLEARTEXT,
    "vpro-desktop-amt16-1",
    "vpro-desktop-amt18",
    FIRST_TLS_ONLY,
    "vpro-desktop-amt20",
];

#[test]
fn no_fault_in_admin_control_mode_makes_a_run_lie() {
    run_all(Target::ADMIN.with_tls(), LATEST_CLEARTEXT, &FAULTS, 1, stride(89, 89));
}

#[test]
fn no_fault_in_client_control_mode_makes_a_run_lie() {
    run_all(Target::CLIENT.with_tls(), LATEST_CLEARTEXT, &FAULTS, 1, stride(89, 89));
}

#[test]
fn no_fault_on_the_way_over_tls_makes_a_run_lie() {
    run_all(Target::ADMIN.with_tls(), FIRST_TLS_ONLY, &FAULTS, 1, stride(89, 89));
    run_all(Target::CLIENT.with_tls(), FIRST_TLS_ONLY, &FAULTS, 1, stride(89, 89));
}

#[test]
fn no_silence_in_admin_control_mode_makes_a_run_lie() {
    run_all(Target::ADMIN.with_tls(), LATEST_CLEARTEXT, &BURSTS, BURST, stride(97, 97));
}

#[test]
fn no_silence_in_client_control_mode_makes_a_run_lie() {
    run_all(Target::CLIENT.with_tls(), LATEST_CLEARTEXT, &BURSTS, BURST, stride(97, 97));
}

#[test]
fn two_faults_do_not_make_a_run_lie() {
    let pairs = if stride(2, 2) == 1 { 250 } else { 4 };
    run_pairs(Target::ADMIN.with_tls(), LATEST_CLEARTEXT, pairs);
    run_pairs(Target::CLIENT.with_tls(), LATEST_CLEARTEXT, pairs);
    run_pairs(Target::ADMIN.with_tls(), FIRST_TLS_ONLY, pairs);
    run_pairs(Target::CLIENT.with_tls(), FIRST_TLS_ONLY, pairs);
}

/// Generation, mode, call and fault, so that any two of them that can meet do: each combination of generation and mode
/// meets each of its calls and each fault, and each call meets each fault on one generation or another.
#[test]
fn nor_does_one_on_any_generation_in_either_mode() {
    let step = stride(199, 9);
    for (place, profile) in GENERATIONS.into_iter().enumerate() {
        for (mode, target) in [Target::ADMIN, Target::CLIENT].into_iter().enumerate() {
            run_diagonal(target.with_tls().on(profile), profile, 2 * place + mode, step);
        }
    }
}

/// Every `step`-th pair of a call and one of these faults, which strikes it and those after it, `length` in all.
fn run_all(target: Target, profile: &'static str, faults: &[&str], length: usize, step: usize) {
    let scratch = scratch();
    let wanted = Wanted::new(target, profile, scratch.path());
    let calls = wanted.calls(scratch.path());
    let all = (1..=calls.len()).flat_map(|call| faults.iter().map(move |fault| (call, fault)));
    let tried = all.step_by(step).map(|(call, fault)| {
        let specs = (call..call + length).map(|call| format!("call:{call}={fault}")).collect();
        (format!("{fault} at call {call} ({})", calls[call - 1]), specs)
    });
    let of = format!("{} calls x {} faults, {length} in a row", calls.len(), faults.len());
    run_each(&wanted, &of, &tried.collect::<Vec<_>>());
}

/// Every `step`-th call with one fault, the next call with the next one; `shift` says which comes first.
fn run_diagonal(target: Target, profile: &'static str, shift: usize, step: usize) {
    let scratch = scratch();
    let wanted = Wanted::new(target, profile, scratch.path());
    let calls = wanted.calls(scratch.path());
    // A sample does not take the same calls of every generation.
    let places = (shift % step..calls.len()).step_by(step);
    let tried = places.map(|place| {
        let (call, fault) = (place + 1, FAULTS[(place + shift) % FAULTS.len()]);
        (format!("{fault} at call {call} ({})", calls[place]), vec![format!("call:{call}={fault}")])
    });
    run_each(&wanted, &format!("{} calls, a fault each", calls.len()), &tried.collect::<Vec<_>>());
}

/// Pairs of faults at any two calls, the same ones every time.
fn run_pairs(target: Target, profile: &'static str, pairs: usize) {
    let scratch = scratch();
    let wanted = Wanted::new(target, profile, scratch.path());
    let calls = wanted.calls(scratch.path());
    let mut state: u64 = 0x5eed;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut tried = Vec::new();
    for _ in 0..pairs {
        // The second may lie beyond the end of a run that the first cut short: it strikes the next one.
        let places = [draw(calls.len()) + 1, draw(calls.len() + 20) + 1];
        let specs: Vec<String> =
            places.iter().map(|call| format!("call:{call}={}", FAULTS[draw(FAULTS.len())])).collect();
        tried.push((specs.join(" and "), specs));
    }
    run_each(&wanted, &format!("{} calls, two faults", calls.len()), &tried);
}

/// Tries each list of faults against a machine of its own, and prints the counts.
fn run_each(wanted: &Wanted, of: &str, tried: &[(String, Vec<String>)]) {
    let (next, told) = (AtomicUsize::new(0), Mutex::new((BTreeMap::<String, usize>::new(), Vec::new())));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, faults)) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ended = one(wanted, faults);
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
        "fault matrix, {} {}, {of}: {} tried, {} dishonest; exit of the first and of the last run: {}",
        wanted.profile,
        wanted.target.word(),
        tried.len(),
        lies.len(),
        counts.join(", ")
    );
    assert!(lies.is_empty(), "{}", lies.join("\n"));
}

/// A run with those faults and runs after it until one rests: the exit codes of the first and of the last, or why one of
/// them was not honest.
fn one(wanted: &Wanted, faults: &[String]) -> Result<String, String> {
    let scratch = scratch();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let (machine, out) = (wanted.machine(scratch.path(), &faults), scratch.path().join("out"));
    let mut exits: Vec<i32> = Vec::new();
    // As many runs as a burst may spoil, and one fault spoils one.
    let most = if faults.len() == 1 { 3 } else { 3 + BURST };
    while exits.len() < most {
        let (before, sent) = (machine.state(), one_shots(&machine, wanted));
        let run = apply(&machine, &wanted.policy, &out);
        let told = |what: &str| {
            Err(format!("run {}: {what}; exit {:?}, {}", exits.len() + 1, code(&run), said(&run)))
        };
        if let Some(what) = dishonest(&run, &before, &machine, &out, wanted.target) {
            return told(&what);
        }
        if one_shots(&machine, wanted) > sent + 1 {
            return told("the one-shot call was sent again");
        }
        let exit = code(&run).unwrap_or(-1);
        let rests = exits.last() == Some(&exit) && machine.state()["mutating"] == before["mutating"];
        // A run that was satisfied, or found what is missing, has nothing more to send.
        if exits.last().is_some_and(|last| [0, 9].contains(last)) && !rests && faults.len() == 1 {
            return told("it does not rest");
        }
        exits.push(exit);
        if faults[0].ends_with("settle-401") {
            thread::sleep(Duration::from_millis(600)); // ten seconds of the simulated firmware's
        }
        // Admin control mode without a proof: nobody but a person with the escrow goes on from there.
        let is_end = [0, 9].contains(&exit) || exit == 6 && wanted.target.is_admin();
        if is_end && rests {
            return Ok(format!("{} {exit}", exits[0]));
        }
    }
    Err(format!("it does not come to rest: exits {exits:?}"))
}

fn one_shots(machine: &Machine, wanted: &Wanted) -> u64 {
    machine.state()["counters"][wanted.target.one_shot()].as_u64().unwrap_or(0)
}
