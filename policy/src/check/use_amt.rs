//! Checks of what a rule asks of AMT: references that are none, and wishes that contradict each other.

mod network;

pub(crate) use network::check_names;

use toml::Spanned;

use crate::diagnostic::Findings;
use crate::{HttpsUrl, Reference};

/// The keys that name where a secret is.
const REFERENCES: [&str; 7] = [
    "amt.certificate",
    "amt.certificate_passphrase",
    "amt.tls_ca",
    "amt.tls_ca_trust",
    "amt.tls_ca_credential",
    "amt.wifi_passphrase",
    "amt.mutual_tls_ca",
];

pub(super) fn check(settings: &[Spanned<(&'static str, String)>], findings: &mut Findings<'_>) {
    let find = |key: &str| settings.iter().find(|setting| setting.get_ref().0 == key);
    for setting in settings.iter().filter(|setting| REFERENCES.contains(&setting.get_ref().0)) {
        let (key, value) = setting.get_ref();
        if Reference::parse(value).is_none() {
            let message = format!("`{key}` does not say where it is");
            findings.error(setting.span(), message, "write \"file:PATH\" or \"credential:NAME\"");
        }
    }
    let mode = find("amt.control_mode");
    let admin = mode.filter(|mode| mode.get_ref().1 == "acm");
    if let Some(mode) = admin.filter(|_| find("amt.certificate").is_none()) {
        let help = "add `certificate = \"file:PATH\"` or \"credential:NAME\": the chain with its key, PEM or PKCS#12";
        findings.error(mode.span(), "admin control mode needs a provisioning certificate", help);
    }
    let never_admin = mode.is_none_or(|mode| mode.get_ref().1 == "ccm");
    for key in ["amt.certificate", "amt.certificate_passphrase"] {
        if let Some(setting) = find(key).filter(|_| never_admin) {
            let help = "set `control_mode = \"acm\"` or \"acm-or-ccm\", or remove it";
            findings.warning(setting.span(), format!("`{key}` has no effect in client control mode"), help);
        }
    }
    if let (Some(passphrase), None) = (find("amt.certificate_passphrase"), find("amt.certificate")) {
        let help = "name the PKCS#12 file with `certificate`";
        findings.error(passphrase.span(), "a passphrase without the certificate that it opens", help);
    }
    unprovisioned(settings, findings);
    if let (Some(ca), None) = (find("amt.tls_ca"), find("amt.tls")) {
        findings.error(ca.span(), "`tls_ca` without `tls`", "add `tls = \"required\"`");
    }
    check_tls_ca_service(settings, findings);
    network::check(settings, findings);
}

/// The CA over the network: one URL, the roots that vouch for it, and no other CA beside it.
fn check_tls_ca_service(settings: &[Spanned<(&'static str, String)>], findings: &mut Findings<'_>) {
    let find = |key: &str| settings.iter().find(|setting| setting.get_ref().0 == key);
    let Some(url) = find("amt.tls_ca_url") else {
        for key in ["tls_ca_trust", "tls_ca_credential"] {
            if let Some(setting) = find(&format!("amt.{key}")) {
                let help = "add `tls_ca_url = \"https://HOST\"`, or remove it";
                findings.error(setting.span(), format!("`{key}` without `tls_ca_url`"), help);
            }
        }
        return;
    };
    if let Err(why) = HttpsUrl::parse(&url.get_ref().1) {
        let help = "write \"https://HOST\", \"https://HOST:PORT\" or \"https://HOST/PATH\"";
        findings.error(url.span(), format!("`tls_ca_url` {why}"), help);
    }
    if find("amt.tls_ca_trust").is_none() {
        let help = "add `tls_ca_trust = \"file:PATH\"`: the roots of that server and of the certificates that it issues, PEM";
        findings.error(url.span(), "`tls_ca_url` without `tls_ca_trust`", help);
    }
    if find("amt.tls").is_none() {
        findings.error(url.span(), "`tls_ca_url` without `tls`", "add `tls = \"required\"`");
    }
    if let Some(ca) = find("amt.tls_ca") {
        let help = "name the CA's own key with `tls_ca`, or its service with `tls_ca_url`";
        findings.error(ca.span(), "two CAs for one certificate", help);
    }
}

/// What can stand beside `provisioned = false`: how far, and whose.
const BESIDE: [&str; 3] = ["amt.provisioned", "amt.unprovision", "amt.take_over"];

/// AMT that is not provisioned has no mode and no settings.
fn unprovisioned(settings: &[Spanned<(&'static str, String)>], findings: &mut Findings<'_>) {
    let find = |key: &str| settings.iter().find(|setting| setting.get_ref().0 == key);
    let said = find("amt.provisioned").map(|setting| setting.get_ref().1.as_str());
    if said != Some("false") {
        // What cannot be read is reported already.
        if let Some(scope) = find("amt.unprovision").filter(|_| said != Some("")) {
            let help = "add `provisioned = false`, or remove it";
            findings.error(scope.span(), "`unprovision` says how, and nothing says that", help);
        }
        return;
    }
    let others = settings.iter().filter(|it| it.get_ref().0.starts_with("amt."));
    for setting in others.filter(|it| !BESIDE.contains(&it.get_ref().0)) {
        let key = setting.get_ref().0.trim_start_matches("amt.");
        let message = format!("`{key}` beside `provisioned = false`: AMT that is not provisioned has none");
        findings.error(setting.span(), message, "remove one of the two");
    }
}
