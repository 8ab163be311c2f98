use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::event::EventPolicy;
use super::super::testing::{event, signer};
use super::*;
use crate::escrow::EscrowName;

#[path = "fold_merged_tests.rs"]
mod merged;

const ESCROW: &str = "amt.1.0123456789abcdef.age";

fn stored(events: Vec<SignedEvent>) -> Stored {
    Stored { events, escrow: vec![EscrowName::parse(ESCROW).unwrap()], rejected: Vec::new() }
}

fn sign(seq: u64, prev: Option<&SignedEvent>, kind: Kind, body: Value) -> SignedEvent {
    event("d1-x", seq, prev.map(|event| event.id.as_str()), kind, body).sign(&signer(1)).unwrap()
}

fn verified(generation: u32, escrow: &str) -> Value {
    json!({"channel": "amt", "generation": generation, "realm": "Digest:0", "control_mode": "ccm", "escrow": escrow})
}

#[test]
fn nothing_is_nothing() {
    assert_eq!(fold(&Stored::default(), &[]), History::default());
}

#[test]
fn the_proof_outlives_later_failures_and_observations() {
    let first = sign(1, None, Kind::Observed, json!({}));
    let proof = sign(2, Some(&first), Kind::Verified, verified(1, ESCROW));
    let failed = sign(3, Some(&proof), Kind::Failed, json!({"channel": "amt", "generation": 2}));
    let last = sign(4, Some(&failed), Kind::Observed, json!({}));
    let history = fold(&stored(vec![first, proof.clone(), failed, last.clone()]), &[]);
    let ours = history.amt.unwrap();
    assert_eq!((ours.generation, ours.event, ours.escrow), (1, proof.id, ESCROW.to_owned()));
    assert_eq!((history.head, history.seq, history.forked), (Some(last.id), 4, false));
    assert_eq!(history.amt_generation, 2);
    assert!(history.rejected.is_empty());
}

#[test]
fn an_undone_generation_is_no_longer_ours() {
    let one = sign(1, None, Kind::Verified, verified(1, ESCROW));
    let two = sign(2, Some(&one), Kind::Verified, verified(2, "amt.2.0123456789abcdef.age"));
    let undone = |generation| sign(3, Some(&two), Kind::Note, json!({"undone_generation": generation}));
    let ours = |note: SignedEvent| {
        fold(&stored(vec![one.clone(), two.clone(), note]), &[]).amt.map(|ours| ours.generation)
    };
    assert_eq!(ours(undone(9)), Some(2));
    assert_eq!(ours(undone(2)), Some(1));
}

#[test]
fn what_amt_was_seen_without_is_no_longer_ours_and_what_comes_later_is() {
    let one = sign(1, None, Kind::Verified, verified(1, ESCROW));
    let again = "amt.2.0123456789abcdef.age";
    let two = sign(2, Some(&one), Kind::Verified, verified(2, again));
    let fold_with = |kind, body: Value| {
        let note = sign(3, Some(&two), kind, body);
        let later = sign(4, Some(&note), Kind::Verified, verified(3, "amt.3.0123456789abcdef.age"));
        let history = fold(&stored(vec![one.clone(), two.clone(), note.clone()]), &[]);
        let set_up_again = fold(&stored(vec![one.clone(), two.clone(), note, later]), &[]);
        assert_eq!(history.amt_generation, 2, "a generation is never counted twice");
        let generation = |history: History| history.amt.map(|ours| ours.generation);
        (generation(history), generation(set_up_again))
    };
    let body = |files: &[&str]| json!({"channel": "amt", "ended": files});
    assert_eq!(fold_with(Kind::Retired, body(&[ESCROW, again])), (None, Some(3)));
    assert_eq!(fold_with(Kind::Retired, body(&[again])), (Some(1), Some(3)));
    assert_eq!(fold_with(Kind::Retired, json!({"channel": "amt", "ended": "all"})), (Some(2), Some(3)));
    assert_eq!(
        fold_with(Kind::Retired, json!({"channel": "me", "ended": [ESCROW, again]})),
        (Some(2), Some(3))
    );
    assert_eq!(fold_with(Kind::Failed, body(&[ESCROW, again])), (Some(2), Some(3)));
}

