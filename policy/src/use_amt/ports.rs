//! On which of AMT's ports other machines get in (reference/amt.md 4.5).

use super::TlsWish;
use crate::pattern::version;

const TLS: &str = "16993/https-digest";
const CLEARTEXT: &str = "16992/http-digest";

/// From AMT's version and its TLS setting. The better way comes first and the one that nothing has to be done for last;
/// none where neither is known.
pub fn amt_reach(amt: Option<&str>, tls: Option<TlsWish>) -> Vec<&'static str> {
    let amt = amt.and_then(version);
    // 16.1 has no cleartext port for other machines any more, whatever is set.
    let tls_alone = amt.is_some_and(|([major, minor, ..], _)| (major, minor) >= (16, 1));
    match tls {
        _ if tls_alone => vec![TLS],
        Some(TlsWish::Required) => vec![TLS],
        Some(TlsWish::Optional) if amt.is_some() => vec![TLS, CLEARTEXT],
        Some(TlsWish::Optional) => vec![TLS],
        None if amt.is_some() => vec![CLEARTEXT],
        None => Vec::new(),
    }
}

/// Whether these are ports that speak TLS and no others.
pub fn is_tls_alone(reach: &[&str]) -> bool {
    reach == [TLS]
}

/// Whether this AMT has TLS for other machines and cleartext for its own host, with nothing set: 16.1 to 18, with a certificate
/// that it made for itself.
pub fn serves_its_own(amt: Option<&str>) -> bool {
    let major = amt.and_then(version).map(|([major, ..], _)| major);
    is_tls_alone(&amt_reach(amt, None)) && major.is_some_and(|major| major < 19)
}

impl TlsWish {
    /// What the words of a proof say of TLS.
    pub fn among(settings: &[String]) -> Option<Self> {
        let says = |wish: &Self| settings.iter().any(|it| it.strip_prefix("tls = ") == Some(wish.word()));
        [Self::Required, Self::Optional].into_iter().find(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_closed_is_not_named() {
        use TlsWish::{Optional, Required};
        let (both, tls, cleartext) = (vec![TLS, CLEARTEXT], vec![TLS], vec![CLEARTEXT]);
        for (version, wish, ports) in [
            (Some("11.8.50"), None, &cleartext),
            (Some("16.0.15"), None, &cleartext),
            (Some("11.8.50"), Some(Required), &tls),
            (Some("16.0.15"), Some(Required), &tls),
            (Some("15.0.45"), Some(Optional), &both),
            (Some("16.1.25"), None, &tls),
            (Some("16.1.25"), Some(Optional), &tls),
            (Some("19.0.5"), None, &tls),
            (Some("unknown"), None, &Vec::new()),
            (None, Some(Required), &tls),
            (None, Some(Optional), &tls),
        ] {
            assert_eq!(amt_reach(version, wish), *ports, "{version:?} {wish:?}");
        }
    }

    #[test]
    fn amt_between_the_first_certificate_of_its_own_and_the_last_cleartext_serves_its_own() {
        for (version, own) in [
            (Some("16.0.15"), false),
            (Some("16.1.25"), true),
            (Some("17.0.1"), true),
            (Some("18.0.5"), true),
            (Some("19.0.5"), false),
            (Some("unknown"), false),
            (None, false),
        ] {
            assert_eq!(serves_its_own(version), own, "{version:?}");
        }
    }

    #[test]
    fn a_proof_says_tls_in_its_own_word_alone() {
        let among =
            |words: &[&str]| TlsWish::among(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(among(&["sol = true", "tls = required"]), Some(TlsWish::Required));
        assert_eq!(among(&["tls = optional"]), Some(TlsWish::Optional));
        assert_eq!(among(&["wifi_ssid = tls = required", "mutual_tls_names = any"]), None);
    }
}
