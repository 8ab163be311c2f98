//! What a look from another host is judged to be: every way it can end, and what is told apart where it did not.

use oob_policy::{
    AmtOurs, ChannelState, Cleartext, Exit, Mutual, Power, Proof, RemoteEnd, RemoteResult, RemoteSeen,
    claims_tls_only, lacks_pin, verify_remote,
};

fn claim(mode: &str, settings: &[&str], tls: bool) -> AmtOurs {
    AmtOurs {
        generation: 2,
        realm: "Digest:0".to_owned(),
        control_mode: mode.to_owned(),
        event: "e1-claim".to_owned(),
        escrow: "amt.2.0123456789abcdef.age".to_owned(),
        sealed: true,
        recipients: Vec::new(),
        settings: settings.iter().map(|it| (*it).to_owned()).collect(),
        tls_pin: tls.then(|| "ab".repeat(32)),
        tls_leaf: None,
        network_pin: None,
        mebx_escrow: None,
        sealed_by: None,
    }
}

fn complete() -> RemoteSeen {
    RemoteSeen {
        address: "192.0.2.7:16993".to_owned(),
        transport: "16993/https-digest",
        end: None,
        version: Some("16.0.15".to_owned()),
        power: Some(Power { state: 2, offered: vec![10, 8, 5, 11, 99] }),
        wrong_refused: true,
        login_sent: true,
        cleartext: Cleartext::Refused,
        mutual: Mutual::NotDemanded,
    }
}

fn required() -> AmtOurs {
    claim("acm", &["tls = required", "sol = true", "kvm = true", "consent = none"], true)
}

fn expect(result: &RemoteResult, exit: Exit, reason: &str) {
    assert_eq!((result.exit, result.reason), (exit, reason), "{}", result.text);
    assert_eq!(result.verified_remote, exit == Exit::Satisfied);
    let proven = result.capability.state == ChannelState::Verified;
    assert_eq!(proven, result.verified_remote, "{reason}");
    assert_eq!(result.capability.confidence == Proof::Proven, result.verified_remote, "{reason}");
    assert!(!result.text.contains('\u{1b}') && !result.capability.reason.contains('\u{1b}'), "{reason}");
}

#[test]
fn every_end_has_its_exit_and_none_is_indeterminate() {
    let foreign = || "\u{1b}[31mforeign".to_owned();
    for (end, exit, reason) in [
        (RemoteEnd::Unreachable(foreign()), Exit::DeviceFailed, "unreachable"),
        (RemoteEnd::OtherCertificate(foreign()), Exit::Drift, "certificate-changed"),
        (RemoteEnd::NoCommonTls(foreign()), Exit::Impossible, "tls-not-verifiable"),
        (RemoteEnd::Tls(foreign()), Exit::DeviceFailed, "tls-failed"),
        (RemoteEnd::NoClientCertificate, Exit::Impossible, "client-certificate-needed"),
        (RemoteEnd::ClientCertificateRefused(foreign()), Exit::DeviceFailed, "client-certificate-refused"),
        (RemoteEnd::NotAmt(foreign()), Exit::DeviceFailed, "not-amt"),
        (RemoteEnd::OtherRealm(foreign()), Exit::Drift, "realm-changed"),
        (RemoteEnd::LoginRefused, Exit::DeviceFailed, "login-refused"),
        (RemoteEnd::Answer(foreign()), Exit::DeviceFailed, "answer-unusable"),
        (RemoteEnd::AnyPassword, Exit::DeviceFailed, "any-password-accepted"),
        (RemoteEnd::Unsettled, Exit::DeviceFailed, "login-unsettled"),
    ] {
        // Whatever else was seen, the end decides.
        let mut seen = RemoteSeen { end: Some(end), ..complete() };
        expect(&verify_remote(&required(), &seen), exit, reason);
        let sent = verify_remote(&required(), &seen).text.contains("No login was sent");
        assert!(!sent, "{reason}: a login was sent");
        seen.login_sent = false;
        expect(&verify_remote(&required(), &seen), exit, reason);
    }
    let seen = RemoteSeen {
        end: Some(RemoteEnd::OtherRealm("Digest:1".to_owned())),
        login_sent: false,
        ..complete()
    };
    assert!(verify_remote(&required(), &seen).text.contains("No login was sent"));
}

