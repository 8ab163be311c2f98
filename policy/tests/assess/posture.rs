//! How open AMT is, among the findings.

use super::*;

/// A machine with every kind of openness.
fn open_amt() -> Case {
    let case =
        Case::new("").fact("intel.amt.version", "16.0.15.1735").fact("intel.amt.pki_suffix", "evil.example");
    let added = vec!["r\u{1b}oot (sha256 ab, active)"];
    let case = with(case, "intel.amt.hashes", map(&[("active", 3.into()), ("added", added.into())]));
    let case = with(case, "intel.amt.ehbc", true.into());
    let mps = [("mps_host", "mps.example".into()), ("tunnel", "up".into()), ("network", "outside".into())];
    let case = with(case, "intel.amt.remote_access", map(&mps));
    let audit =
        [("by", "server".into()), ("server", "rps.example".into()), ("time", "2026-01-02T03:04:05".into())];
    with(case, "intel.amt.setup_audit", map(&audit))
}

const POSTURE: [&str; 6] = [
    "amt-advisory-intel-sa-00709",
    "amt-added-roots",
    "amt-ehbc-enabled",
    "amt-pki-suffix-set",
    "amt-remote-access",
    "amt-setup-audit",
];

#[test]
fn how_open_amt_is_stands_among_the_findings() {
    let before = open_amt().report(&[]);
    let find = |report: &Report, id: &str| report.findings.iter().find(|it| it.id == id).cloned();
    for (id, words) in POSTURE.into_iter().zip([
        "16.1.25",
        "r\\u{1b}oot",
        "without a certificate",
        "evil.example",
        "mps.example",
        "the server rps.example at 2026-01-02T03:04:05",
    ]) {
        let found = find(&before, id).unwrap_or_else(|| panic!("no {id}: {:?}", findings(&before)));
        assert!(found.text.contains(words), "{id}: {}", found.text);
    }
    let advisory = |report: &Report| find(report, POSTURE[0]).unwrap().severity;
    let after = open_amt().amt("post", "ccm").report(&[]);
    assert_eq!((advisory(&before), advisory(&after)), (Severity::Warning, Severity::Risk));
    let set_up = open_amt().report(&[outcome("amt.setup-ccm", Status::Done, Exit::Satisfied, &[])]);
    assert_eq!(advisory(&set_up), Severity::Risk, "this run provisioned it");
}

#[test]
fn a_machine_without_amt_has_no_posture() {
    for verdict in ["absent", "absent-or-disabled", "disabled", "unknown"] {
        let report = open_amt().fact("intel.amt.verdict", verdict).report(&[]);
        assert!(
            !findings(&report).iter().any(|id| POSTURE.contains(id) || id.starts_with("amt-advis")),
            "{verdict}"
        );
    }
}

#[test]
fn what_is_in_order_or_unknown_is_no_finding() {
    let case = Case::new("").fact("intel.amt.version", "16.1.30.2307").fact("intel.amt.pki_suffix", "none");
    let case = with(case, "intel.amt.hashes", map(&[("active", 3.into()), ("added", Value::List(vec![]))]));
    let case = with(case, "intel.amt.ehbc", false.into());
    let none = [("mps_host", "none".into()), ("tunnel", "none".into())];
    let case = with(case, "intel.amt.remote_access", map(&none)).fact("intel.amt.setup_audit", "unknown");
    let quiet = case.report(&[]);
    assert!(!findings(&quiet).iter().any(|id| POSTURE.contains(id)), "{:?}", findings(&quiet));
    let unknown = quiet.findings.iter().find(|it| it.id == "amt-advisories-unknown").unwrap();
    assert!(
        unknown.text.contains("INTEL-SA-00295") && !unknown.text.contains("INTEL-SA-00709"),
        "{}",
        unknown.text
    );
    assert!(!quiet.not_assessed.iter().any(|it| it.contains("as far as it did not tell")));

    let dark = case.fact("intel.amt.ehbc", "unknown").fact("intel.amt.version", "unknown").report(&[]);
    assert!(!findings(&dark).contains(&"amt-ehbc-enabled"));
    assert!(dark.not_assessed.iter().any(|it| it.contains("intel.amt.ehbc")));
    assert!(findings(&dark).contains(&"amt-advisories-unknown"));
}
