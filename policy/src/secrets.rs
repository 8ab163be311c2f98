//! Finds secrets in a policy file. A policy is public to everybody who can read the org's repository, so a secret in
//! it is an error wherever it stands: in a value, under a telling key, or in a comment (reference/org-state.md 6.5).

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::recipient;

/// A secret in the source, by place and kind; never by value.
pub(crate) struct Secret {
    pub(crate) span: Range<usize>,
    /// Such as `a PEM private key`.
    pub(crate) what: String,
}

/// Everything in `source` that is or looks like a secret, in the order of the file.
pub(crate) fn find(source: &str, table: &DeTable<'_>) -> Vec<Secret> {
    let mut secrets = Secrets::default();
    markers(source, &mut secrets);
    let mut strings = Vec::new();
    in_table(table, false, "", &mut secrets, &mut strings);
    // Outside of strings, comments are what can hold random text.
    let strings = merged(strings);
    for token in tokens(source) {
        if !covers(&strings, token.start) && looks_random(&source[token.clone()], true) {
            secrets.add(token, "a high-entropy literal");
        }
    }
    secrets.0.into_values().collect()
}

/// What must not be shown of `source`, whether or not it can be parsed.
pub(crate) fn masks(source: &str) -> Vec<Range<usize>> {
    let (table, errors) = DeTable::parse_recoverable(source);
    let mut masks: Vec<Range<usize>> =
        find(source, table.get_ref()).into_iter().map(|secret| secret.span).collect();
    if !errors.is_empty() {
        masks.extend(telling_lines(source));
    }
    masks
}

/// True for text that is reported as key material wherever it stands.
pub(crate) fn holds_marker(text: &str) -> bool {
    let mut secrets = Secrets::default();
    markers(text, &mut secrets);
    !secrets.0.is_empty()
}

/// Ranges in order and without overlaps, as [`covers`] wants them.
pub(crate) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

pub(crate) fn covers(merged: &[Range<usize>], at: usize) -> bool {
    merged.get(merged.partition_point(|range| range.end <= at)).is_some_and(|range| range.contains(&at))
}

/// True where a key tells that its value is secret and the value is written out, not referred to.
pub(crate) fn is_secret_entry(key: &str, value: &DeValue<'_>) -> bool {
    tells(key)
        && !matches!(value, DeValue::String(text) if is_reference(text))
        && !matches!(value, DeValue::Boolean(_))
}

/// `file:` and `credential:` name a place where the secret is; they are no secrets.
fn is_reference(text: &str) -> bool {
    ["file:", "credential:"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        && !holds_marker(text)
}

fn tells(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    let inside = ["password", "passwd", "passphrase", "secret", "token", "credential", "private"];
    let whole = ["pass", "pwd", "pin", "psk", "community"];
    inside.iter().any(|word| key.contains(word))
        || key.split('_').any(|word| whole.contains(&word))
        || key.ends_with("key")
}

fn in_table(
    table: &DeTable<'_>,
    tainted: bool,
    path: &str,
    secrets: &mut Secrets,
    strings: &mut Vec<Range<usize>>,
) {
    for (key, value) in table.iter() {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        // The one key of the policy that ends in `key`: it holds a public key, and is checked as one.
        let public = path == "escrow.recipient.key";
        in_value(value, tainted || (!public && tells(key.get_ref())), &path, secrets, strings);
    }
}

fn in_value(
    value: &Spanned<DeValue<'_>>,
    tainted: bool,
    path: &str,
    secrets: &mut Secrets,
    strings: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::String(text) => {
            strings.push(value.span());
            let random = || tokens(text).any(|token| looks_random(&text[token], false));
            if holds_marker(text) {
                // Usually found in the source as well; here it may be hidden by escape sequences.
                secrets.add(value.span(), "key material");
            } else if is_reference(text) || (path == "escrow.recipient.key" && recipient::is_public(text)) {
            } else if tainted {
                secrets.add(value.span(), "a secret written out");
            } else if !is_written_by_makers(path) && !is_image_hash(path, text) && random() {
                secrets.add(value.span(), "a high-entropy literal");
            }
        }
        DeValue::Array(items) => {
            items.iter().for_each(|item| in_value(item, tainted, path, secrets, strings))
        }
        DeValue::Table(table) => in_table(table, tainted, path, secrets, strings),
        DeValue::Boolean(_) => {}
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) if tainted => {
            secrets.add(value.span(), "a secret written out");
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {}
    }
}

/// What makers print on machines looks as random as a password: these values are compared with facts, and nothing
/// secret is ever taken from them.
fn is_written_by_makers(path: &str) -> bool {
    let key = path.strip_prefix("rule.match.");
    key.is_some_and(|key| ["serial", "uuid", "mac", "sku", "product", "vendor"].contains(&key))
}

