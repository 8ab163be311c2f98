//! `use` on AMT 19 and newer, which speaks TLS alone: its own die is verified, admin control mode goes over mutual TLS, and
//! nothing lasts before the commit, whose answer is lost.

use std::fs;

use oob_tests::provisioning::{Org, policy};
use oob_tests::{Machine, code, json, scratch, text};
use serde_json::Value;

use crate::honesty::passwords_outside_escrow;
use crate::use_acm::apply;

const PROFILES: [&str; 2] = ["vpro-desktop-amt19", "vpro-desktop-amt20"];

fn outcome(result: &Value) -> &Value {
    &result["outcomes"][0]
}

#[test]
fn client_control_mode_is_committed_and_the_second_run_changes_nothing() {
    for profile in PROFILES {
        let scratch = scratch();
        let policy = policy(scratch.path(), "control_mode = \"ccm\"");
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let first = apply(&machine, &policy, &out);
        assert_eq!(code(&first), Some(0), "{profile}: {}\n{}", text(&first.stdout), text(&first.stderr));
        let state = machine.state();
        assert_eq!(
            (&state["control_mode"], &state["provisioning_state"]),
            (&1.into(), &2.into()),
            "{profile}"
        );
        println!("{}", outcome(&json(&first)));
        println!("{}", state);
        assert_eq!(passwords_outside_escrow(&state, &out), None, "{profile}");
        let mutating = machine.mutating_calls();
        let second = apply(&machine, &policy, &out);
        assert_eq!(
            (code(&second), &json(&second)["changed"]),
            (Some(0), &false.into()),
            "{profile}: {}",
            text(&second.stderr)
        );
        assert_eq!(machine.mutating_calls(), mutating, "{profile}: the second run sent a mutating call");
    }
}

#[test]
fn admin_control_mode_is_committed_over_mutual_tls() {
    for profile in PROFILES {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "sol = true");
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let first = apply(&machine, &org.policy, &out);
        assert_eq!(code(&first), Some(0), "{profile}: {}\n{}", text(&first.stdout), text(&first.stderr));
        let state = machine.state();
        assert_eq!(
            (&state["control_mode"], &state["provisioning_state"]),
            (&2.into(), &2.into()),
            "{profile}"
        );
        println!("{}", outcome(&json(&first)));
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
    }
    let _ = fs::metadata("/");
}