#[test]
fn the_same_generation_of_two_stores_is_told_apart() {
    // One stick undid its generation 1; the other proved its own generation 1. Merged, the proof holds.
    let other = "amt.1.fedcba9876543210.age";
    let here = sign(1, None, Kind::Verified, verified(1, ESCROW));
    let there = sign(1, None, Kind::Verified, verified(1, other));
    let note = json!({"undone_generation": 1, "escrow": ESCROW});
    let undone = sign(2, Some(&here), Kind::Note, note);
    let history = fold(&stored(vec![here.clone(), there.clone(), undone]), &[]);
    assert_eq!(history.amt.map(|ours| ours.escrow), Some(other.to_owned()));
    assert_eq!(history.amt_older, []);
    // With neither undone, both are candidates.
    let history = fold(&stored(vec![here, there]), &[]);
    let escrows: Vec<String> =
        history.amt.iter().chain(&history.amt_older).map(|ours| ours.escrow.clone()).collect();
    assert_eq!(escrows.len(), 2);
    assert!(escrows.contains(&ESCROW.to_owned()) && escrows.contains(&other.to_owned()));
}

#[test]
fn whom_a_credential_is_sealed_to_and_whether_it_is_here() {
    let escrowed =
        json!({"channel": "amt", "generation": 1, "escrow": ESCROW, "recipients": ["ops (ops) sha256:00"]});
    let escrowed = sign(1, None, Kind::Escrowed, escrowed);
    let proof = sign(2, Some(&escrowed), Kind::Verified, verified(1, ESCROW));
    let ours = fold(&stored(vec![escrowed, proof.clone()]), &[]).amt.unwrap();
    assert_eq!((ours.sealed, ours.recipients), (true, vec!["ops (ops) sha256:00".to_owned()]));
    let elsewhere = Stored { escrow: Vec::new(), ..stored(vec![proof]) };
    assert!(!fold(&elsewhere, &[]).amt.unwrap().sealed);
}

#[test]
fn a_proof_that_lacks_something_is_no_proof() {
    for missing in ["channel", "generation", "realm", "control_mode", "escrow"] {
        let mut body = verified(1, ESCROW);
        body.as_object_mut().unwrap().remove(missing);
        let history = fold(&stored(vec![sign(1, None, Kind::Verified, body)]), &[]);
        assert_eq!(history.amt, None, "{missing}");
    }
    let claimed = fold(&stored(vec![sign(1, None, Kind::Activated, verified(1, ESCROW))]), &[]);
    assert_eq!(claimed.amt, None);
}

#[test]
fn a_credential_that_is_not_here_is_told() {
    let mut stored = stored(vec![sign(1, None, Kind::Verified, verified(1, ESCROW))]);
    stored.escrow.clear();
    let history = fold(&stored, &[]);
    assert!(history.amt.is_some());
    assert!(history.rejected[0].contains(ESCROW), "{:?}", history.rejected);
}

#[test]
fn the_longest_chain_wins_then_the_more_complete() {
    let root = sign(1, None, Kind::Observed, json!({}));
    let left = sign(2, Some(&root), Kind::Escrowed, json!({"side": "left"}));
    let right = sign(2, Some(&root), Kind::Verified, json!({"side": "right"}));
    let history = fold(&stored(vec![root.clone(), left.clone(), right.clone()]), &[]);
    assert_eq!((history.head, history.forked), (Some(right.id.clone()), true));
    let longer = sign(3, Some(&left), Kind::Note, json!({}));
    let history = fold(&stored(vec![root.clone(), left, right, longer.clone()]), &[]);
    assert_eq!((history.head, history.forked), (Some(longer.id), true));
    // A link along which `seq` does not grow does not count.
    let backward = sign(1, Some(&root), Kind::Verified, json!({"side": "back"}));
    let history = fold(&stored(vec![root, backward]), &[]);
    assert!(history.forked);
}

