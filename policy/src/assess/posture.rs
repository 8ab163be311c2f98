//! How open AMT is: holes of its version, whom it trusts, whom it calls, who set it up. Never said of a machine that has
//! no AMT.

use super::Assessment;
use super::channels::because;
use crate::advisories::{advisories, unknown};
use crate::{Finding, Severity, UNKNOWN, Value, shown};

/// `ours`: what provisioned it, if anything, is the org.
pub(super) fn findings(input: &Assessment<'_>, provisioned: bool, ours: bool) -> Vec<Finding> {
    let mut found = match input.detection.known("intel.amt.version") {
        Some(version) => advisories(version, provisioned),
        None => vec![unknown(format!(
            "which advisories apply cannot be told: {}",
            because(input, "intel.amt.version")
        ))],
    };
    found.extend(
        [added_roots(input), ehbc(input), pki_suffix(input), remote_access(input)].into_iter().flatten(),
    );
    found.extend(setup(input, ours));
    found
}

/// Facts of this kind that nobody could read, for the list of what was not assessed.
pub(super) fn unread(input: &Assessment<'_>) -> Option<String> {
    let names = ["hashes", "pki_suffix", "ehbc", "zero_touch", "remote_access", "link"];
    let unread = |name: &&str| {
        let fact = input.detection.fact(&format!("intel.amt.{name}"));
        fact.is_some_and(|fact| fact.value.as_text() == Some(UNKNOWN))
    };
    let names: Vec<String> =
        names.into_iter().filter(unread).map(|name| format!("intel.amt.{name}")).collect();
    (!names.is_empty()).then(|| format!("how open AMT is, as far as it did not tell: {}", names.join(", ")))
}

fn added_roots(input: &Assessment<'_>) -> Option<Finding> {
    let Value::List(added) = member(input, "intel.amt.hashes", "added")? else { return None };
    let names: Vec<String> = added.iter().filter_map(Value::as_text).take(MAX_NAMES).map(shown).collect();
    if added.is_empty() {
        return None;
    }
    let more = added.len().saturating_sub(names.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(finding(
        "amt-added-roots",
        Severity::Warning,
        format!(
            "AMT trusts root certificates that its maker did not ship: {}{more}. Whoever holds a certificate below one can \
             provision this machine in admin control mode. If the org did not add them, remove them in MEBx.",
            names.join("; ")
        ),
    ))
}

fn ehbc(input: &Assessment<'_>) -> Option<Finding> {
    let enabled = matches!(input.detection.fact("intel.amt.ehbc")?.value, Value::Bool(true));
    enabled.then(|| {
        finding(
            "amt-ehbc-enabled",
            Severity::Risk,
            "Embedded host-based configuration is enabled: whoever is root on this machine can enter admin control mode \
             without a certificate."
                .to_owned(),
        )
    })
}

fn pki_suffix(input: &Assessment<'_>) -> Option<Finding> {
    let suffix = input.detection.known("intel.amt.pki_suffix").filter(|suffix| *suffix != "none")?;
    Some(finding(
        "amt-pki-suffix-set",
        Severity::Warning,
        format!(
            "Somebody set AMT's PKI DNS suffix to {} in MEBx or by USB: a provisioning certificate of that domain is \
             accepted wherever this machine is. This agent never sets it.",
            shown(suffix)
        ),
    ))
}

fn remote_access(input: &Assessment<'_>) -> Option<Finding> {
    let text = |name| member(input, "intel.amt.remote_access", name).and_then(Value::as_text);
    let host = text("mps_host").filter(|host| *host != "none");
    let tunnel = text("tunnel").filter(|tunnel| ["connecting", "up"].contains(tunnel));
    if host.is_none() && tunnel.is_none() {
        return None;
    }
    Some(finding(
        "amt-remote-access",
        Severity::Risk,
        format!(
            "AMT calls a management presence server (CIRA): {}, tunnel {}. Whoever runs it manages this machine from \
             anywhere. This agent never sets that up.",
            host.map_or("name unknown".to_owned(), shown),
            tunnel.unwrap_or("not up now")
        ),
    ))
}

/// Who set it up, by the record that outlives unprovisioning. Of what is the org's own doing it only informs.
fn setup(input: &Assessment<'_>, ours: bool) -> Option<Finding> {
    let text = |name| member(input, "intel.amt.setup_audit", name).and_then(Value::as_text);
    let by = text("by")?;
    let who = match (text("server"), text("server_ip")) {
        (Some(server), _) | (None, Some(server)) => format!("the server {}", shown(server)),
        (None, None) if by == "host" => "a program on this machine".to_owned(),
        (None, None) => "a server without a name".to_owned(),
    };
    let when = text("time").map_or(String::new(), |time| format!(" at {} by its own clock", shown(time)));
    let root =
        text("root").map_or(String::new(), |root| format!(", with a certificate below {}", shown(root)));
    let severity = if ours || by == "host" { Severity::Info } else { Severity::Warning };
    Some(finding("amt-setup-audit", severity, format!("AMT was last set up by {who}{when}{root}.")))
}

fn member<'a>(input: &Assessment<'a>, fact: &str, name: &str) -> Option<&'a Value> {
    match &input.detection.fact(fact)?.value {
        Value::Map(members) => members.get(name),
        _ => None,
    }
}

fn finding(id: &str, severity: Severity, text: String) -> Finding {
    Finding { id: id.to_owned(), severity, text }
}

/// How many roots a finding names; the facts hold all.
const MAX_NAMES: usize = 8;
