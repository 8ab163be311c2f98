//! Wi-Fi, power scheme, clients' certificates and the age of AMT's own: what is planned, what is refused before any call,
//! and what is drift.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::{Case, NOW};
use oob_policy::{
    AmtSettings, Exit, Fact, MutualWish, NamedFiles, Outcome, PowerWish, Status, StepKind, TlsLeaf, TlsWish,
    Value, WifiSecurity, WifiWish, WiredBefore,
};

const WIFI: &str = "wifi_ssid = \"Acme\", wifi_security = \"wpa3-sae\", wifi_passphrase = \"file:/wifi\"";
const MUTUAL: &str =
    "tls = \"required\", mutual_tls_ca = \"file:/ca.pem\", mutual_tls_names = [\"console\", \"spare\"]";
const DAY: i64 = 86_400;

fn using(wishes: &str) -> Case {
    Case::using(&format!("amt = {{ {wishes} }}"))
}

fn with_radio(mut case: Case, wireless: &str) -> Case {
    let links = [("wired", "up"), ("wireless", wireless)];
    let links = links.into_iter().map(|(name, word)| (name.to_owned(), Value::from(word))).collect();
    case.detection.facts.retain(|fact| fact.name != "intel.amt.link");
    case.detection.facts.push(Fact::observed("intel.amt.link", Value::Map(links), "test"));
    case
}

fn named(case: Case, change: impl FnOnce(&mut NamedFiles)) -> Case {
    case.context(|context| change(&mut context.named))
}

fn settings(case: &Case) -> AmtSettings {
    match case.plan().steps.pop().map(|step| step.what) {
        Some(
            StepKind::AmtSetupCcm { settings }
            | StepKind::AmtComplete { settings, .. }
            | StepKind::AmtRotate { settings, .. },
        ) => settings,
        other => panic!("{other:?}"),
    }
}

/// AMT of ours that serves a certificate of this CA until then.
fn ours(case: Case, words: &[&str], issuer: &str, days: i64) -> Case {
    case.amt("post", "ccm").ours(1).history(|history| {
        let amt = history.amt.as_mut().unwrap();
        amt.settings = words.iter().map(|word| (*word).to_owned()).collect();
        amt.tls_pin = Some("ab".repeat(32));
        amt.tls_leaf = Some(TlsLeaf { not_after: NOW + days * DAY, issuer: issuer.to_owned() });
    })
}

#[test]
fn wishes_become_settings_and_words() {
    let case = named(with_radio(using(&format!("{WIFI}, {MUTUAL}, power = \"always\"")), "up"), |named| {
        named.mutual_ca = Some(Ok("cd".to_owned()));
    });
    let wanted = settings(&case);
    assert_eq!(wanted.wifi, Some(WifiWish { ssid: "Acme".to_owned(), security: WifiSecurity::Wpa3Sae }));
    assert_eq!(wanted.power, Some(PowerWish::Always));
    let names = vec!["console".to_owned(), "spare".to_owned()];
    assert_eq!(wanted.mutual_tls, Some(MutualWish { ca_sha256: Some("cd".to_owned()), names }));
    let words = [
        "tls = required",
        "power = always",
        "wifi_ssid = Acme",
        "wifi_security = wpa3-sae",
        "mutual_tls_ca = cd",
        "mutual_tls_names = console, spare",
    ];
    assert_eq!(wanted.words(), words);
    // A plan is printed and kept: it names where a secret is nowhere, and what it is even less.
    let plan = serde_json::to_string(&case.plan()).unwrap();
    assert!(plan.contains("wpa3-sae") && !plan.contains("/wifi"), "{plan}");
}

