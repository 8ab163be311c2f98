//! Checks of what a rule asks of AMT: references that are none, and wishes that contradict each other.

use toml::Spanned;

use crate::Reference;
use crate::diagnostic::Findings;

/// The keys that name where a secret is.
const REFERENCES: [&str; 3] = ["amt.certificate", "amt.certificate_passphrase", "amt.tls_ca"];

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
    if let (Some(ca), None) = (find("amt.tls_ca"), find("amt.tls")) {
        findings.error(ca.span(), "`tls_ca` without `tls`", "add `tls = \"required\"`");
    }
}
