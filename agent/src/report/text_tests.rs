use oob_policy::{Detection, RootKind, Status};

use super::super::facts_table;
use super::super::testing::{desktop, hostile};
use super::*;

/// The text as it looks without a terminal.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn summary_of_a_desktop() {
    let expected = "\
Dell Inc. OptiPlex 7000 (7XK4PQ3)  [simulated machine]  d1-abcdefghijklmnopqrstuvwxyz
found     Intel AMT verified, Watchdog present, Wake-on-LAN present
          unknown: IPMI
policy    acme-clients serial 7 (unsigned): rule office says use
done      done amt.setup-ccm: Client control mode is on, and a fresh login with the new password succeeded.
          skipped extra: Nothing to do.
look at   risk: AMT 16.0 serves 16992 without TLS; policy does not ask for TLS yet.
          warning: Client control mode asks a person at the machine before redirection and boot changes.
way back  Intel AMT (credential proven locally; reachability from another machine and power actions not tried): power on, power off, reset, power cycle; needs standby power, wired link
          otherwise physical access
result    satisfied (changed, exit 0)
          AMT is in client control mode with a password that only the escrow recipients can read.
report    out/report.html
";
    assert_eq!(plain(&summary(&desktop(), "out/report.html")), expected);
}

#[test]
fn a_long_report_stays_short() {
    let mut report = desktop();
    for _ in 0..4 {
        report.outcomes.extend(report.outcomes.clone());
        report.findings.extend(report.findings.clone());
        report.capability.channels.extend(report.capability.channels.clone());
    }
    let text = plain(&summary(&report, "x"));
    assert!(text.lines().count() <= 20, "{text}");
    assert!(text.contains("(and 28 more in the report)"), "{text}");
}

#[test]
fn nothing_ready_promises_nothing() {
    let mut report = desktop();
    report.capability.channels.retain(|record| record.state != ChannelState::Verified);
    report.outcomes.retain(|outcome| outcome.status == Status::Skipped);
    let text = plain(&summary(&report, "x"));
    assert!(text.contains("\nway back  physical access\n"), "{text}");
    report.capability.channels.clear();
    assert!(plain(&summary(&report, "x")).contains("no out-of-band channel"));
}

/// Our own colors are the only escape sequences, and every line is one that we began.
#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let report = hostile();
    let detection = Detection::new(RootKind::Live, Some(report.device_id.clone()), report.facts.clone());
    for (text, lines) in [
        (summary(&report, &report.device_id), summary(&desktop(), "x").lines().count()),
        (facts_table(&detection), 2 + detection.facts.len() + 1),
    ] {
        let mut rest = text.as_str();
        while let Some(start) = rest.find('\u{1b}') {
            let sequence = &rest[start..];
            let own =
                [BOLD, DIM, RED, GREEN, YELLOW, RESET].into_iter().find(|own| sequence.starts_with(own));
            rest = &sequence[own.expect("a foreign escape sequence").len()..];
        }
        let stripped = plain(&text).replace('\n', "");
        assert_eq!(oob_policy::shown(&stripped), stripped);
        assert_eq!(text.lines().count(), lines, "{text}");
    }
}

#[test]
fn table_of_facts() {
    let report = desktop();
    let table = plain(&facts_table(&Detection::new(RootKind::Capture, None, report.facts)));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[..3], ["captured machine", "device id  none", ""]);
    assert_eq!(
        lines[3],
        "host.vendor             Dell Inc.                     smbios:1                   observed"
    );
    let unknown = lines.iter().position(|line| line.starts_with("dash.nic")).unwrap();
    assert_eq!(lines[unknown + 1].trim_start(), "unknown(capture)");
    assert!(table.contains("identity=iTCO_wdt timeout=30") && table.contains("magic, phy"), "{table}");
}