#[test]
fn what_the_machine_or_the_files_cannot_give_is_refused_before_any_call() {
    let whole = || named(using(MUTUAL), |named| named.mutual_ca = Some(Ok("cd".to_owned())));
    for (case, steps) in [
        (with_radio(using(WIFI), "up"), vec!["amt.setup-ccm"]),
        (with_radio(using(WIFI), "down"), vec!["amt.setup-ccm"]),
        (with_radio(using(WIFI), "absent"), vec!["refuse.no-wifi"]),
        (with_radio(using("sol = true"), "absent"), vec!["amt.setup-ccm"]),
        (
            named(with_radio(using(WIFI), "up"), |it| it.wifi_passphrase_unusable = Some("short".to_owned())),
            vec!["refuse.wifi-passphrase-unusable"],
        ),
        (whole(), vec!["amt.setup-ccm"]),
        (using(MUTUAL), vec!["refuse.mutual-tls-ca-unusable"]),
        (
            named(using(MUTUAL), |it| it.mutual_ca = Some(Err("no CA".to_owned()))),
            vec!["refuse.mutual-tls-ca-unusable"],
        ),
        // AMT that is ours is not called incomplete for a file that cannot be read.
        (using(MUTUAL).amt("post", "ccm").ours(1), vec!["refuse.mutual-tls-ca-unusable"]),
    ] {
        assert_eq!(case.steps(), steps, "{:?}", case.plan());
        assert!(case.plan().steps.iter().all(|step| match &step.what {
            StepKind::Refuse { exit, .. } => *exit == Exit::Impossible,
            _ => true,
        }));
    }
    // Where AMT does not say whether it has a radio, that is said.
    let warned =
        |case: &Case| case.plan().warnings.iter().any(|it| it.contains("Wi-Fi interface is not known"));
    assert!(warned(&using(WIFI)));
    assert!(warned(&with_radio(using(WIFI), "unknown")));
    assert!(!warned(&with_radio(using(WIFI), "up")));
}

#[test]
fn what_is_held_is_not_written_again_and_tls_is_written_whole() {
    let wanted = AmtSettings {
        tls: Some(TlsWish::Required),
        mutual_tls: Some(MutualWish { ca_sha256: Some("cd".to_owned()), names: Vec::new() }),
        wifi: Some(WifiWish { ssid: "Acme".to_owned(), security: WifiSecurity::Wpa2Psk }),
        power: Some(PowerWish::HostOn),
        ..AmtSettings::default()
    };
    let words = wanted.words();
    assert!(wanted.beyond(&words).is_empty());
    let without = |drop: &str| -> Vec<String> {
        words.iter().filter(|word| !word.starts_with(drop)).cloned().collect()
    };
    assert_eq!(wanted.beyond(&without("wifi_sec")).words(), ["wifi_ssid = Acme", "wifi_security = wpa2-psk"]);
    assert_eq!(wanted.beyond(&without("power")).words(), ["power = host-on"]);
    for part in ["tls", "mutual_tls_ca", "mutual_tls_names"] {
        let missing = wanted.beyond(&without(part));
        assert_eq!(
            (missing.tls, missing.mutual_tls.is_some(), missing.wifi.is_some()),
            (Some(TlsWish::Required), true, false),
            "{part}"
        );
    }
    let plain = AmtSettings { tls: Some(TlsWish::Required), ..AmtSettings::default() };
    assert_eq!(AmtSettings::default().with_tls_of(&plain), plain);
}

#[test]
fn a_certificate_that_ends_soon_or_is_of_another_ca_is_drift_until_it_is_rotated() {
    let held = ["tls = required"];
    let tls = || using("tls = \"required\", tls_ca = \"file:/ca.pem\"");
    let of_ca = |case: Case, ca: &str| named(case, |it| it.tls_ca_sha256 = Some(ca.to_owned()));
    let confirmed = vec!["amt.confirm"];
    let due = vec!["refuse.tls-certificate-due"];
    for (case, steps) in [
        (ours(tls(), &held, "cd", 31), confirmed.clone()),
        (ours(tls(), &held, "cd", 30), due.clone()),
        (ours(tls(), &held, "cd", -1), due.clone()),
        (ours(using("tls = \"required\", tls_renew_days = 90"), &held, "cd", 89), due.clone()),
        (ours(using("tls = \"required\", tls_renew_days = 90"), &held, "cd", 91), confirmed.clone()),
        (of_ca(ours(tls(), &held, "cd", 31), "cd"), confirmed.clone()),
        (of_ca(ours(tls(), &held, "cd", 31), "ef"), vec!["refuse.tls-ca-changed"]),
        (of_ca(ours(tls(), &held, "nobody", 31), "ef"), vec!["refuse.tls-ca-changed"]),
        // Policy names no CA any more: an absent key leaves the device alone.
        (ours(using("tls = \"required\""), &held, "cd", 31), confirmed.clone()),
        // Nor does a policy that asks for no TLS judge one.
        (ours(using("sol = true"), &["sol = true"], "cd", -1), confirmed.clone()),
        // A proof of an older build does not tell how long its certificate lasts.
        (
            ours(tls(), &held, "cd", -1).history(|it| it.amt.as_mut().unwrap().tls_leaf = None),
            confirmed.clone(),
        ),
    ] {
        assert_eq!(case.steps(), steps, "{:?}", case.plan());
        if steps != confirmed {
            let (exit, _, text) = case.refusal();
            assert_eq!(exit, Exit::Drift);
            assert!(text.contains("--known-credential FILE --rotate"), "{text}");
        }
    }

    // The credential alone is not enough; it is said what is.
    let case = ours(tls(), &held, "cd", 3).context(|it| it.known_credential = true);
    assert_eq!(case.steps(), ["refuse.tls-certificate-due"]);
    let rotating = |case: Case| {
        case.context(|it| {
            it.known_credential = true;
            it.rotate = true;
        })
    };
    let case = rotating(ours(tls(), &held, "cd", 3));
    assert_eq!(case.steps(), ["amt.rotate"]);
    assert_eq!(settings(&case).words(), held);
    // And one that is not due is replaced with the password all the same.
    assert_eq!(settings(&rotating(ours(tls(), &held, "cd", 900))).words(), held);
    // Where policy asks for no TLS, or AMT has none of ours, the password alone is replaced.
    assert!(settings(&rotating(ours(using("sol = true"), &["sol = true"], "cd", 3))).is_empty());
    let bare = ours(tls(), &held, "cd", 3).history(|it| it.amt.as_mut().unwrap().tls_pin = None);
    assert!(settings(&rotating(bare)).is_empty());
    // Settings that are missing are set with the credential, and the certificate is named beside.
    let case = ours(using("tls = \"required\", sol = true"), &held, "cd", 3);
    let case = case.context(|it| it.known_credential = true);
    assert_eq!(case.steps(), ["amt.complete"]);
    assert!(case.plan().warnings.iter().any(|it| it.contains("--rotate")), "{:?}", case.plan().warnings);
}

