//! What of the wishes hangs on more than the policy file: files that it names, the machine's radio, its clock, and the
//! age of AMT's TLS certificate.

use super::{Case, Draft, because, refuse};
use crate::{AmtOurs, AmtSettings, Channel, Exit, Rule, UNKNOWN, Value, WiredBefore, shown};

/// Where policy does not say it.
const RENEW_DAYS: u32 = 30;
const DAY: i64 = 86_400;
const YEAR: i64 = 31_556_952;
/// 2025-01-01: this program is younger.
const EARLIEST: i64 = 1_735_689_600;

/// The settings that policy asks for, with what the files say that it names.
pub(super) fn wanted(case: &Case<'_>) -> AmtSettings {
    let mut wanted = case.rule.map(|rule| rule.amt().settings).unwrap_or_default();
    if let (Some(mutual), Some(Ok(sha256))) = (&mut wanted.mutual_tls, &case.context.named.mutual_ca) {
        mutual.ca_sha256 = Some(sha256.clone());
    }
    wanted
}

/// Refuses what cannot be carried out, before any call.
pub(super) fn refuse_impossible(case: &Case<'_>, wanted: &AmtSettings, draft: &mut Draft) {
    let mut impossible =
        |cause: &str, text: String| draft.refuse(Exit::Impossible, cause, None, Some(Channel::Amt), text);
    if wanted.wifi.is_some() {
        if radio(case) == Some("absent") {
            let text = "policy asks for a Wi-Fi profile, and AMT has no Wi-Fi interface on this machine: remove \
                        `amt.wifi_ssid`, or match these machines with another rule";
            impossible("no-wifi", text.to_owned());
        }
        if let Some(why) = &case.context.named.wifi_passphrase_unusable {
            let text = format!(
                "the passphrase of the Wi-Fi profile (`amt.wifi_passphrase`) cannot be used: {}",
                shown(why)
            );
            impossible("wifi-passphrase-unusable", text);
        }
    }
    refuse_unread_ca(case, wanted, draft);
    refuse_clock(case, wanted, draft);
}

/// AMT's clock is set from this machine's, for itself and before TLS, and provisioning media wake up in 1970. What such a clock
/// dates is wrong for years, and nobody sees it.
fn refuse_clock(case: &Case<'_>, wanted: &AmtSettings, draft: &mut Draft) {
    let possible = EARLIEST..=i64::from(u32::MAX);
    if !(wanted.clock || wanted.tls.is_some()) || possible.contains(&case.context.now) {
        return;
    }
    let year = 1970_i64.saturating_add(case.context.now / YEAR);
    let text = format!(
        "policy asks for what needs AMT's clock set (`amt.clock`, or `amt.tls`, whose certificate has dates), it is set from this \
         machine's, and that is in the year {year}: set it (firmware setup, or NTP) and run again"
    );
    refuse(draft, Exit::Impossible, "clock-impossible", text);
}

/// Which CA AMT's clients are of cannot be compared with what a proof holds unless the file is read.
pub(super) fn refuse_unread_ca(case: &Case<'_>, wanted: &AmtSettings, draft: &mut Draft) -> bool {
    let why = match &case.context.named.mutual_ca {
        _ if wanted.mutual_tls.is_none() => return false,
        Some(Ok(_)) => return false,
        Some(Err(why)) => shown(why),
        None => "it was not read".to_owned(),
    };
    let text = format!("the CA of AMT's clients (`amt.mutual_tls_ca`) cannot be used: {why}");
    refuse(draft, Exit::Impossible, "mutual-tls-ca-unusable", text);
    true
}

/// AMT's Wi-Fi interface, as far as it is known.
fn radio<'a>(case: &'a Case<'_>) -> Option<&'a str> {
    let Some(Value::Map(links)) = case.detection.fact("intel.amt.link").map(|fact| &fact.value) else {
        return None;
    };
    links.get("wireless").and_then(Value::as_text).filter(|word| *word != UNKNOWN)
}

