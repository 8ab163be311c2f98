//! WWW-Authenticate, read defensively.

use std::fmt;

/// A digest realm. AMT's is `Digest:` and 32 hex digits, and new after each provisioning. Printable ASCII, so that
/// comparing and logging it is safe; show it escaped all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(String);

impl Realm {
    /// Takes a realm from a record or an answer; printable ASCII of at most 255 characters.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= LONGEST_VALUE && is_printable(text)).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A digest challenge that can be answered: MD5 and `qop=auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The realm.
    pub realm: Realm,
    /// The nonce.
    pub nonce: String,
    /// Sent back as it is, if there.
    pub opaque: Option<String>,
    /// The login was right and only the nonce too old: the one 401 that is no rejection.
    pub stale: bool,
    pub(super) names_algorithm: bool,
}

/// Why no login is possible. Nothing of the challenge is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No WWW-Authenticate at all.
    #[error("reading login challenge: the device sent none")]
    NoChallenge,
    /// Only Basic: it would send the password itself, so it is refused.
    #[error(
        "reading login challenge: only Basic is offered, which would send the password in clear; refused"
    )]
    BasicOnly,
    /// Schemes this crate does not know.
    #[error("reading login challenge: no Digest among the schemes offered")]
    NoDigest,
    /// Digest with another algorithm than MD5.
    #[error("reading login challenge: the digest algorithm is not MD5")]
    UnsupportedAlgorithm,
    /// Digest without `qop=auth`.
    #[error("reading login challenge: qop auth is not offered")]
    UnsupportedQop,
    /// Not parsable, too long, a control character, a value twice, or realm or nonce missing.
    #[error("reading login challenge: malformed")]
    Malformed,
}

impl Challenge {
    /// Picks the challenge to answer from the values of all WWW-Authenticate headers: the first usable one; failing
    /// that, the most telling error.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self, DigestError> {
        let mut offers = Vec::new();
        for header in headers {
            offers.extend(split(header)?);
        }
        let mut refusal = None;
        for offer in offers.iter().filter(|offer| offer.scheme.eq_ignore_ascii_case("Digest")) {
            match offer.usable() {
                Ok(challenge) => return Ok(challenge),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or(match offers.as_slice() {
            [] => DigestError::NoChallenge,
            some if some.iter().any(|offer| offer.scheme.eq_ignore_ascii_case("Basic")) => {
                DigestError::BasicOnly
            }
            _ => DigestError::NoDigest,
        }))
    }
}

#[derive(Default)]
struct Offer {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Offer {
    fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|param| param.0 == name).map(|param| param.1.as_str())
    }

    fn usable(&self) -> Result<Challenge, DigestError> {
        let algorithm = self.get("algorithm");
        if algorithm.is_some_and(|name| !name.eq_ignore_ascii_case("MD5")) {
            return Err(DigestError::UnsupportedAlgorithm);
        }
        let qop = self.get("qop").unwrap_or_default();
        if !qop.split([',', ' ', '\t']).any(|choice| choice.eq_ignore_ascii_case("auth")) {
            return Err(DigestError::UnsupportedQop);
        }
        Ok(Challenge {
            realm: self.get("realm").and_then(Realm::new).ok_or(DigestError::Malformed)?,
            nonce: self
                .get("nonce")
                .filter(|nonce| !nonce.is_empty())
                .ok_or(DigestError::Malformed)?
                .to_owned(),
            opaque: self.get("opaque").map(str::to_owned),
            stale: self.get("stale").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            names_algorithm: algorithm.is_some(),
        })
    }
}

/// Splits a header into its challenges. A word before `=` is a parameter, a word alone begins the next challenge, but
/// for `auth` and `auth-int` after an unquoted `qop`, which firmware writes as a list without quotes.
fn split(header: &str) -> Result<Vec<Offer>, DigestError> {
    if header.len() > LONGEST_HEADER || !is_printable(&header.replace('\t', " ")) {
        return Err(DigestError::Malformed);
    }
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = header.trim_start_matches(SEPARATORS);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return Err(DigestError::Malformed);
        }
        let after = after.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix('=') else {
            rest = after.trim_start_matches(SEPARATORS);
            let last = offers.last_mut().and_then(|offer| offer.params.last_mut());
            match last.filter(|last| last.0 == "qop" && word.to_ascii_lowercase().starts_with("auth")) {
                Some(qop) => qop.1 = format!("{},{word}", qop.1),
                None => offers.push(Offer { scheme: word.to_owned(), params: Vec::new() }),
            }
            continue;
        };
        let (value, after) = take_value(value.trim_start_matches([' ', '\t']))?;
        rest = after.trim_start_matches(SEPARATORS);
        let (offer, name) = (offers.last_mut().ok_or(DigestError::Malformed)?, word.to_ascii_lowercase());
        if value.len() > LONGEST_VALUE || offer.params.len() >= MOST_PARAMS || offer.get(&name).is_some() {
            return Err(DigestError::Malformed);
        }
        offer.params.push((name, value));
    }
    Ok(offers)
}

/// A quoted string with its escapes undone, or a bare value up to the next separator.
fn take_value(text: &str) -> Result<(String, &str), DigestError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(SEPARATORS).unwrap_or(text.len()));
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((value, quoted.get(index + 1..).unwrap_or_default())),
            '\\' => value.push(characters.next().ok_or(DigestError::Malformed)?.1),
            other => value.push(other),
        }
    }
    Err(DigestError::Malformed)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

const SEPARATORS: [char; 3] = [' ', '\t', ','];
const LONGEST_HEADER: usize = 4096;
const LONGEST_VALUE: usize = 255;
const MOST_PARAMS: usize = 32;
