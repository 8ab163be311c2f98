//! Checks of what a rule asks of AMT's network.

use toml::Spanned;

use crate::diagnostic::Findings;

/// The three keys of a Wi-Fi profile, which stand together.
const WIFI: [&str; 3] = ["amt.wifi_ssid", "amt.wifi_security", "amt.wifi_passphrase"];
/// A certificate lasts 20 years where nobody says otherwise; one that is due from its first day on would never be settled.
const RENEW_DAYS: std::ops::RangeInclusive<u64> = 1..=3650;

pub(super) fn check(settings: &[Spanned<(&'static str, String)>], findings: &mut Findings<'_>) {
    let find = |key: &str| settings.iter().find(|setting| setting.get_ref().0 == key);
    let given = WIFI.iter().filter_map(|key| find(key)).next();
    for missing in WIFI.iter().filter(|key| find(key).is_none()) {
        if let Some(given) = given {
            let (key, missing) = (given.get_ref().0, missing.trim_start_matches("amt."));
            let message = format!("`{}` without `{missing}`", key.trim_start_matches("amt."));
            let help = "a Wi-Fi profile needs `wifi_ssid`, `wifi_security` (\"wpa2-psk\" or \"wpa3-sae\") and \
                        `wifi_passphrase = \"file:PATH\"` or \"credential:NAME\"";
            findings.error(given.span(), message, help);
        }
    }
    if let Some(ssid) = find("amt.wifi_ssid").filter(|it| !is_ssid(&it.get_ref().1)) {
        let help = "write the name of the network, 1 to 32 bytes without control characters";
        findings.error(ssid.span(), "`wifi_ssid` is no name of a Wi-Fi network", help);
    }
    let tls = find("amt.tls");
    if let (Some(ca), None) = (find("amt.mutual_tls_ca"), tls) {
        findings.error(ca.span(), "`mutual_tls_ca` without `tls`", "add `tls = \"required\"`");
    }
    if let (Some(ca), Some(tls)) = (find("amt.mutual_tls_ca"), tls)
        && tls.get_ref().1 == "optional"
    {
        let help = "set `tls = \"required\"`, so that nobody gets in without a certificate";
        findings.warning(ca.span(), "cleartext beside TLS lets clients in without a certificate", help);
    }
    if let (Some(names), None) = (find("amt.mutual_tls_names"), find("amt.mutual_tls_ca")) {
        let help = "name the CA whose clients they are: `mutual_tls_ca = \"file:PATH\"`";
        findings.error(names.span(), "`mutual_tls_names` without `mutual_tls_ca`", help);
    }
    if let Some(days) = find("amt.tls_renew_days") {
        if tls.is_none() {
            findings.error(days.span(), "`tls_renew_days` without `tls`", "add `tls = \"required\"`");
        }
        if !days.get_ref().1.parse().is_ok_and(|days: u64| RENEW_DAYS.contains(&days)) {
            let help = "write a number of days from 1 to 3650; without the key it is 30";
            findings.error(days.span(), "`tls_renew_days` is out of range", help);
        }
    }
}

/// Names of clients are told from each other by commas.
pub(crate) fn check_names(names: Option<&Spanned<Vec<Spanned<String>>>>, findings: &mut Findings<'_>) {
    let Some(names) = names else { return };
    if names.get_ref().is_empty() {
        let help = "name the clients, or remove the key: then every client of the CA is let in";
        findings.error(names.span(), "`mutual_tls_names` is empty", help);
    }
    for name in names.get_ref() {
        let text = name.get_ref();
        if text.is_empty() || text.len() > 64 || text.contains(|c: char| c == ',' || c.is_control()) {
            let help = "write common names of certificates, 1 to 64 bytes each, without commas";
            findings.error(name.span(), "`mutual_tls_names` holds what is no common name", help);
        }
    }
}

fn is_ssid(text: &str) -> bool {
    (1..=32).contains(&text.len()) && !text.contains(char::is_control)
}
