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
        self.words_beside(&[])
    }

    /// The words where AMT trusts other roots too (SHA-256, hex), whose clients get in as well: no wish is held by them.
    pub fn words_beside(&self, others: &[String]) -> Vec<String> {
        let mut ca = self.ca_sha256.as_deref().unwrap_or(crate::UNKNOWN).to_owned();
        if !others.is_empty() {
            ca += &format!("{BESIDE}{}", others.join(", "));
        }
        vec![format!("{MUTUAL_CA} = {ca}"), names_word(&self.names)]
    }
}

const MUTUAL_CA: &str = "mutual_tls_ca";
const MUTUAL_NAMES: &str = "mutual_tls_names";
/// In place of a CA: AMT asked for clients' certificates before, and nobody wished anything.
const AS_FOUND: &str = "as-found";
const BESIDE: &str = " beside ";

fn names_word(names: &[String]) -> String {
    let names = if names.is_empty() { "any".to_owned() } else { names.join(", ") };
    format!("{MUTUAL_NAMES} = {names}")
}

/// The words for AMT that asks clients for certificates with these names because it did before, and policy does not mention
/// it: those of the proof before, where they name the same, else that it was found so.
pub fn mutual_words_left(held: &[String], names: &[String]) -> Vec<String> {
    // AMT may have them in another order.
    let sorted = |word: &str| {
        let names = word.strip_prefix(MUTUAL_NAMES)?.strip_prefix(" = ")?;
        let mut names: Vec<String> = names.split(", ").map(str::to_owned).collect();
        names.sort_unstable();
        Some(names)
    };
    let found = names_word(names);
    match held.iter().any(|word| sorted(word).is_some_and(|names| Some(names) == sorted(&found))) {
        true => held.iter().filter(|word| is_mutual_word(word)).cloned().collect(),
        false => vec![format!("{MUTUAL_CA} = {AS_FOUND}"), found],
    }
}

/// The CA (SHA-256, hex) that a proof's words name for AMT's clients.
pub fn mutual_ca(settings: &[String]) -> Option<&str> {
    let ca = settings.iter().find_map(|word| word.strip_prefix(MUTUAL_CA)?.strip_prefix(" = "))?;
    let ca = ca.split(BESIDE).next().unwrap_or(ca);
    (ca.len() == 64 && ca.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(ca)
}

/// Whether the words say that AMT lets in the clients of one CA alone, the one that policy named.
pub fn is_mutual_ca_alone(settings: &[String]) -> bool {
    mutual_ca(settings).is_some_and(|ca| settings.contains(&format!("{MUTUAL_CA} = {ca}")))
}

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
        let others = ["cd".to_owned(), "ef".to_owned()];
        assert_eq!(wish.words_beside(&others)[0], "mutual_tls_ca = ab beside cd, ef");
        assert!(wish.words_beside(&others).iter().all(|word| is_mutual_word(word)));
        for other in ["tls = required", "mutual_tls_cap = x", "wifi_ssid = mutual_tls_ca = x"] {
            assert!(!is_mutual_word(other), "{other}");
        }
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_nobody_mentions_is_told_as_the_proof_had_it_or_as_found() {
        let held = owned(&["sol = true", "mutual_tls_ca = ab", "mutual_tls_names = b, a"]);
        for (held, names, told) in [
            (&held, vec!["a", "b"], owned(&["mutual_tls_ca = ab", "mutual_tls_names = b, a"])),
            (&held, vec!["a"], owned(&["mutual_tls_ca = as-found", "mutual_tls_names = a"])),
            (&held, vec![], owned(&["mutual_tls_ca = as-found", "mutual_tls_names = any"])),
            (
                &owned(&["sol = true"]),
                vec!["a"],
                owned(&["mutual_tls_ca = as-found", "mutual_tls_names = a"]),
            ),
        ] {
            assert_eq!(mutual_words_left(held, &owned(&names)), told, "{names:?}");
            assert_eq!(mutual_words_left(&told, &owned(&names)), told, "{names:?}");
        }
    }

    #[test]
    fn a_ca_is_read_from_its_own_word_alone() {
        let (ca, other) = ("ab".repeat(32), "cd".repeat(32));
        for (word, named, alone) in [
            (format!("mutual_tls_ca = {ca}"), Some(ca.as_str()), true),
            (format!("mutual_tls_ca = {ca} beside {other}"), Some(ca.as_str()), false),
            ("mutual_tls_ca = as-found".to_owned(), None, false),
            ("mutual_tls_ca = unknown".to_owned(), None, false),
            (format!("wifi_ssid = mutual_tls_ca = {ca}"), None, false),
        ] {
            let settings = ["sol = true".to_owned(), word];
            assert_eq!((mutual_ca(&settings), is_mutual_ca_alone(&settings)), (named, alone), "{settings:?}");
        }
    }
}
