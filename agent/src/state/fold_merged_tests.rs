//! Of several provisionings and media.

use super::*;

/// A proof of another provisioning, by its realm.
fn of(realm: &str, generation: u32, escrow: &str) -> Value {
    json!({"channel": "amt", "generation": generation, "realm": realm, "control_mode": "ccm", "escrow": escrow})
}

fn rotating(realm: &str, generation: u32, escrow: &str) -> [JournalEntry; 2] {
    let begin = JournalEntry::Begin {
        run_id: "r".to_owned(),
        generation,
        realm: realm.to_owned(),
        escrow: escrow.to_owned(),
        rotation: true,
    };
    [begin, JournalEntry::Sending { call: "SetAdminAclEntryEx".to_owned() }]
}

#[test]
fn of_merged_stores_the_one_whose_realm_answers_is_the_live_one() {
    let ours = sign(1, None, Kind::Verified, of("A", 1, "amt.1.aaaaaaaaaaaaaaaa.age"));
    let mut chain: Vec<SignedEvent> = Vec::new();
    for generation in 1..=3 {
        let escrow = format!("amt.{generation}.bbbbbbbbbbbbbbbb.age");
        let seq = u64::from(generation);
        chain.push(sign(seq, chain.last(), Kind::Verified, of("B", generation, &escrow)));
    }
    let seen = json!({"channel": "amt", "verified_remote": true, "generation": 1, "realm": "A", "address": "192.0.2.7:16993"});
    let seen = sign(2, Some(&ours), Kind::Verified, seen);
    let merged = stored([vec![ours, seen], chain].concat());
    for generation in [2, 3, 4] {
        let journal = rotating("A", generation, "amt.9.aaaaaaaaaaaaaaaa.age");
        for (realm, live, open, remote) in [
            (None, ("B", 3), true, false),
            (Some("A"), ("A", 1), true, true),
            (Some("B"), ("B", 3), false, false),
            // Others'.
            (Some("C"), ("B", 3), true, false),
        ] {
            let history = fold_answering(&merged, &journal, realm);
            let what = format!("{generation} {realm:?}");
            let amt = history.amt.as_ref().unwrap();
            assert_eq!((amt.realm.as_str(), amt.generation), live, "{what}");
            assert_eq!((history.open.is_some(), history.amt_remote.is_some()), (open, remote), "{what}");
            assert_eq!(history.proofs().count(), 4, "{what}");
            assert_eq!(history.proof_of("B").map(|it| it.generation), Some(3), "{what}");
            assert!(history.is_in_doubt(), "{what}");
        }
    }
    assert!(!fold(&stored(vec![sign(1, None, Kind::Verified, verified(1, ESCROW))]), &[]).is_in_doubt());
}

#[test]
fn a_change_is_ended_by_its_own_proof_or_a_later_one_of_its_realm() {
    let mine = "amt.2.aaaaaaaaaaaaaaaa.age";
    for (proof, ended) in [
        (of("A", 1, "amt.1.cccccccccccccccc.age"), false),
        (of("A", 2, mine), true),
        // Announced under one realm and proven under another.
        (of("B", 2, mine), true),
        // Another medium counted the same generation of the same AMT: which of the two came last, nobody knows.
        (of("A", 2, "amt.2.cccccccccccccccc.age"), false),
        (of("A", 3, "amt.3.cccccccccccccccc.age"), true),
        (of("B", 2, "amt.2.cccccccccccccccc.age"), false),
        (of("B", 3, "amt.3.cccccccccccccccc.age"), false),
    ] {
        let history =
            fold(&stored(vec![sign(1, None, Kind::Verified, proof.clone())]), &rotating("A", 2, mine));
        assert_eq!(history.open.is_none(), ended, "{proof}");
    }
}

#[test]
fn a_certificate_that_any_proof_tells_of_is_proven() {
    let certificate = |pin: &str| JournalEntry::Certificate { sha256: pin.to_owned() };
    let proof = |generation: u32, pin: &str| {
        let mut body = verified(generation, &format!("amt.{generation}.0123456789abcdef.age"));
        body["tls_certificate_sha256"] = pin.into();
        body
    };
    // Another medium gave it a newer one since.
    let one = sign(1, None, Kind::Verified, proof(1, "p2"));
    let two = sign(2, Some(&one), Kind::Verified, proof(2, "p3"));
    // And of one that was unprovisioned since, the certificate was proven all the same.
    let ended = json!({"channel": "amt", "ended": ["amt.1.0123456789abcdef.age"]});
    let gone = sign(2, Some(&one), Kind::Retired, ended);
    let again = sign(3, Some(&gone), Kind::Verified, proof(2, "p3"));
    let failed = sign(2, Some(&one), Kind::Failed, proof(2, "p4"));
    for (events, sent, unproven) in [
        (vec![one.clone(), two.clone()], "p2", None),
        (vec![one.clone(), two.clone()], "p3", None),
        (vec![one.clone(), two], "p4", Some("p4")),
        (vec![one.clone(), gone, again], "p2", None),
        (vec![one.clone(), failed], "p4", Some("p4")),
    ] {
        let history = fold(&stored(events), &[certificate("p0"), certificate(sent)]);
        assert_eq!(history.tls_pin_sent.as_deref(), Some(sent));
        assert_eq!(history.tls_pin_unproven.as_deref(), unproven, "{sent}");
    }
}