#[test]
fn the_last_lockdown_of_amt_is_known_and_that_of_the_engine_is_another_thing() {
    let engine = sign(1, None, Kind::Neutralized, json!({"channel": "me", "method": "lockdown"}));
    let off = json!({"channel": "amt", "method": "lockdown"});
    let first = sign(2, Some(&engine), Kind::Neutralized, off.clone());
    let second = sign(3, Some(&first), Kind::Neutralized, off);
    let other = sign(4, Some(&second), Kind::Note, json!({"channel": "amt", "method": "lockdown"}));
    let locked = |events: &[&SignedEvent]| {
        fold(&stored(events.iter().map(|it| (*it).clone()).collect()), &[]).locked_down.map(|it| it.event)
    };
    assert_eq!(locked(&[&engine, &other]), None);
    assert_eq!(locked(&[&engine, &first]), Some(first.id.clone()));
    assert_eq!(locked(&[&other, &first, &second]), Some(second.id.clone()));
}

#[test]
fn the_password_of_mebx_outlives_the_provisioning_that_set_it() {
    let proof = |generation: u32, escrow: &str, settings: Value, file: &str| {
        let mut body = verified(generation, escrow);
        body["settings"] = settings;
        body["mebx_escrow"] = file.into();
        body
    };
    let one = sign(1, None, Kind::Verified, proof(1, ESCROW, json!(["mebx = true"]), "amt-mebx.1.00.age"));
    let gone = sign(2, Some(&one), Kind::Retired, json!({"channel": "amt", "ended": [ESCROW]}));
    let again = "amt.2.0123456789abcdef.age";
    // A second one that AMT may not have taken counts for nothing.
    let two =
        sign(3, Some(&gone), Kind::Verified, proof(2, again, json!(["sol = true"]), "amt-mebx.2.00.age"));
    let folded = |events: &[&SignedEvent]| {
        let history = fold(&stored(events.iter().map(|it| (*it).clone()).collect()), &[]);
        (history.amt.map(|it| it.generation), history.mebx)
    };
    let first = Some("amt-mebx.1.00.age".to_owned());
    assert_eq!(folded(&[&one]), (Some(1), first.clone()));
    assert_eq!(folded(&[&one, &gone]), (None, first.clone()));
    assert_eq!(folded(&[&one, &gone, &two]), (Some(2), first));
    assert_eq!(folded(&[&two]), (Some(2), None));
}

#[test]
fn the_password_that_an_open_change_made_for_mebx_is_known() {
    let made = |generation: u32, file: &str| json!({"channel": "amt-mebx", "generation": generation, "escrow": file});
    let one = sign(1, None, Kind::Escrowed, made(1, "amt-mebx.1.00.age"));
    let other = sign(2, Some(&one), Kind::Escrowed, made(2, "amt-mebx.2.00.age"));
    let journal = |run_id: &str| {
        let realm = "Digest:1".to_owned();
        let (run_id, escrow) = (run_id.to_owned(), ESCROW.to_owned());
        [
            JournalEntry::Begin { run_id, generation: 1, realm, escrow, rotation: false },
            JournalEntry::Sending { call: "Setup".to_owned() },
        ]
    };
    let open = |run_id: &str| fold(&stored(vec![one.clone(), other.clone()]), &journal(run_id)).mebx_open;
    assert_eq!(open(&one.event.run_id), Some("amt-mebx.1.00.age".to_owned()));
    assert_eq!(open("another"), None, "of another run");
    assert_eq!(fold(&stored(vec![one]), &[]).mebx_open, None, "nothing is open");
}

