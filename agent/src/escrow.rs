//! Sealing a credential to the org's recipients (reference/org-state.md 3.2): an age file that this machine can write
//! and cannot read.
//!
//! The plain text exists only in wiped buffers of fixed size. The age crate keeps a copy of its own while it encrypts, in
//! memory that it frees unwiped; [`crate::secrets::harden`] is what keeps that out of core dumps.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use age::Recipient;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secrets::Password;
use crate::state::sha256_hex;

/// What is sealed: everything a person needs to use the credential, and to see that it belongs to this device.
pub struct Plain<'a> {
    /// Also inside, so that two devices' files cannot be swapped unnoticed.
    pub device_id: &'a str,
    /// Other names of the device: kind to value, such as `serial`.
    pub aliases: &'a BTreeMap<String, String>,
    /// `amt`, `dash`, ...
    pub channel: &'a str,
    pub generation: u32,
    pub run_id: &'a str,
    /// RFC 3339.
    pub created: &'a str,
    pub username: &'a str,
    pub password: &'a Password,
    /// Where it is used, such as `16992/http-digest`.
    pub endpoint: &'a str,
    pub policy_sha256: &'a str,
    /// How to restore or revoke, in words.
    pub notes: &'a str,
}

/// An escrow file, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub name: EscrowName,
    /// Armored age file.
    pub bytes: Vec<u8>,
    /// Hex, of `bytes`.
    pub sha256: String,
}

/// `<channel>.<generation>.<16 hex of sha256(file)>.age`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EscrowName {
    pub channel: String,
    pub generation: u32,
    pub hash: String,
}

/// Generations beyond this are no work of an agent; the limit leaves room to count on after a forged name.
pub const MAX_GENERATION: u32 = 1_000_000;

/// Why a credential was not sealed. Nothing was written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    #[error("the policy names no escrow recipient; add at least two [[escrow.recipient]] tables")]
    NoRecipient,
    #[error(
        "escrow recipient {0:?} is an SSH key, which this build cannot seal to; give an age1... recipient"
    )]
    SshKey(String),
    #[error("escrow recipient {key:?} is not an age recipient: {reason}")]
    Recipient { key: String, reason: &'static str },
    #[error("the credential with its notes is longer than {MAX_PLAIN} bytes; shorten the notes")]
    TooLong,
    #[error("sealing with age: {0}")]
    Age(String),
}

/// Seals to all recipients: each of them alone can open the file.
///
/// # Errors
/// Where any recipient cannot be used: a file that fewer people can open than policy says is worse than none.
pub fn seal(plain: &Plain<'_>, recipients: &[String]) -> Result<Sealed, SealError> {
    let keys = recipients.iter().map(|key| parse_recipient(key)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let document = Document::of(plain).padded()?;
    let bytes = encrypt(&document, &keys).map_err(|error| SealError::Age(error.to_string()))?;
    let sha256 = sha256_hex(&bytes);
    let name = EscrowName {
        channel: plain.channel.to_owned(),
        generation: plain.generation,
        hash: sha256.get(..16).unwrap_or_default().to_owned(),
    };
    Ok(Sealed { name, bytes, sha256 })
}

/// Checks a recipient without sealing anything: for `policy lint` and before a run touches a device.
pub fn check_recipient(key: &str) -> Result<(), SealError> {
    parse_recipient(key).map(|_| ())
}

impl EscrowName {
    /// Reads a file name; none for what no agent would have written.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".age")?.split('.');
        let (channel, generation, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let parsed =
            Self { channel: channel.to_owned(), generation: generation.parse().ok()?, hash: hash.to_owned() };
        let is_word = |c: u8| c.is_ascii_lowercase() || c == b'-';
        let plausible = parts.next().is_none()
            && (1..=32).contains(&channel.len())
            && channel.bytes().all(is_word)
            && (1..=MAX_GENERATION).contains(&parsed.generation)
            && hash.len() == 16
            && hash.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        // `01` and `+1` parse as numbers; the name must be the one that we would write.
        (plausible && parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for EscrowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.age", self.channel, self.generation, self.hash)
    }
}

/// Length to which the plain text is padded, so that the file's length tells nothing.
const PADDING: usize = 1024;
const MAX_PLAIN: usize = 8 * PADDING;

/// The sealed JSON, `oob-secret/1`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    device_id: &'a str,
    aliases: &'a BTreeMap<String, String>,
    channel: &'a str,
    generation: u32,
    run_id: &'a str,
    created: &'a str,
    username: &'a str,
    password: &'a str,
    endpoint: &'a str,
    policy_sha256: &'a str,
    notes: &'a str,
}

impl<'a> Document<'a> {
    fn of(plain: &Plain<'a>) -> Self {
        Self {
            schema: "oob-secret/1",
            device_id: plain.device_id,
            aliases: plain.aliases,
            channel: plain.channel,
            generation: plain.generation,
            run_id: plain.run_id,
            created: plain.created,
            username: plain.username,
            password: plain.password.expose(),
            endpoint: plain.endpoint,
            policy_sha256: plain.policy_sha256,
            notes: plain.notes,
        }
    }

    /// JSON and spaces, up to the next multiple of [`PADDING`]. The buffer never grows, so no unwiped copy stays behind.
    fn padded(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut buffer = Zeroizing::new(vec![b' '; MAX_PLAIN]);
        let mut rest: &mut [u8] = &mut buffer;
        serde_json::to_writer(&mut rest, self).map_err(|_| SealError::TooLong)?;
        let used = MAX_PLAIN - rest.len();
        buffer.truncate(used.next_multiple_of(PADDING).min(MAX_PLAIN));
        Ok(buffer)
    }
}

fn parse_recipient(key: &str) -> Result<Box<dyn Recipient>, SealError> {
    let key = key.trim();
    if key.starts_with("ssh-") || key.starts_with("ecdsa-") || key.starts_with("sk-ssh-") {
        return Err(SealError::SshKey(shortened(key)));
    }
    let refused = |reason| SealError::Recipient { key: shortened(key), reason };
    // Hardware keys have native recipients since age 1.3; the others are X25519.
    if key.starts_with("age1tagpq1") {
        return key.parse::<age::tagpq::Recipient>().map(boxed).map_err(refused);
    }
    if key.starts_with("age1tag1") {
        return key.parse::<age::tag::Recipient>().map(boxed).map_err(refused);
    }
    key.parse::<age::x25519::Recipient>().map(boxed).map_err(refused)
}

/// Enough to find it in the policy; should it be a private key by mistake, nothing of it.
fn shortened(key: &str) -> String {
    key.chars().take("AGE-SECRET-KEY-1".len()).collect()
}

fn boxed<R: Recipient + 'static>(recipient: R) -> Box<dyn Recipient> {
    Box::new(recipient)
}

fn encrypt(document: &[u8], keys: &[Box<dyn Recipient>]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let encryptor = age::Encryptor::with_recipients(keys.iter().map(AsRef::as_ref))?;
    let mut file = Vec::new();
    let armor = age::armor::ArmoredWriter::wrap_output(&mut file, age::armor::Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(document)?;
    writer.finish()?.finish()?;
    Ok(file)
}

#[cfg(test)]
#[path = "escrow_tests.rs"]
mod tests;
