//! Public keys to which credentials are sealed (C2SP age, OpenSSH ed25519).

use sha2::{Digest, Sha256};

/// Why `key` is no recipient that this build can seal to; none where it is one.
pub(crate) fn fault(key: &str) -> Option<&'static str> {
    if let Some(rest) = key.strip_prefix("ssh-ed25519 ") {
        let body = rest.split(' ').next().unwrap_or_default();
        return (!is_ed25519(body))
            .then_some("this is no ssh-ed25519 public key: its base64 part is damaged");
    }
    if key.starts_with("ssh-") || key.starts_with("ecdsa-") || key.starts_with("sk-") {
        return Some("of the SSH keys only ssh-ed25519 can be a recipient");
    }
    let expected = if key.starts_with("age1tag1") { ("age1tag", 33) } else { ("age", 32) };
    match bech32(key) {
        Some((prefix, bytes)) if (prefix, bytes) == expected => None,
        Some((prefix, _)) if prefix != expected.0 && prefix.starts_with("age1") => {
            Some("this recipient needs an age plugin, and this build runs none")
        }
        _ if !key.starts_with("age1") => {
            Some("this is no age recipient: it begins with neither age1 nor ssh-ed25519")
        }
        _ => Some("this age recipient is damaged: its checksum or length does not hold"),
    }
}

/// True for what is surely a public key, so that it may be shown.
pub(crate) fn is_public(key: &str) -> bool {
    fault(key).is_none()
}

/// `sha256:` and 32 hex digits over the key without its comment: short enough to read aloud, long enough to hold.
pub(crate) fn fingerprint(key: &str) -> String {
    let bare: Vec<&str> = key.split(' ').take(2).collect();
    let hash = Sha256::digest(bare.join(" ").as_bytes());
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The prefix and the number of data bytes of a lower-case bech32 text whose checksum holds (BIP 173, without its
/// limit of 90 characters, as age has it).
fn bech32(text: &str) -> Option<(&str, usize)> {
    const CHARSET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let (prefix, data) = text.rsplit_once('1')?;
    if prefix.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()) {
        return None;
    }
    let mut values: Vec<u32> = prefix.bytes().map(|byte| u32::from(byte >> 5)).collect();
    values.push(0);
    values.extend(prefix.bytes().map(|byte| u32::from(byte & 31)));
    for character in data.chars() {
        values.push(u32::try_from(CHARSET.find(character)?).ok()?);
    }
    // Eight groups of 5 bits to five bytes; what is left over is fewer than 5 bits. Six groups are the checksum.
    let groups = data.len().checked_sub(6)?;
    (polymod(&values) == 1 && groups * 5 % 8 < 5).then_some((prefix, groups * 5 / 8))
}

fn polymod(values: &[u32]) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.iter().fold(1, |checksum, value| {
        let top = checksum >> 25;
        let next = ((checksum & 0x01ff_ffff) << 5) ^ value;
        GENERATOR
            .iter()
            .enumerate()
            .fold(next, |sum, (bit, term)| if top >> bit & 1 == 1 { sum ^ term } else { sum })
    })
}

/// 51 bytes (a length, the algorithm's name, a length, 32 bytes of key) are 68 characters of base64 without padding;
/// the first 25 characters are always the same.
fn is_ed25519(body: &str) -> bool {
    body.len() == 68
        && body.starts_with("AAAAC3NzaC1lZDI1NTE5AAAAI")
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::{fault, fingerprint};
    use crate::example::EXAMPLE_RECIPIENTS;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ops@acme";

    #[test]
    fn real_recipients_pass() {
        for key in EXAMPLE_RECIPIENTS {
            assert_eq!(fault(key), None, "{key}");
        }
        assert_eq!(fault(ED25519), None);
        // age's own test key of the P-256 kind is not at hand; the prefix and the length are told apart all the same.
        assert!(fault("age1tag1qqqqqqqq").is_some_and(|why| why.contains("damaged")));
    }

    #[test]
    fn every_single_changed_character_is_seen() {
        let key = EXAMPLE_RECIPIENTS[0];
        for at in 4..key.len() {
            let mut bytes = key.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'q' { b'p' } else { b'q' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(fault(&changed).is_some(), "{changed}");
        }
        assert!(fault(&key[..key.len() - 1]).is_some());
        assert!(fault(&key.to_uppercase()).is_some());
        assert!(fault("").is_some());
        assert!(fault("hunter2").is_some_and(|why| !why.contains("hunter2")));
        assert!(fault(&ED25519[..40]).is_some());
    }

    #[test]
    fn the_comment_of_an_ssh_key_does_not_change_its_fingerprint() {
        assert_eq!(fingerprint(ED25519), fingerprint(ED25519.trim_end_matches(" ops@acme")));
        assert_ne!(fingerprint(EXAMPLE_RECIPIENTS[0]), fingerprint(EXAMPLE_RECIPIENTS[1]));
    }
}
