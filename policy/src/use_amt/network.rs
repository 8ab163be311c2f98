//! What a rule asks of AMT's network: a Wi-Fi profile, in which states it stays on, and who may speak TLS to it.

use serde::{Deserialize, Serialize};

/// A Wi-Fi profile of AMT's own. Its passphrase is not here: no plan and no event holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WifiWish {
    pub ssid: String,
    pub security: WifiSecurity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WifiSecurity {
    Wpa2Psk,
    Wpa3Sae,
}

impl WifiSecurity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wpa2Psk => "wpa2-psk",
            Self::Wpa3Sae => "wpa3-sae",
        }
    }
}

/// The states of the machine in which AMT stays on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerWish {
    /// While the machine runs.
    HostOn,
    /// Down to soft off, on mains.
    Always,
}

impl PowerWish {
    pub const fn word(self) -> &'static str {
        match self {
            Self::HostOn => "host-on",
            Self::Always => "always",
        }
    }
}

/// Clients of the network's TLS port must show a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutualWish {
    /// SHA-256 (hex) of the CA's certificate; none where it could not be read, and then nothing is carried out.
    pub ca_sha256: Option<String>,
    /// Common names that clients may have; empty: any that the CA gave.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub names: Vec<String>,
}

impl WifiWish {
    pub(super) fn words(&self) -> Vec<String> {
        vec![format!("wifi_ssid = {}", self.ssid), format!("wifi_security = {}", self.security.word())]
    }
}

impl MutualWish {
    pub(super) fn words(&self) -> Vec<String> {
        let ca = self.ca_sha256.as_deref().unwrap_or(crate::UNKNOWN);
        let names = if self.names.is_empty() { "any".to_owned() } else { self.names.join(", ") };
        vec![format!("{MUTUAL_CA} = {ca}"), format!("{MUTUAL_NAMES} = {names}")]
    }
}

const MUTUAL_CA: &str = "mutual_tls_ca";
const MUTUAL_NAMES: &str = "mutual_tls_names";

/// Whether a proof's word is about clients' certificates, which are asked for beside TLS or not at all.
pub fn is_mutual_word(word: &str) -> bool {
    [MUTUAL_CA, MUTUAL_NAMES].iter().any(|name| word.split(" = ").next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_clients_certificates_are_told_from_others() {
        let wish =
            MutualWish { ca_sha256: Some("ab".to_owned()), names: vec!["a".to_owned(), "b".to_owned()] };
        assert_eq!(wish.words(), ["mutual_tls_ca = ab", "mutual_tls_names = a, b"]);
        assert!(wish.words().iter().all(|word| is_mutual_word(word)));
        let any = MutualWish { ca_sha256: None, names: Vec::new() };
        assert_eq!(any.words(), ["mutual_tls_ca = unknown", "mutual_tls_names = any"]);
        for other in ["tls = required", "mutual_tls_cap = x", "wifi_ssid = mutual_tls_ca = x"] {
            assert!(!is_mutual_word(other), "{other}");
        }
    }
}