#[test]
fn cleartext_counts_where_the_claim_says_it_is_closed() {
    for (cleartext, exit, reason) in [
        (Cleartext::Refused, Exit::Satisfied, "satisfied"),
        (Cleartext::Silent, Exit::Satisfied, "satisfied"),
        (Cleartext::Closed, Exit::Satisfied, "satisfied"),
        (Cleartext::Open, Exit::Drift, "cleartext-open"),
        (Cleartext::Unclear("why".to_owned()), Exit::DeviceFailed, "cleartext-unclear"),
        (Cleartext::NotJudged, Exit::DeviceFailed, "cleartext-unclear"),
    ] {
        let seen = RemoteSeen { cleartext, ..complete() };
        expect(&verify_remote(&required(), &seen), exit, reason);
    }
    let optional = claim("acm", &["tls = optional"], true);
    assert!(claims_tls_only(&required()) && !claims_tls_only(&optional));
    let seen = RemoteSeen { cleartext: Cleartext::NotJudged, ..complete() };
    expect(&verify_remote(&optional, &seen), Exit::Satisfied, "satisfied");
}

#[test]
fn a_proof_without_one_of_its_parts_is_none() {
    let seen = RemoteSeen { wrong_refused: false, ..complete() };
    expect(&verify_remote(&required(), &seen), Exit::DeviceFailed, "answer-unusable");
    let seen = RemoteSeen { power: None, ..complete() };
    expect(&verify_remote(&required(), &seen), Exit::DeviceFailed, "answer-unusable");
}

#[test]
fn power_boot_and_console_are_told_apart() {
    let result = verify_remote(&required(), &complete());
    assert_eq!(
        (result.power.state, result.power.state_number, result.power.known),
        (Some("on"), Some(2), "offered")
    );
    assert_eq!(result.power.offered, ["reset", "power_off", "power_cycle", "nmi", "99"]);
    assert_eq!(result.boot.can, ["boot_override"]);
    assert_eq!(result.console.can, ["console_text", "console_kvm"]);
    assert_eq!((result.boot.known, result.console.known), ("claimed", "claimed"));
    let ccm = verify_remote(&claim("ccm", &["sol = true"], false), &complete());
    assert!(ccm.boot.can.is_empty() && ccm.console.can.is_empty());
    assert!(ccm.console.needs.contains("user_consent"));
    assert!(ccm.text.contains("in cleartext"), "{}", ccm.text);
    let odd = RemoteSeen { power: Some(Power { state: 4_000_000_000, offered: Vec::new() }), ..complete() };
    assert_eq!(verify_remote(&required(), &odd).power.state, Some("unknown"));
}

#[test]
fn clients_certificates_count_where_the_claim_says_that_they_are_demanded() {
    let words = ["tls = required", "mutual_tls_ca = cd", "mutual_tls_names = any"];
    for (words, mutual, exit, reason, told) in [
        (&words[..], Mutual::Demanded, Exit::Satisfied, "satisfied", "demanded"),
        (&words[..], Mutual::NotDemanded, Exit::Drift, "mutual-tls-off", "not-demanded"),
        (&words[..], Mutual::NotJudged, Exit::DeviceFailed, "mutual-tls-unclear", "not-judged"),
        (&words[..1], Mutual::NotDemanded, Exit::Satisfied, "satisfied", "not-demanded"),
        (&words[..1], Mutual::Demanded, Exit::Satisfied, "satisfied", "demanded"),
    ] {
        let result = verify_remote(&claim("acm", words, true), &RemoteSeen { mutual, ..complete() });
        expect(&result, exit, reason);
        assert_eq!(result.mutual_tls, told);
        assert_eq!(result.text.contains("mutual TLS"), exit == Exit::Satisfied && told == "demanded");
    }
    let seen = RemoteSeen { end: Some(RemoteEnd::NoClientCertificate), login_sent: false, ..complete() };
    let result = verify_remote(&claim("acm", &words, true), &seen);
    assert!(result.text.contains("--client-certificate FILE"), "{}", result.text);
}

/// 16.1 serves other machines TLS alone; what tells it from others is in the proof or nowhere.
#[test]
fn tls_that_nothing_pins_is_told_by_version_and_claim() {
    let (bare, tls) = (claim("ccm", &[], false), claim("ccm", &["tls = required"], true));
    let read = AmtOurs { network_pin: Some("cd".repeat(32)), ..bare.clone() };
    for (claim, version, lacks) in [
        (&bare, Some("16.0.15"), false),
        (&bare, Some("16.1.25"), true),
        (&bare, Some("18.0.5"), true),
        (&bare, None, false),
        (&read, Some("16.1.25"), false),
        (&tls, Some("16.1.25"), false),
    ] {
        assert_eq!(lacks_pin(claim, version), lacks, "{version:?} {:?}", claim.served_pin());
    }
    let seen = RemoteSeen { cleartext: Cleartext::NotJudged, ..complete() };
    let result = verify_remote(&read, &seen);
    expect(&result, Exit::Satisfied, "satisfied");
    assert!(result.text.contains("over TLS with the certificate of that proof"), "{}", result.text);
    assert_eq!(read.served_pin(), read.network_pin.as_ref());
    assert_eq!(tls.served_pin(), tls.tls_pin.as_ref());
}
