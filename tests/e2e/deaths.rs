//! Killed anywhere on the way: one more run ends at the target, or says what is missing, or that it
//! does not know and which escrow file is the candidate. It never claims what is not so.
//!
//! `cargo test` runs a sample, `OOB_CRASH_ALL=1` a larger one as in `.ci/run`, `OOB_FAULTS_ALL=1` the whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oob_tests::{agent_command, code, scratch, scratch_in_memory, stride, text, whole};

use crate::honesty::{Target, dishonest, passwords_outside_escrow, said};
use crate::use_acm::{apply, arguments};
use crate::wanted::Wanted;

/// Where a run dies.
pub(crate) enum Death {
    /// The simulator kills its peer before or after the N-th device call.
    Call(&'static str, usize),
    /// The agent's own crash point.
    Point(usize),
}

/// Crash points, line by line, and device calls of a run that nobody kills.
pub(crate) fn undisturbed(wanted: &Wanted) -> (String, Vec<String>) {
    let scratch = scratch();
    let machine = wanted.machine(scratch.path(), &[]);
    let trace = scratch.path().join("trace");
    let run = agent_command()
        .args(arguments(&machine, &wanted.policy, &scratch.path().join("out")))
        .env("OOB_PROBE_TRACE", &trace)
        .output()
        .expect("running oob-agent");
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    (std::fs::read_to_string(trace).expect("a debug build writes its trace"), machine.calls())
}

/// A test for each machine type and each mode, so that a part of the whole can be run again alone.
macro_rules! deaths {
    ($($name:ident: $profile:literal;)*) => {$(
        mod $name {
            use crate::honesty::Target;

            #[test]
            fn killed_on_the_way_to_admin_control_mode() {
                super::die_everywhere(Target::ADMIN.with_tls(), $profile);
            }

            #[test]
            fn killed_on_the_way_to_client_control_mode() {
                super::die_everywhere(Target::CLIENT.with_tls(), $profile);
            }
        }
    )*};
}

deaths! {
    amt_11: "vpro-desktop-amt11";
    amt_12: "vpro-desktop-amt12";
    amt_14: "ism-desktop-amt14";
    amt_15: "vpro-desktop-amt15";
    amt_16: "vpro-desktop-amt16";
    amt_16_1: "vpro-desktop-amt16-1";
    amt_18: "vpro-desktop-amt18";
    amt_19: "vpro-desktop-amt19";
    amt_20: "vpro-desktop-amt20";
}

/// One more run ends well, or says what is missing.
fn die_everywhere(target: Target, profile: &'static str) {
    let scratch = scratch();
    let wanted = Wanted::new(target.on(profile), profile, scratch.path());
    let (trace, calls) = undisturbed(&wanted);
    let points = trace.lines().count();
    let by_call = ["kill-peer-before", "kill-peer-after"]
        .into_iter()
        .flat_map(|side| (1..=calls.len()).map(move |call| Death::Call(side, call)));
    let deaths = by_call.chain((1..=points).map(Death::Point));
    let deaths: Vec<Death> = deaths.step_by(stride(251, 61)).collect();
    let (next, told) = (AtomicUsize::new(0), Mutex::new((BTreeMap::<String, usize>::new(), Vec::new())));
    thread::scope(|scope| {
        for _ in 0..if whole() { 24 } else { 2 } {
            scope.spawn(|| {
                while let Some(death) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = match death {
                        Death::Call(side, call) => format!("{side} {call} ({})", calls[call - 1]),
                        Death::Point(point) => {
                            format!("point {point} ({})", trace.lines().nth(point - 1).unwrap_or_default())
                        }
                    };
                    let ended = die(&wanted, death);
                    let mut told = told.lock().unwrap();
                    match ended {
                        Ok(exit) => *told.0.entry(exit).or_default() += 1,
                        Err(why) => {
                            let _ = writeln!(std::io::stderr(), "{profile} {} {name}: {why}", target.word());
                            told.1.push(format!("{name}: {why}"));
                        }
                    }
                }
            });
        }
    });
    let (exits, lies) = told.into_inner().unwrap();
    let counts: Vec<String> = exits.iter().map(|(exit, count)| format!("{exit}: {count}")).collect();
    let _ = writeln!(
        std::io::stderr(),
        "crash matrix, {profile} {}: {} of {} deaths ({} device calls twice, {points} crash points), {} dishonest; exit of the \
         next run: {}",
        target.word(),
        deaths.len(),
        2 * calls.len() + points,
        calls.len(),
        lies.len(),
        counts.join(", ")
    );
    assert!(lies.is_empty(), "{}", lies.join("\n"));
}

/// Dies there and runs again; the exit code of the second run, or what was wrong.
pub(crate) fn die(wanted: &Wanted, death: &Death) -> Result<String, String> {
    let (scratch, memory) = (scratch(), scratch_in_memory());
    let fault = match death {
        Death::Call(side, call) => Some(format!("call:{call}={side}")),
        Death::Point(_) => None,
    };
    let faults: Vec<&str> = fault.iter().map(String::as_str).collect();
    let machine = wanted.machine(memory.path(), &faults);
    let out = scratch.path().join("out");
    let mut first = agent_command();
    first.args(arguments(&machine, &wanted.policy, &out));
    if let Death::Point(point) = death {
        first.env("OOB_PROBE_KILL", point.to_string());
    }
    let killed = first.output().expect("running oob-agent");
    let told = |run: &Output, what: &str| format!("{what}; exit {:?}, {}", code(run), said(run));
    if code(&killed).is_some() {
        return Err(told(&killed, "it was not killed"));
    }
    if let Some(what) = passwords_outside_escrow(&machine.state(), &out) {
        return Err(told(&killed, &what));
    }
    let before = machine.state();
    let next = apply(&machine, &wanted.policy, &out);
    if let Some(what) = dishonest(&next, &before, &machine, &out, wanted.target) {
        return Err(told(&next, &what));
    }
    let exit = code(&next).unwrap_or(-1);
    // Client control mode is taken back over MEI and done again, so nothing less than the target will do.
    let ends: &[i32] = if wanted.target.is_admin() { &[0, 6, 9] } else { &[0] };
    if !ends.contains(&exit) {
        return Err(told(&next, "it does not go on"));
    }
    // And it rests there.
    let mutating = machine.mutating_calls();
    let before = machine.state();
    let rest = apply(&machine, &wanted.policy, &out);
    if let Some(what) = dishonest(&rest, &before, &machine, &out, wanted.target) {
        return Err(told(&rest, &what));
    }
    if code(&rest) != Some(exit) || machine.mutating_calls() != mutating {
        return Err(told(&rest, "it does not rest"));
    }
    Ok(exit.to_string())
}