#[test]
fn the_password_of_mebx_counts_for_nothing_once_somebody_else_was_there() {
    let proof = |realm: &str, settings: Value| {
        json!({"channel": "amt", "generation": 1, "realm": realm, "control_mode": "acm", "escrow": ESCROW,
            "settings": settings, "mebx_escrow": "amt-mebx.1.00.age"})
    };
    let set = (Kind::Verified, proof("Digest:1", json!(["mebx = true"])));
    let other = || (Kind::Verified, proof("Digest:2", json!([])));
    let seen = |realm: Value| {
        (Kind::Retired, json!({"channel": "amt", "ended": [ESCROW], "unprovisioned": "seen", "realm": realm}))
    };
    let left = (
        Kind::Retired,
        json!({"channel": "amt", "ended": [ESCROW], "unprovisioned": "full", "realm": "Digest:1"}),
    );
    let off = (Kind::Neutralized, json!({"channel": "amt", "method": "lockdown"}));
    let on = (Kind::Note, json!({"channel": "amt", "switched_on": true}));
    let same = (Kind::Verified, proof("Digest:1", json!(["sol = true"])));
    for (later, stands) in [
        (vec![same.clone()], true),
        (vec![left.clone(), other()], true),
        (vec![left.clone(), off.clone()], true),
        (vec![seen("Digest:1".into()), other()], true),
        // Somebody unprovisioned it, seen as such or by what came after.
        (vec![seen(Value::Null)], false),
        (vec![other()], false),
        // Somebody enabled it again.
        (vec![left.clone(), off.clone(), other()], false),
        (vec![left.clone(), off.clone(), on.clone()], false),
        (vec![left.clone(), off.clone(), on, set.clone()], true),
        // And gave MEBx another one in a run of ours, which later proofs of that provisioning keep.
        (vec![left, off, set.clone(), same.clone()], true),
        // A look from another host makes nothing ours.
        (
            vec![(Kind::Verified, json!({"channel": "amt", "verified_remote": true, "realm": "Digest:2"}))],
            true,
        ),
    ] {
        let mut events: Vec<SignedEvent> = Vec::new();
        for (kind, body) in std::iter::once(set.clone()).chain(later) {
            events.push(sign(events.len() as u64 + 1, events.last(), kind, body));
        }
        let shown = format!("{:?}", events.iter().map(|it| &it.event.body).collect::<Vec<_>>());
        assert_eq!(fold(&stored(events), &[]).mebx.is_some(), stands, "{shown}");
    }
}

#[test]
fn amt_is_as_the_last_of_our_runs_switched_it() {
    let off = |seq, prev: Option<&SignedEvent>| {
        sign(seq, prev, Kind::Neutralized, json!({"channel": "amt", "method": "lockdown"}))
    };
    let on = |seq, prev: Option<&SignedEvent>| {
        sign(seq, prev, Kind::Note, json!({"channel": "amt", "switched_on": true, "boot_id": "b1"}))
    };
    let one = off(1, None);
    let two = on(2, Some(&one));
    let used = sign(3, Some(&two), Kind::Verified, verified(1, ESCROW));
    let four = off(4, Some(&used));
    let folded = |events: &[&SignedEvent]| {
        let history = fold(&stored(events.iter().map(|it| (*it).clone()).collect()), &[]);
        (history.enabled.map(|it| (it.event, it.boot_id)), history.locked_down.map(|it| it.event))
    };
    assert_eq!(folded(&[&one]), (None, Some(one.id.clone())));
    assert_eq!(folded(&[&one, &two]), (Some((two.id.clone(), Some("b1".to_owned()))), None));
    assert_eq!(folded(&[&one, &two, &used]), (None, None), "used since, so it is on");
    assert_eq!(folded(&[&one, &two, &used, &four]), (None, Some(four.id.clone())));
    let said = sign(2, Some(&one), Kind::Note, json!({"channel": "amt", "switched_on": "yes"}));
    assert_eq!(folded(&[&one, &said]).1, Some(one.id.clone()));
    // A look from another host has no escrow file, and uses nothing.
    let seen = json!({"channel": "amt", "verified_remote": true, "generation": 1, "realm": "Digest:0", "control_mode": "ccm"});
    let seen = sign(2, Some(&one), Kind::Verified, seen);
    assert_eq!(folded(&[&one, &seen]).1, Some(one.id.clone()));
}

