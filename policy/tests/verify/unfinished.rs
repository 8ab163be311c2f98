//! What a run of ours left behind that ended too early: it is told as ours, and no longer than it matters.

use oob_policy::{AmtOurs, AmtSeen, OpenChange, Rung};

use super::case::Case;
use super::check;

const CANDIDATE: &str = "amt.2.0000000000000000.age";
const LIVE: &str = "amt.1.0000000000000000.age";

/// Proven in client control mode, which AMT is in, with the realm of the proof.
fn ours() -> Case {
    let mut case = Case::staged().asked().runs().ours("Digest:ours");
    case.claims.since = None;
    amt(case, "post", "ccm")
}

fn amt(case: Case, provisioning: &str, mode: &str) -> Case {
    case.fact("intel.amt.provisioning", provisioning).fact("intel.amt.control_mode", mode)
}

fn open(mut case: Case, rotation: bool, change: impl FnOnce(&mut OpenChange)) -> Case {
    let open = case.history.open.insert(OpenChange {
        generation: 2,
        realm: "Digest:ours".into(),
        escrow: CANDIDATE.into(),
        call_sent: true,
        tls_pin: None,
        rotation,
        run_id: String::new(),
        earlier: Vec::new(),
    });
    change(open);
    case
}

fn unclaimed(mut case: Case) -> Case {
    case.history.amt = None;
    case.amt = AmtSeen::NotAsked;
    case
}

#[test]
fn a_new_password_matters_where_it_was_sent_and_no_proof_ended_it() {
    let doubt = open(ours(), true, |_| {});
    check(&doubt, Rung::NotClaimed, 6, "indeterminate");
    let text = doubt.look().text;
    assert!(text.contains(CANDIDATE) && text.contains(LIVE), "{text}");
    assert!(!doubt.look().new, "what nobody can tell is not recorded");
    // `apply` confirms AMT then, and so does this.
    check(&open(ours(), true, |it| it.call_sent = false), Rung::NotClaimed, 0, "satisfied");
    check(&open(ours(), true, |it| it.escrow = LIVE.into()), Rung::NotClaimed, 0, "satisfied");
    check(&open(ours(), true, |it| it.generation = 1), Rung::NotClaimed, 6, "indeterminate");
    check(&open(ours(), true, |it| it.generation = 0), Rung::NotClaimed, 0, "satisfied");
    // The proof of another AMT counts its generations by itself.
    let other = open(ours(), false, |it| (it.generation, it.realm) = (1, "Digest:x".into()));
    check(&other, Rung::NotClaimed, 6, "indeterminate");
    // AMT that answers with another realm is not the one that was to get the password.
    let mut theirs = open(ours(), true, |_| {});
    theirs.amt = AmtSeen::Realm("Digest:theirs".into());
    check(&theirs, Rung::NotClaimed, 9, "realm-changed");
    let mut merged = theirs.clone();
    let older = AmtOurs { realm: "Digest:theirs".into(), ..merged.history.amt.clone().unwrap() };
    merged.history.amt_older.push(older);
    check(&merged, Rung::NotClaimed, 0, "satisfied");
}

#[test]
fn what_amt_did_not_take_is_nothing_to_verify() {
    let setup = || unclaimed(open(ours(), false, |_| {}));
    check(&setup(), Rung::NotClaimed, 6, "indeterminate");
    assert!(setup().look().text.contains(CANDIDATE), "{}", setup().look().text);
    // Not provisioned, never sent.
    assert_eq!(amt(setup(), "pre", "none").look().amt, None);
    assert_eq!(unclaimed(open(ours(), false, |it| it.call_sent = false)).look().amt, None);
    // Off with its engine, and its candidate is kept in mind.
    let off = unclaimed(open(Case::staged().disabled(), false, |_| {}));
    check(&off, Rung::Effective, 0, "satisfied");
    let amt = off.look().amt.unwrap();
    assert_eq!(amt.reason, "off-with-the-engine");
    assert!(amt.text.contains(CANDIDATE), "{}", amt.text);
}

#[test]
fn going_up_is_not_somebody_elses_doing() {
    let up = |realm: &str| {
        let mut case = amt(ours(), "post", "acm");
        case.history.upgrading = Some(realm.into());
        case
    };
    let died = up("Digest:ours");
    check(&died, Rung::NotClaimed, 9, "upgrade-not-proven");
    let text = died.look().text;
    assert!(text.contains(LIVE) && !text.contains("somebody"), "{text}");
    check(&up("Digest:x"), Rung::NotClaimed, 9, "control-mode-drift");
    check(&amt(ours(), "post", "acm"), Rung::NotClaimed, 9, "control-mode-drift");
    let mut theirs = died;
    theirs.amt = AmtSeen::Realm("Digest:theirs".into());
    check(&theirs, Rung::NotClaimed, 9, "control-mode-drift");
    // It never arrived.
    let mut as_before = ours();
    as_before.history.upgrading = Some("Digest:ours".into());
    check(&as_before, Rung::NotClaimed, 0, "satisfied");
}

#[test]
fn leaving_is_not_somebody_elses_doing() {
    for state in ["pre", "in"] {
        let left = |realm: Option<&str>| {
            let mut case = amt(ours(), state, "none");
            case.history.leaving = realm.map(str::to_owned);
            // A realm of its own comes with every provisioning.
            case.amt = AmtSeen::Realm("Digest:next".into());
            case
        };
        check(&left(Some("Digest:ours")), Rung::NotClaimed, 9, "unprovision-not-recorded");
        let text = left(Some("Digest:ours")).look().text;
        assert!(text.contains(state) && !text.contains("somebody"), "{text}");
        check(&left(Some("Digest:x")), Rung::NotClaimed, 9, "control-mode-drift");
        check(&left(None), Rung::NotClaimed, 9, "control-mode-drift");
    }
    let mut as_before = ours();
    as_before.history.leaving = Some("Digest:ours".into());
    check(&as_before, Rung::NotClaimed, 0, "satisfied");
}