/// The hash of an image is public: it is compared with what was made, and opens nothing.
fn is_image_hash(path: &str, text: &str) -> bool {
    path == "rule.neutralize.result_sha256" && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Secrets by their places, none of which overlap.
#[derive(Default)]
struct Secrets(BTreeMap<usize, Secret>);

impl Secrets {
    /// A secret is reported once, by the first and most telling rule that finds it.
    fn add(&mut self, span: Range<usize>, what: &str) {
        let mut secret = Secret { span, what: what.to_owned() };
        // Mask the whole string, not only the marker in it.
        while let Some((&at, known)) = self.0.range(..secret.span.end).next_back()
            && known.span.end > secret.span.start
        {
            let span = known.span.start.min(secret.span.start)..known.span.end.max(secret.span.end);
            let Some(known) = self.0.remove(&at) else { break };
            secret = Secret { span, what: known.what };
        }
        self.0.insert(secret.span.start, secret);
    }
}

/// Key material that gives itself away by its first characters, anywhere in `text`.
fn markers(text: &str, secrets: &mut Secrets) {
    let upper = text.to_ascii_uppercase();
    let mut until = 0;
    for (at, _) in upper.match_indices("-----BEGIN ") {
        let line = upper[at..].lines().next().unwrap_or_default();
        if at >= until && line.contains("PRIVATE KEY") {
            until = upper[at..].find("-----END ").map_or(upper.len(), |end| at + end);
            secrets.add(at..until, "a PEM private key");
        }
    }
    for (prefix, what) in
        [("AGE-SECRET-KEY-", "an age secret key"), ("AGE-PLUGIN-", "an age plugin identity")]
    {
        for (at, _) in upper.match_indices(prefix) {
            let length = upper[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            secrets.add(at..length.map_or(upper.len(), |length| at + length), what);
        }
    }
    for (at, separator) in text.match_indices("://") {
        let authority = &text[at + separator.len()..];
        let end = authority.find(|c: char| c.is_whitespace() || "/\"'<>".contains(c));
        let login = authority[..end.unwrap_or(authority.len())].rsplit_once('@').map(|(login, _)| login);
        if let Some(login) = login.filter(|login| login.contains(':')) {
            let begin = at + separator.len();
            secrets.add(begin..begin + login.len(), "a login in a URL");
        }
    }
}

/// Runs of the characters that passwords, base64 and hex are made of; cut at the separators that names are made of.
fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let part = |c: char| c.is_ascii_alphanumeric() || "+/=!@#$%^&".contains(c);
    let mut begin = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    ends.filter_map(move |(at, c)| match (part(c), begin) {
        (true, None) => {
            begin = Some(at);
            None
        }
        (false, Some(from)) => {
            begin = None;
            Some(from..at)
        }
        _ => None,
    })
}

/// Tells a random literal from a word. Hex of 32 digits and more is random; commit ids and sha256 sums may stand in
/// comments. Otherwise a random text has three kinds of characters that alternate often: `OptiPlex7010Plus` does
/// not, `xK9mQ2vLp7Rw4TzB` does.
fn looks_random(token: &str, comment: bool) -> bool {
    if token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return entropy(token) >= 2.5 && !(comment && [40, 64].contains(&token.len()));
    }
    // A public SSH key begins with the length and name of its algorithm.
    if ["AAAAB3NzaC1", "AAAAC3NzaC1", "AAAAE2VjZHNh", "AAAAGnNr"]
        .iter()
        .any(|prefix| token.starts_with(prefix))
    {
        return false;
    }
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let kinds: Vec<usize> = token.bytes().map(kind).collect();
    let present = (0..4).filter(|kind| kinds.contains(kind)).count();
    // A capital letter that begins a word is no change.
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1] && *pair != [1, 0]).count();
    token.len() >= 16 && present >= 3 && changes * 4 >= token.len() && entropy(token) >= 3.3
}

/// Shannon entropy in bits per byte.
fn entropy(token: &str) -> f64 {
    let mut counts = [0_u32; 256];
    token.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = token.len().max(1) as f64;
    let part = |count: &u32| f64::from(*count) / length;
    counts.iter().filter(|count| **count > 0).map(part).map(|share| -share * share.log2()).sum()
}

/// In a file that cannot be parsed: everything after a telling key, to the end of its line or of its long string.
fn telling_lines(source: &str) -> Vec<Range<usize>> {
    let mut masks = Vec::new();
    for (at, _) in source.match_indices('=') {
        let before = source[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let begin =
            before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').map_or(0, |it| it + 1);
        if !before.is_char_boundary(begin) || !tells(&before[begin..]) {
            continue;
        }
        let rest = &source[at + 1..];
        let value = rest.trim_start_matches([' ', '\t']);
        let long = ["\"\"\"", "'''"].into_iter().find(|quotes| value.starts_with(quotes));
        let skipped = rest.len() - value.len();
        let length = match long {
            Some(quotes) => value[3..].find(quotes).map_or(value.len(), |end| end + 6),
            None => value.find('\n').unwrap_or(value.len()),
        };
        masks.push(at + 1 + skipped..at + 1 + skipped + length);
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::{looks_random, tells, tokens};

    #[test]
    fn names_are_not_random_and_passwords_are() {
        let random = |text: &str| tokens(text).any(|token| looks_random(&text[token], false));
        for name in [
            "OptiPlex*7010-Plus_v2",
            "HP EliteDesk 800 G6 Desktop Mini PC",
            "ThinkCentre_M70q_Gen3",
            "OptiPlex7010PlusMicroTower",
            "4c4c4544-0042-3510-8052-b4c04f4d3933",
            "CN0H47XF701635A700GLA02",
            "packaging/examples/use.toml",
            "LatitudeE7470SkylakeUltraNotebook",
        ] {
            assert!(!random(name), "{name}");
        }
        for secret in [
            "xK9mQ2vLp7Rw4TzB",
            "aB3$kL9#mN2!pQ7x",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY9a8B7",
            "k8Jq2+Zx91LmVw3Rt5Yb7Nc0PdSfGhUe4AoIiXzBv6M=",
        ] {
            assert!(random(secret), "{secret}");
        }
        assert!(!looks_random("9dc1d0b0f7d3c8a1b2f4e5d6c7a8b9c0d1e2f3a4", true), "a commit id in a comment");
    }

    #[test]
    fn keys_tell() {
        for (key, telling) in [
            ("admin-password", true),
            ("api_key", true),
            ("PSK", true),
            ("mebx-pin", true),
            ("spin", false),
            ("priority", false),
            ("keyboard", false),
        ] {
            assert_eq!(tells(key), telling, "{key}");
        }
    }
}
