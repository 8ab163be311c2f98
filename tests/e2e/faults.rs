//! The fault matrix: one fault at each device call of a whole run, each against a machine of its own. What the run says
//! afterwards is what the device is, no password lives outside the escrow, nothing panics; and one more run, without the
//! fault, goes on from there.
//!
//! `cargo test` tries a sample, `OOB_CRASH_ALL=1` any two of machine, call and fault as in `.ci/run`, `OOB_FAULTS_ALL=1` all
//! three; `tests/FAULTS.md` has the counts of a whole run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use oob_tests::{Machine, code, scratch, scratch_in_memory, stride, whole};

use crate::honesty::{Target, dishonest, said};
use crate::use_acm::apply;
use crate::wanted::Wanted;

/// What may happen to a call, once.
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

/// A test for each of them and each mode, so that a part of the whole can be run again alone.
macro_rules! single_faults {
    ($($name:ident: $place:literal;)*) => {$(
        mod $name {
            #[test]
            fn no_fault_in_admin_control_mode_makes_a_run_lie() {
                super::single_faults($place);
            }

            #[test]
            fn no_fault_in_client_control_mode_makes_a_run_lie() {
                super::single_faults($place + 1);
            }
        }
    )*};
}

single_faults! {
    amt_11: 0;
    amt_12: 2;
    amt_14: 4;
    amt_15: 6;
    amt_16: 8;
    amt_16_1: 10;
    amt_18: 12;
    amt_19: 14;
    amt_20: 16;
}

/// A run on each of them in either mode.
fn wanted_at(place: usize, dir: &Path) -> Wanted {
    let target = if place.is_multiple_of(2) { Target::ADMIN } else { Target::CLIENT };
    let profile = GENERATIONS[place / 2];
    Wanted::new(target.with_tls().on(profile), profile, dir)
}

/// In the whole, each fault at each call there; otherwise this machine's share of the pairs.
fn single_faults(place: usize) {
    let scratch = scratch();
    let wanted = wanted_at(place, scratch.path());
    let calls = wanted.calls(scratch.path());
    let of_all = undisturbed();
    let all = (0..calls.len()).flat_map(|call| (0..FAULTS.len()).map(move |fault| (call, fault)));
    let ours = all.filter(|(call, fault)| whole() || at(*call, *fault, of_all) == place);
    let tried = ours.step_by(stride(37, 1)).map(|(call, fault)| {
        let (name, spec) = (&calls[call], format!("call:{}={}", call + 1, FAULTS[fault]));
        (format!("{spec} ({name})"), vec![spec])
    });
    run_each(
        &wanted,
        &format!("{} calls x {} faults", calls.len(), FAULTS.len()),
        &tried.collect::<Vec<_>>(),
    );
}

/// On which machine a fault strikes a call, where not on all of them: so that any two of machine, call and fault meet.
fn at(call: usize, fault: usize, calls: &[usize]) -> usize {
    let long_enough: Vec<usize> = (0..calls.len()).filter(|place| calls[*place] > call).collect();
    long_enough[(call + fault) % long_enough.len()]
}

/// How many calls a run makes on each machine when nothing goes wrong; counted once per process.
fn undisturbed() -> &'static [usize] {
    static CALLS: OnceLock<Vec<usize>> = OnceLock::new();
    CALLS.get_or_init(|| {
        let count = |place: usize| {
            let scratch = scratch();
            wanted_at(place, scratch.path()).calls(scratch.path()).len()
        };
        // Not all at once: the device's waiting times are short, and so is patience with it.
        let places: Vec<usize> = (0..2 * GENERATIONS.len()).collect();
        let some = |places: &[usize]| -> Vec<usize> {
            thread::scope(|scope| {
                let counts: Vec<_> = places.iter().map(|place| scope.spawn(|| count(*place))).collect();
                counts.into_iter().map(|count| count.join().unwrap()).collect()
            })
        };
        places.chunks(4).flat_map(some).collect()
    })
}

#[test]
fn any_two_of_machine_call_and_fault_meet() {
    let calls = [9, 5, 7, 5];
    let all: Vec<[usize; 3]> =
        (0..9).flat_map(|call| (0..6).map(move |fault| [at(call, fault, &calls), call, fault])).collect();
    let met = |one: usize, other: usize| {
        all.iter().map(|case| (case[one], case[other])).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(met(1, 2), 9 * 6);
    assert_eq!(met(0, 1), calls.iter().sum::<usize>(), "each machine meets its calls, and no others");
    assert_eq!(met(0, 2), calls.len() * 6);
}

#[test]
fn no_silence_in_admin_control_mode_makes_a_run_lie() {
    run_bursts(Target::ADMIN.with_tls(), LATEST_CLEARTEXT, &BURSTS, stride(97, 97));
}

#[test]
fn no_silence_in_client_control_mode_makes_a_run_lie() {
    run_bursts(Target::CLIENT.with_tls(), LATEST_CLEARTEXT, &BURSTS, stride(97, 97));
}

#[test]
fn two_faults_do_not_make_a_run_lie() {
    let pairs = if whole() { 250 } else { 4 };
    run_pairs(Target::ADMIN.with_tls(), LATEST_CLEARTEXT, pairs);
    run_pairs(Target::CLIENT.with_tls(), LATEST_CLEARTEXT, pairs);
    run_pairs(Target::ADMIN.with_tls(), FIRST_TLS_ONLY, pairs);
    run_pairs(Target::CLIENT.with_tls(), FIRST_TLS_ONLY, pairs);
}

/// Every `step`-th pair of a call and one of these faults, which strikes it and those after it.
fn run_bursts(target: Target, profile: &'static str, faults: &[&str], step: usize) {
    let scratch = scratch();
    let wanted = Wanted::new(target, profile, scratch.path());
    let calls = wanted.calls(scratch.path());
    let all = (1..=calls.len()).flat_map(|call| faults.iter().map(move |fault| (call, fault)));
    let tried = all.step_by(step).map(|(call, fault)| {
        let specs = (call..call + BURST).map(|call| format!("call:{call}={fault}")).collect();
        (format!("{fault} at call {call} ({})", calls[call - 1]), specs)
    });
    let of = format!("{} calls x {} faults, {BURST} in a row", calls.len(), faults.len());
    run_each(&wanted, &of, &tried.collect::<Vec<_>>());
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
        // Most of a case is waiting; beside the whole nothing else runs.
        for _ in 0..if whole() { 24 } else { 4 } {
            scope.spawn(|| {
                while let Some((name, faults)) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ended = one(wanted, faults);
                    let mut told = told.lock().unwrap();
                    match ended {
                        Ok(exits) => *told.0.entry(exits).or_default() += 1,
                        Err(why) => {
                            let place = format!("{} {}", wanted.profile, wanted.target.word());
                            let _ = writeln!(std::io::stderr(), "{place} {name}: {why}");
                            told.1.push(format!("{name}: {why}"));
                        }
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
    let (scratch, memory) = (scratch(), scratch_in_memory());
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let (machine, out) = (wanted.machine(memory.path(), &faults), scratch.path().join("out"));
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
        if faults.iter().any(|fault| fault.ends_with("settle-401")) {
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