#[test]
fn what_a_lockdown_says_of_mebx_ends_where_a_run_began_another_one_over_it() {
    let off = json!({"channel": "amt", "method": "lockdown", "mebx_escrow": "amt-mebx.1.00.age"});
    let one = sign(1, None, Kind::Neutralized, off.clone());
    let two = sign(2, Some(&one), Kind::Neutralized, off);
    let disabling = |again: Option<&SignedEvent>| JournalEntry::Disabling {
        call: "CFG_DisableAndClearAMT".to_owned(),
        again: again.map(|event| event.id.clone()),
    };
    for (events, journal, stands) in [
        (vec![&one], vec![], true),
        (vec![&one], vec![disabling(None)], true),
        (vec![&one], vec![disabling(None), disabling(Some(&one))], false),
        // It came to its own event.
        (vec![&one, &two], vec![disabling(None), disabling(Some(&one))], true),
        (vec![&one, &two], vec![disabling(Some(&one)), disabling(Some(&two))], false),
    ] {
        let off = fold(&stored(events.into_iter().cloned().collect()), &journal).locked_down.unwrap();
        assert_eq!(off.mebx_escrow.is_some(), stands, "{journal:?}");
    }
}

#[test]
fn generations_count_from_everywhere() {
    let begin = JournalEntry::Begin {
        run_id: "r".to_owned(),
        generation: 7,
        realm: "Digest:0".to_owned(),
        escrow: ESCROW.to_owned(),
        rotation: false,
    };
    let escrowed =
        |generation| sign(1, None, Kind::Escrowed, json!({"channel": "amt", "generation": generation}));
    assert_eq!(fold(&stored(vec![]), &[]).amt_generation, 1);
    assert_eq!(fold(&stored(vec![escrowed(5)]), &[]).amt_generation, 5);
    let history = fold(&stored(vec![escrowed(5)]), &[begin]);
    assert_eq!((history.amt_generation, history.open.map(|open| open.generation)), (7, Some(7)));
    let forged = fold(&stored(vec![escrowed(u32::MAX)]), &[]);
    assert_eq!(forged.amt_generation, 1, "a forged number must leave room for the next one");
}

#[test]
fn a_recorded_proof_ends_the_open_change() {
    let begin = |generation| JournalEntry::Begin {
        run_id: "r".to_owned(),
        generation,
        realm: "Digest:0".to_owned(),
        escrow: format!("amt.{generation}.0123456789abcdef.age"),
        rotation: false,
    };
    let proof = stored(vec![sign(1, None, Kind::Verified, verified(1, ESCROW))]);
    assert_eq!(fold(&proof, &[begin(1)]).open, None);
    assert_eq!(fold(&proof, &[begin(2)]).open.map(|open| open.generation), Some(2));
}

#[test]
fn highest_serial_and_newest_staging() {
    let with_policy = |seq, serial: u64| {
        let mut event = event("d1-x", seq, None, Kind::Observed, json!({}));
        let sha256 = serial.to_string();
        event.policy = Some(EventPolicy { sha256, serial, rule: None, trust: "unsigned".to_owned() });
        event.sign(&signer(1)).unwrap()
    };
    let history = fold(&stored(vec![with_policy(1, 9), with_policy(2, 8)]), &[]);
    assert_eq!(history.policy, Some((9, "9".to_owned())));
    let body = |name: &str| json!({"original_sha256": "o", "result_sha256": name, "method": "soft-disable"});
    let one = sign(1, None, Kind::Staged, body("one"));
    let two = sign(2, Some(&one), Kind::Staged, body("two"));
    assert_eq!(fold(&stored(vec![two, one]), &[]).staged.unwrap().result_sha256, "two");
}

