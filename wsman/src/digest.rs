//! Digest login as AMT has it: MD5, `qop=auth`, one nonce for many requests (RFC 7616, RFC 2617; `reference/amt.md` 4.2).
//!
//! The challenge is foreign and parsed defensively: values quoted or not, `qop` lists in any order, several challenges
//! in one header or in several. What this crate cannot answer safely is refused by name.

mod challenge;

pub use challenge::{Challenge, DigestError, Realm};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::{Secret, secret::SecretBuffer};

/// MD5(user:realm:password): equal to the password as far as this realm goes. No `Debug`, no `Clone`, wiped.
///
/// ```compile_fail
/// fn show(ha1: oob_wsman::digest::Ha1) -> String { format!("{ha1:?}") }
/// ```
pub struct Ha1 {
    user: String,
    realm: Realm,
    hex: Zeroizing<String>,
}

impl Ha1 {
    /// Hashes a login for a realm.
    pub fn new(user: &str, realm: &Realm, password: &Secret) -> Self {
        let hex = md5_hex(&[user, realm.as_str(), password.expose()]);
        Self { user: user.to_owned(), realm: realm.clone(), hex }
    }

    /// The user it was made for.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The realm it was made for; it opens nothing in another one.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// The form in which `Setup` and `AdminSetup` take a new password: 32 lower-case hex digits.
    pub fn setup_password_hash(&self) -> &str {
        &self.hex
    }

    /// The form in which `SetAdminAclEntryEx` takes a new password: base64 of the 16 raw bytes.
    pub fn acl_password_hash(&self) -> Zeroizing<String> {
        let digits = self.hex.as_bytes().chunks_exact(2);
        let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default() as u8;
        let mut raw = Zeroizing::new([0; 16]);
        for (byte, pair) in raw.iter_mut().zip(digits) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | value(digit));
        }
        let mut text = Zeroizing::new(String::with_capacity(24)); // never reallocates
        BASE64.encode_string(raw.as_slice(), &mut text);
        text
    }
}

/// One nonce and how often it was used.
pub struct DigestSession {
    challenge: Challenge,
    count: u32,
}

impl DigestSession {
    /// Starts with the nonce of a challenge.
    pub fn new(challenge: Challenge) -> Self {
        Self { challenge, count: 0 }
    }

    /// The realm of the challenge.
    pub fn realm(&self) -> &Realm {
        &self.challenge.realm
    }

    /// The Authorization header of the next request; the count grows with each. `cnonce` is the caller's random text,
    /// hex or base64.
    pub fn authorize(&mut self, ha1: &Ha1, method: &str, uri: &str, cnonce: &str) -> Zeroizing<String> {
        self.count = self.count.wrapping_add(1);
        let count = format!("{:08x}", self.count);
        let ha2 = md5_hex(&[method, uri]);
        let nonce = self.challenge.nonce.as_str();
        let response = md5_hex(&[ha1.setup_password_hash(), nonce, &count, cnonce, "auth", &ha2]);
        let mut header = SecretBuffer::with_capacity(512);
        header.push_str("Digest ");
        push_quoted(&mut header, "username", &ha1.user);
        push_quoted(&mut header, ",realm", self.challenge.realm.as_str());
        push_quoted(&mut header, ",nonce", nonce);
        push_quoted(&mut header, ",uri", uri);
        push_quoted(&mut header, ",response", &response);
        header.push_str(",qop=auth,nc=");
        header.push_str(&count);
        push_quoted(&mut header, ",cnonce", cnonce);
        if self.challenge.names_algorithm {
            header.push_str(",algorithm=MD5");
        }
        if let Some(opaque) = &self.challenge.opaque {
            push_quoted(&mut header, ",opaque", opaque);
        }
        header.into_text()
    }
}

/// MD5 of the parts joined by colons, hashed piece by piece so that no joined copy exists.
fn md5_hex(parts: &[&str]) -> Zeroizing<String> {
    let mut hash = Md5::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    let mut hex = Zeroizing::new(String::with_capacity(32));
    for byte in Zeroizing::new(<[u8; 16]>::from(hash.finalize())).iter() {
        for digit in [byte >> 4, byte & 0xf] {
            hex.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    hex
}

fn push_quoted(header: &mut SecretBuffer, name: &str, value: &str) {
    header.push_str(name);
    header.push_str("=\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            header.push('\\');
        }
        header.push(character);
    }
    header.push('"');
}
