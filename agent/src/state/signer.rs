//! Who signs the events: a key that the operator gave, or one that lives for this run only.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::StateError;
use super::disk::Disk;

/// An Ed25519 key (RFC 8032), wiped when dropped. It has no `Debug` on purpose.
pub struct Signer {
    key: SigningKey,
    vouched: bool,
}

impl Signer {
    /// A key in memory only: its events hang together, and nobody vouches for who wrote them.
    pub fn ephemeral() -> Result<Self, StateError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(StateError::random)?;
        Ok(Self { key: SigningKey::from_bytes(&seed), vouched: false })
    }

    /// The key of `--signing-key`: unencrypted PKCS#8 PEM (as `openssl genpkey -algorithm ed25519` writes it) or the
    /// 32 raw bytes of the seed.
    ///
    /// # Errors
    /// Says what the file is instead, and what to do.
    pub fn from_file(path: &Path) -> Result<Self, StateError> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // A key may well be a link (a mounted credential), so the link is resolved before the careful reader.
        let real =
            directory.join(name).canonicalize().map_err(|error| StateError::io("opening", path, error))?;
        let (directory, name) = (real.parent().unwrap_or(directory), real.file_name().unwrap_or_default());
        let bytes = Disk::at(directory)
            .read(&name.to_string_lossy(), 16 * 1024)?
            .map(Zeroizing::new)
            .ok_or_else(|| StateError::corrupt(path, "it vanished while it was being read"))?;
        let seed = seed_of(&bytes)
            .map_err(|reason| StateError::corrupt(path, &format!("--signing-key: {reason}")))?;
        Ok(Self { key: SigningKey::from_bytes(&seed), vouched: true })
    }

    /// Raw public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// True for a key that the operator gave.
    pub fn vouched(&self) -> bool {
        self.vouched
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

fn seed_of(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    if let Ok(seed) = <[u8; 32]>::try_from(bytes) {
        return Ok(Zeroizing::new(seed));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither PEM nor 32 raw bytes")?;
    let after = |label: &str| text.split_once(label).map(|(_, rest)| rest);
    if after("-----BEGIN OPENSSH PRIVATE KEY-----").is_some() {
        return Err(
            "OpenSSH keys are not read yet; convert it, or make one with: openssl genpkey -algorithm ed25519",
        );
    }
    if after("-----BEGIN ENCRYPTED PRIVATE KEY-----").is_some() {
        return Err("the key is encrypted, and this agent never prompts; decrypt it with: openssl pkcs8");
    }
    let body = after("-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(body, _)| body)
        .ok_or("it is neither PKCS#8 PEM (BEGIN PRIVATE KEY) nor 32 raw bytes")?;
    let base64: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let der =
        BASE64_STANDARD.decode(base64.as_bytes()).map(Zeroizing::new).map_err(|_| "its base64 is damaged")?;
    seed_of_pkcs8(&der).ok_or("it holds no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
}

/// RFC 8410 section 7 in DER, which for Ed25519 leaves no choice: version 0, or version 1 with the public key after.
fn seed_of_pkcs8(der: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let [0x30, length, body @ ..] = der else { return None };
    if usize::from(*length) != body.len() {
        return None;
    }
    let [2, 1, version @ (0 | 1), 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20, rest @ ..] = body else {
        return None;
    };
    let (seed, after) = rest.split_at_checked(32)?;
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).ok()?);
    match (version, after) {
        (0, []) => Some(seed),
        (1, [0x81, 0x21, 0, public @ ..]) => {
            (SigningKey::from_bytes(&seed).verifying_key().as_bytes() == public).then_some(seed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The private keys of RFC 8410 section 10.3: without and with public key (there with an attribute, left out here).
    const RFC_SEED: [u8; 32] = [
        0xd4, 0xee, 0x72, 0xdb, 0xf9, 0x13, 0x58, 0x4a, 0xd5, 0xb6, 0xd8, 0xf1, 0xf7, 0x69, 0xf8, 0xad, 0x3a,
        0xfe, 0x7c, 0x28, 0xcb, 0xf1, 0xd4, 0xfb, 0xe0, 0x97, 0xa8, 0x8f, 0x44, 0x75, 0x58, 0x42,
    ];
    const RFC_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    #[test]
    fn reads_pem_and_raw_seed() {
        let dir = tempfile::tempdir().unwrap();
        for content in [RFC_PEM.as_bytes(), &RFC_SEED] {
            let path = dir.path().join("key");
            std::fs::write(&path, content).unwrap();
            let signer = Signer::from_file(&path).unwrap();
            assert_eq!(signer.key.to_bytes(), RFC_SEED);
            assert!(signer.vouched());
        }
    }

    #[test]
    fn version_one_must_carry_its_own_public_key() {
        let mut der = vec![0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend_from_slice(&RFC_SEED);
        der.extend_from_slice(&[0x81, 0x21, 0]);
        der.extend_from_slice(SigningKey::from_bytes(&RFC_SEED).verifying_key().as_bytes());
        assert_eq!(*seed_of_pkcs8(&der).unwrap(), RFC_SEED);
        *der.last_mut().unwrap() ^= 1;
        assert!(seed_of_pkcs8(&der).is_none());
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let cases = [
            (&b""[..], "neither PKCS#8"),
            (&[0xff; 31], "neither PEM"),
            (&[0x41; 33], "neither PKCS#8"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "OpenSSH"),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "encrypted"),
            (b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----", "base64"),
            (b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "no Ed25519"),
        ];
        for (content, word) in cases {
            let reason = seed_of(content).err().unwrap();
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn every_truncation_of_a_key_is_an_error() {
        for end in 0..RFC_PEM.trim_end().len() {
            let content = &RFC_PEM.as_bytes()[..end];
            assert!(content.len() == 32 || seed_of(content).is_err(), "{end}");
        }
    }

    #[test]
    fn ephemeral_keys_differ_and_are_not_vouched() {
        let (a, b) = (Signer::ephemeral().unwrap(), Signer::ephemeral().unwrap());
        assert!(!a.vouched());
        assert_ne!(a.public_key(), b.public_key());
    }
}