proptest! {
    /// Merging stores is set union: neither order nor repetition may matter.
    #[test]
    fn order_and_repetition_mean_nothing(
        shape in prop::collection::vec((0_usize..9, 0_u8..6, 0_u32..4), 1..9),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let mut events: Vec<SignedEvent> = Vec::new();
        for (parent, kind, generation) in shape {
            let prev = events.get(parent).cloned();
            let seq = prev.as_ref().map_or(1, |prev| prev.event.seq + 1);
            let (kind, body) = match kind {
                0 => (Kind::Observed, json!({})),
                1 => (Kind::Escrowed, json!({"channel": "amt", "generation": generation})),
                2 | 3 => (Kind::Verified, verified(generation, ESCROW)),
                4 => (Kind::Note, json!({"undone_generation": generation})),
                _ => (Kind::Staged, json!({"original_sha256": "o", "result_sha256": "r", "method": generation.to_string()})),
            };
            events.push(sign(seq, prev.as_ref(), kind, body));
        }
        let expected = fold(&stored(events.clone()), &[]);
        let mut mixed: Vec<SignedEvent> = order.iter().map(|index| index.get(&events).clone()).collect();
        mixed.extend(events.into_iter().rev());
        prop_assert_eq!(fold(&stored(mixed), &[]), expected);
    }
}

#[test]
fn a_proof_from_another_host_counts_for_the_provisioning_that_it_saw() {
    let proof = sign(1, None, Kind::Verified, verified(2, ESCROW));
    let remote = |seq, before: &SignedEvent, body: Value| {
        let mut whole = json!({"channel": "amt", "verified_remote": true, "generation": 2, "realm": "Digest:0",
                               "address": "192.0.2.7:16993"});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        sign(seq, Some(before), Kind::Verified, whole)
    };
    let fold = |events: Vec<SignedEvent>| fold(&stored(events), &[]);
    let seen = remote(2, &proof, json!({}));
    let history = fold(vec![proof.clone(), seen.clone()]);
    assert_eq!(history.amt_remote.as_ref().map(|it| it.event.as_str()), Some(seen.id.as_str()));
    // It makes nothing ours, and it takes nothing away from the claim.
    assert_eq!(history.amt.map(|ours| ours.event), Some(proof.id.clone()));
    assert_eq!(fold(vec![remote(2, &proof, json!({}))]).amt_remote, None);
    let later = remote(3, &seen, json!({"address": "192.0.2.8:16993"}));
    let history = fold(vec![later, proof.clone(), seen]);
    assert_eq!(history.amt_remote.map(|it| it.address), Some("192.0.2.8:16993".to_owned()));
    for other in [
        json!({"generation": 1}),
        json!({"realm": "Digest:1"}),
        json!({"verified_remote": false}),
        json!({"channel": "me"}),
    ] {
        assert_eq!(fold(vec![proof.clone(), remote(2, &proof, other.clone())]).amt_remote, None, "{other}");
    }
}

/// AMT is switched off where nobody has provisioned it, so what was proven before is of another provisioning.
#[test]
fn a_lockdown_ends_the_proofs_that_it_follows() {
    let proof = sign(1, None, Kind::Verified, verified(1, ESCROW));
    let between = sign(2, Some(&proof), Kind::Observed, json!({}));
    let off = |prev: Option<&SignedEvent>| {
        sign(3, prev, Kind::Neutralized, json!({"channel": "amt", "method": "lockdown"}))
    };
    let after = off(Some(&between));
    let since = sign(4, Some(&after), Kind::Verified, verified(2, "amt.2.0123456789abcdef.age"));
    let engine = sign(3, Some(&between), Kind::Neutralized, json!({"channel": "me", "method": "lockdown"}));
    let generation = |events: &[&SignedEvent]| {
        let history = fold(&stored(events.iter().map(|it| (*it).clone()).collect()), &[]);
        (history.amt.map(|it| it.generation), history.amt_older.len())
    };
    assert_eq!(generation(&[&proof, &between, &engine]), (Some(1), 0));
    assert_eq!(generation(&[&proof, &between, &after]), (None, 0));
    assert_eq!(generation(&[&proof, &between, &after, &since]), (Some(2), 0));
    // Of a store that was merged nobody knows which came first.
    assert_eq!(generation(&[&proof, &between, &off(None)]), (Some(1), 0));
}