/// Why the certificate that AMT serves should be replaced; none where it should not, or nobody can tell.
pub(super) fn certificate_due(case: &Case<'_>, ours: &AmtOurs) -> Option<(&'static str, String)> {
    let wishes = case.rule.map(Rule::amt).unwrap_or_default();
    let leaf = ours.tls_leaf.as_ref().filter(|_| ours.tls_pin.is_some())?;
    wishes.settings.tls?;
    if let Some(ca) = case.context.named.tls_ca_sha256.as_ref().filter(|ca| **ca != leaf.issuer) {
        let text = format!(
            "AMT's TLS certificate was issued by {}, and policy names another CA (SHA-256 {})",
            match leaf.issuer.as_str() {
                "nobody" => "nobody, it is pinned".to_owned(),
                issuer if issuer.starts_with("https:") => shown(issuer),
                issuer => format!("the CA with SHA-256 {}", shown(issuer)),
            },
            shown(ca)
        );
        return Some(("tls-ca-changed", text));
    }
    let left = leaf.not_after.saturating_sub(case.context.now);
    let within = wishes.tls_renew_days.unwrap_or(RENEW_DAYS);
    if left > i64::from(within) * DAY {
        return None;
    }
    let when = match left {
        ..0 => "has ended".to_owned(),
        left => format!("ends within {} days", left / DAY + 1),
    };
    let text = format!(
        "AMT's TLS certificate {when} by this machine's clock, and policy has it replaced {within} days before"
    );
    Some(("tls-certificate-due", text))
}

/// A run of ours that wrote settings ended before it had seen that AMT's addresses are what they were.
pub(super) fn addresses_open<'a>(case: &Case<'a>, realm: &str) -> Option<&'a WiredBefore> {
    case.history.wired_before.as_ref().filter(|before| before.realm == realm)
}

/// And nobody but the password's holder can look.
pub(super) fn require_addresses(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    if addresses_open(case, &ours.realm).is_some() {
        let text = format!(
            "a run of ours that wrote AMT's settings ended before it had seen that AMT's wired addresses are as before: \
             open its credential ({}) and run again with `--known-credential FILE`, which compares them and puts them back",
            shown(&ours.escrow)
        );
        refuse(draft, Exit::Drift, "wired-addresses-open", text);
    }
}

/// A certificate is replaced by whoever knows the password, so without it one that is due is drift.
pub(super) fn require_certificate(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    let Some((cause, why)) = certificate_due(case, ours) else { return };
    let text = format!(
        "{why}: open AMT's credential ({}) and run again with `--known-credential FILE --rotate`, which replaces the \
         password and the certificate",
        shown(&ours.escrow)
    );
    refuse(draft, Exit::Drift, cause, text);
}

/// Said where a run does something else with the credential.
pub(super) fn warn_of_certificate(case: &Case<'_>, ours: &AmtOurs, draft: &mut Draft) {
    if let Some((_, why)) = certificate_due(case, ours) {
        draft.warnings.push(format!("drift: {why}; `--rotate` beside `--known-credential` replaces it"));
    }
}

/// What a rotation sets besides what is missing: where TLS is asked for and the certificate is one that we gave, a new one.
pub(super) fn renewed(case: &Case<'_>, ours: Option<&AmtOurs>, missing: AmtSettings) -> AmtSettings {
    let wanted = wanted(case);
    match ours.is_some_and(|ours| ours.tls_pin.is_some()) && wanted.tls.is_some() {
        true => missing.with_tls_of(&wanted),
        false => missing,
    }
}

/// Where the radio is not known, a failure later is no surprise.
pub(super) fn warn_of_radio(case: &Case<'_>, wanted: &AmtSettings, draft: &mut Draft) {
    if wanted.wifi.is_some() && radio(case).is_none() {
        draft.warnings.push(format!(
            "whether AMT has a Wi-Fi interface is not known before it is set up: {}",
            because(case, "intel.amt.link")
        ));
    }
}