#[test]
fn addresses_that_were_not_compared_are_drift_until_somebody_logs_in() {
    let open = |realm: &str| {
        using("sol = true").amt("post", "ccm").ours(1).history(|history| {
            history.amt.as_mut().unwrap().settings = vec!["sol = true".to_owned()];
            history.wired_before = Some(WiredBefore {
                realm: realm.to_owned(),
                dhcp: Some(false),
                shared: None,
                sync: None,
                fixed: None,
            });
        })
    };
    let (exit, cause, text) = open("Digest:00").refusal();
    assert_eq!((exit, cause.as_str()), (Exit::Drift, "wired-addresses-open"));
    assert!(text.contains("--known-credential FILE"), "{text}");
    let known = open("Digest:00").context(|it| it.known_credential = true);
    assert_eq!(known.steps(), ["amt.complete"]);
    assert!(settings(&known).is_empty());
    // AMT that was set up anew since has addresses of its own.
    assert_eq!(open("Digest:11").steps(), ["amt.confirm"]);
    let known = open("Digest:11").context(|it| it.known_credential = true);
    assert_eq!(known.steps(), ["amt.confirm"]);
}

/// What was proven of TLS says which port other machines use, and not what policy wishes.
#[test]
fn a_port_that_was_closed_is_no_way_to_amt() {
    let reach = |case: &Case, outcome: Outcome| {
        let report = case.report(&[outcome]);
        report.capability.channels[0].reach.clone()
    };
    let both = ["16993/https-digest", "16992/http-digest"];
    for (words, ports) in [
        (&["sol = true"][..], &both[1..]),
        (&["sol = true", "tls = required"], &both[..1]),
        (&["tls = optional"], &both[..]),
    ] {
        let settings: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let ended = |step: &str, status| Outcome {
            step: step.to_owned(),
            status,
            changed: status == Status::Done,
            exit: Exit::Satisfied,
            cause: None,
            text: String::new(),
            evidence: [
                ("proof".to_owned(), "read-back".into()),
                ("settings".to_owned(), settings.clone().into()),
            ]
            .into(),
        };
        let first = using("tls = \"required\"").fact("intel.amt.version", "15.0.45");
        assert_eq!(reach(&first, ended("amt.setup-ccm", Status::Done)), ports, "{words:?}");
        let mut later =
            using("tls = \"required\"").amt("post", "ccm").ours(1).fact("intel.amt.version", "15.0.45");
        if let Some(ours) = &mut later.history.amt {
            ours.settings.clone_from(&settings);
        }
        assert_eq!(reach(&later, ended("amt.confirm", Status::AlreadySo)), ports, "{words:?}");
    }
}
