//! RSA signatures of manifests, checked with the public key that each manifest carries (reference/me.md 2.3).
//!
//! A valid verdict says that the manifest was not changed since somebody with that key signed it. Whose key it is, is
//! a second question: [`KeyIdentity`].

use std::fmt;

use md5::Md5;
use num_bigint::BigUint;
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384};

use crate::manifest::Tag;

/// PSS salts in use: Intel's signer and OEMs'. Any other length is no signature this firmware has.
const SALT_LENGTHS: [usize; 2] = [48, 32];
/// DER of the `DigestInfo` before the hash itself (RFC 8017, 9.2 note 1).
const SHA1_INFO: [u8; 15] = [0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14];
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

/// What the check of one signature came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Verdict {
    Valid {
        scheme: Scheme,
        /// Bytes of PSS salt: 48 from Intel, 32 from OEMs.
        #[serde(skip_serializing_if = "Option::is_none")]
        salt_len: Option<usize>,
    },
    Invalid {
        scheme: Scheme,
        why: Fault,
    },
    /// Neither valid nor invalid: the text says what stood in the way.
    NotChecked {
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scheme {
    /// `$MAN`, ME 2 to 5.
    #[serde(rename = "rsa-2048-pkcs1-sha1")]
    Rsa2048Sha1,
    /// `$MN2` with header version 10000.
    #[serde(rename = "rsa-2048-pkcs1-sha256")]
    Rsa2048Sha256,
    /// `$MN2` with header version 21000.
    #[serde(rename = "rsa-3072-pss-sha384")]
    Rsa3072PssSha384,
}

/// Why a signature is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// The signature was made with this key, but over other bytes.
    #[error("the padding is right, the hash differs: these are not the bytes that were signed")]
    HashDiffers,
    /// As before, and it is known which byte: pre-production firmware of which the flag was cleared after signing.
    #[error(
        "the padding is right, the hash differs: it fits with the debug flag (bit 31) set, so that was cleared later"
    )]
    DebugFlagCleared,
    #[error("the padding is wrong: not a signature of this key")]
    BadPadding,
    #[error("the signature is not below the modulus")]
    NotBelowModulus,
    #[error(
        "the key is no RSA key: its modulus lacks the top bit or is even, or its exponent is even or below 3"
    )]
    BadKey,
    #[error("the hash is right, but the salt has {bytes} bytes; only 48 and 32 are in use")]
    UnusualSalt { bytes: usize },
}

/// Names for a public key. Equal names mean equal keys, whoever holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyIdentity {
    /// MD5 over 0x104 bytes from the modulus on, as published tables have it: modulus and exponent of a 2048-bit key, the
    /// first part of a longer modulus. An identifier, not evidence.
    pub md5: String,
    /// SHA-256 over the modulus as stored, low byte first.
    pub modulus_sha256: String,
}

/// A key whose owner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KnownKey {
    pub md5: &'static str,
    pub name: &'static str,
    /// Absent where one key signs for several lines.
    pub line: Option<ProductLine>,
    pub pre_production: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductLine {
    Me,
    Txe,
    Sps,
}

/// Keys seen on real images (reference/me.md 2.3). Not complete: an unknown key is no fault.
const KNOWN_KEYS: [KnownKey; 9] = [
    known("0903fc25b0f6bed8c4ed724aca02124c", "Intel ME 7 and 8", ProductLine::Me),
    known("2011ae6df87c40fba09e3f20459b1ce0", "Intel ME 9.0 and 9.1", ProductLine::Me),
    known("986a78e481f185f7d54e4af06eb413f6", "Intel ME 11", ProductLine::Me),
    known("8e4f834644da2bef03039d69d41ecf02", "Intel ME 14", ProductLine::Me),
    known("e7155f4342af9d1b7e4cac467190d382", "Intel ME 16", ProductLine::Me),
    known("0633d7f951a3e7968ae7460861be9cfb", "Intel TXE 2", ProductLine::Txe),
    known("95a0c8587bd5521ce8aaae9288f084e2", "Intel TXE 4", ProductLine::Txe),
    known("9ad65608aa32e6bc16b89ecf899903aa", "Intel SPS 4.2", ProductLine::Sps),
    KnownKey {
        md5: "645f093c24ec0302df950e6dd1a51789",
        name: "Intel pre-production (ME 8 and SPS 4)",
        line: None,
        pre_production: true,
    },
];

const fn known(md5: &'static str, name: &'static str, line: ProductLine) -> KnownKey {
    KnownKey { md5, name, line: Some(line), pre_production: false }
}

impl Verdict {
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid { scheme, salt_len: None } => write!(f, "valid ({scheme})"),
            Self::Valid { scheme, salt_len: Some(bytes) } => write!(f, "valid ({scheme}, salt {bytes})"),
            Self::Invalid { scheme, why } => write!(f, "INVALID ({scheme}): {why}"),
            Self::NotChecked { why } => write!(f, "not checked: {why}"),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048Sha1 => "RSA-2048 PKCS#1 v1.5 SHA-1",
            Self::Rsa2048Sha256 => "RSA-2048 PKCS#1 v1.5 SHA-256",
            Self::Rsa3072PssSha384 => "RSA-3072 PSS SHA-384",
        })
    }
}

impl KeyIdentity {
    pub(crate) fn of(modulus: &[u8], key_and_exponent: &[u8]) -> Self {
        Self { md5: hex(&Md5::digest(key_and_exponent)), modulus_sha256: hex(&Sha256::digest(modulus)) }
    }

    /// The owner, where it is one of the keys seen on real images.
    pub fn known(&self) -> Option<&'static KnownKey> {
        KNOWN_KEYS.iter().find(|key| key.md5 == self.md5)
    }
}

/// The parts of a manifest that its signature is about.
pub(crate) struct Signed<'a> {
    pub(crate) tag: Tag,
    pub(crate) header_version: u32,
    /// Low byte first, like the signature.
    pub(crate) modulus: &'a [u8],
    pub(crate) exponent: u32,
    pub(crate) signature: &'a [u8],
    /// Signed bytes are `head`, then `body`; between them lie the key and the signature.
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

pub(crate) fn verify(signed: &Signed<'_>) -> Verdict {
    let scheme = match (signed.tag, signed.header_version, signed.modulus.len()) {
        (Tag::Man, 0x10000, 256) => Scheme::Rsa2048Sha1,
        (Tag::Mn2, 0x10000, 256) => Scheme::Rsa2048Sha256,
        (Tag::Mn2, 0x21000, 384) => Scheme::Rsa3072PssSha384,
        (_, version, bytes) => {
            let why =
                format!("no scheme is known for header version {version:#x} with {} key bits", 8 * bytes);
            return Verdict::NotChecked { why };
        }
    };
    match check(signed, scheme) {
        Ok(salt_len) => Verdict::Valid { scheme, salt_len },
        Err(Fault::HashDiffers) if fits_with_debug_flag(signed, scheme) => {
            Verdict::Invalid { scheme, why: Fault::DebugFlagCleared }
        }
        Err(why) => Verdict::Invalid { scheme, why },
    }
}

fn check(signed: &Signed<'_>, scheme: Scheme) -> Result<Option<usize>, Fault> {
    let message = recover(signed)?;
    match scheme {
        Scheme::Rsa2048Sha1 => check_pkcs1(&message, &SHA1_INFO, &hash::<Sha1>(signed)).map(|()| None),
        Scheme::Rsa2048Sha256 => check_pkcs1(&message, &SHA256_INFO, &hash::<Sha256>(signed)).map(|()| None),
        Scheme::Rsa3072PssSha384 => {
            check_pss(&message, key_bits(signed.modulus), &hash::<Sha384>(signed)).map(Some)
        }
    }
}

/// Real pre-production images exist that were signed with flag bit 31 and shipped without it.
fn fits_with_debug_flag(signed: &Signed<'_>, scheme: Scheme) -> bool {
    let mut head = signed.head.to_vec();
    match head.get_mut(0xf) {
        Some(flags) if *flags & 0x80 == 0 => *flags |= 0x80,
        _ => return false,
    }
    check(&Signed { head: &head, ..*signed }, scheme).is_ok()
}

/// Signature to the power of the exponent, high byte first, as long as the modulus.
fn recover(signed: &Signed<'_>) -> Result<Vec<u8>, Fault> {
    // The pre-production key has 2045 bits, so no more than a nonzero top byte may be asked for.
    let full = signed.modulus.last().is_some_and(|byte| *byte != 0);
    let odd = signed.modulus.first().is_some_and(|byte| byte & 1 != 0);
    // Exponent 1 would make any padded hash its own signature.
    if !full || !odd || signed.exponent < 3 || signed.exponent.is_multiple_of(2) {
        return Err(Fault::BadKey);
    }
    let modulus = BigUint::from_bytes_le(signed.modulus);
    let signature = BigUint::from_bytes_le(signed.signature);
    if signature >= modulus {
        return Err(Fault::NotBelowModulus);
    }
    let mut message = signature.modpow(&BigUint::from(signed.exponent), &modulus).to_bytes_le();
    message.resize(signed.modulus.len(), 0);
    message.reverse();
    Ok(message)
}

/// Bits of a modulus whose last byte, the top one, is not zero.
fn key_bits(modulus: &[u8]) -> usize {
    8 * modulus.len() - modulus.last().map_or(0, |byte| byte.leading_zeros() as usize)
}

fn hash<D: Digest>(signed: &Signed<'_>) -> Vec<u8> {
    D::new().chain_update(signed.head).chain_update(signed.body).finalize().to_vec()
}

/// RFC 8017, 9.2: the one encoding that is right is built and compared as a whole; nothing of it is parsed.
fn check_pkcs1(message: &[u8], info: &[u8], hash: &[u8]) -> Result<(), Fault> {
    let fill = message.len().saturating_sub(3 + info.len() + hash.len());
    let mut prefix = vec![0, 1];
    prefix.resize(2 + fill, 0xff);
    prefix.push(0);
    prefix.extend_from_slice(info);
    match message.strip_prefix(prefix.as_slice()) {
        Some(found) if found == hash => Ok(()),
        Some(found) if found.len() == hash.len() => Err(Fault::HashDiffers),
        _ => Err(Fault::BadPadding),
    }
}

/// RFC 8017, 9.1.2 with SHA-384 and MGF1-SHA-384, the salt's length taken from the padding and returned.
fn check_pss(message: &[u8], key_bits: usize, hash: &[u8]) -> Result<usize, Fault> {
    // The encoded message has one bit less than the key; what is above it must be zero.
    let bits = key_bits.saturating_sub(1);
    let (above, encoded) =
        message.split_at_checked(message.len().saturating_sub(bits.div_ceil(8))).ok_or(Fault::BadPadding)?;
    let top = 0xff_u8 >> (8 * encoded.len() - bits);
    let split = encoded.len().checked_sub(hash.len() + 1).ok_or(Fault::BadPadding)?;
    let (masked, rest) = encoded.split_at_checked(split).ok_or(Fault::BadPadding)?;
    let Some((0xbc, seed)) = rest.split_last().map(|(last, seed)| (*last, seed)) else {
        return Err(Fault::BadPadding);
    };
    let mut block = masked.to_vec();
    if above.iter().any(|byte| *byte != 0) || block.first().is_none_or(|byte| byte & !top != 0) {
        return Err(Fault::BadPadding);
    }
    unmask(&mut block, seed);
    if let Some(first) = block.first_mut() {
        *first &= top;
    }
    let one = block.iter().position(|byte| *byte != 0).ok_or(Fault::BadPadding)?;
    let Some([1, salt @ ..]) = block.get(one..) else { return Err(Fault::BadPadding) };
    let expected = Sha384::new().chain_update([0; 8]).chain_update(hash).chain_update(salt).finalize();
    if expected.as_slice() != seed {
        return Err(Fault::HashDiffers);
    }
    if SALT_LENGTHS.contains(&salt.len()) {
        Ok(salt.len())
    } else {
        Err(Fault::UnusualSalt { bytes: salt.len() })
    }
}

/// MGF1 (RFC 8017, B.2.1), applied in place.
fn unmask(block: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(block.chunks_mut(48)) {
        let mask = Sha384::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Manifests signed once with openssl and keys made for this purpose; the private halves are gone.
#[cfg(test)]
pub(crate) mod vectors {
    pub(crate) fn get(name: &str) -> Vec<u8> {
        let line = include_str!("../tests/data/manifests.hex")
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let (_, hex) = line.unwrap().split_once(' ').unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn verdict(bytes: &[u8]) -> Verdict {
        Manifest::parse(bytes, 0).unwrap().verify(bytes)
    }

    fn fault(bytes: &[u8]) -> Fault {
        match verdict(bytes) {
            Verdict::Invalid { why, .. } => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn signatures_made_by_openssl_are_valid() {
        for (name, scheme, salt_len) in [
            ("man-2048", Scheme::Rsa2048Sha1, None),
            ("mn2-2048", Scheme::Rsa2048Sha256, None),
            ("mn2-3072-salt48", Scheme::Rsa3072PssSha384, Some(48)),
            ("mn2-3072-salt32", Scheme::Rsa3072PssSha384, Some(32)),
        ] {
            assert_eq!(verdict(&vectors::get(name)), Verdict::Valid { scheme, salt_len }, "{name}");
        }
    }

    #[test]
    fn another_salt_length_is_named_and_not_valid() {
        assert_eq!(fault(&vectors::get("mn2-3072-salt20")), Fault::UnusualSalt { bytes: 20 });
        assert_eq!(fault(&vectors::get("mn2-3072-salt0")), Fault::UnusualSalt { bytes: 0 });
    }

    #[test]
    fn a_hash_of_another_kind_is_bad_padding() {
        assert_eq!(fault(&vectors::get("mn2-2048-sha1")), Fault::BadPadding);
    }

    #[test]
    fn every_signed_byte_counts_and_the_fault_is_named() {
        for name in ["man-2048", "mn2-2048", "mn2-3072-salt48", "mn2-3072-salt32"] {
            let good = vectors::get(name);
            let header = Manifest::parse(&good, 0).unwrap().header_len;
            // Lengths, tag and version of the header are the parser's own; the rest of the signed bytes is free.
            for at in (0xc..0x18).chain(0x20..0x78).chain(header..good.len()) {
                let mut bytes = good.clone();
                bytes[at] ^= 1;
                assert_eq!(fault(&bytes), Fault::HashDiffers, "{name} at {at:#x}");
            }
            for at in (0x80..header).step_by(5) {
                let mut bytes = good.clone();
                bytes[at] ^= 0x10;
                assert!(!verdict(&bytes).is_valid(), "{name} at {at:#x}");
            }
        }
    }

    #[test]
    fn a_cleared_debug_flag_is_found() {
        let mut bytes = vectors::get("mn2-2048-debug");
        assert!(verdict(&bytes).is_valid());
        bytes[0xf] = 0;
        assert_eq!(fault(&bytes), Fault::DebugFlagCleared);
        let mut bytes = vectors::get("mn2-2048");
        bytes[0xf] = 0x80;
        assert_eq!(fault(&bytes), Fault::HashDiffers);
    }

    #[test]
    fn a_shorter_body_is_not_what_was_signed() {
        let mut bytes = vectors::get("mn2-2048");
        bytes[0x18] -= 1;
        assert_eq!(fault(&bytes), Fault::HashDiffers);
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let good = vectors::get("mn2-2048");
        for (range, byte) in [(0x80..0x180, 0), (0x80..0x81, 0), (0x17f..0x180, 0), (0x180..0x184, 0)] {
            let mut bytes = good.clone();
            bytes[range.clone()].fill(byte);
            assert_eq!(fault(&bytes), Fault::BadKey, "{range:x?}");
        }
        let mut bytes = good.clone();
        bytes[0x180..0x184].copy_from_slice(&1_u32.to_le_bytes());
        assert_eq!(fault(&bytes), Fault::BadKey);
        let mut bytes = good;
        bytes[0x184..0x284].fill(0xff);
        assert_eq!(fault(&bytes), Fault::NotBelowModulus);
    }

    #[test]
    fn an_unknown_header_version_is_not_checked() {
        let mut bytes = vectors::get("mn2-2048");
        bytes[0xa] = 2;
        assert!(matches!(verdict(&bytes), Verdict::NotChecked { .. }));
    }

    #[test]
    fn the_padding_is_compared_as_a_whole() {
        let hash = [7; 32];
        let mut message = vec![0, 1];
        message.resize(256 - 52, 0xff);
        message.push(0);
        message.extend_from_slice(&SHA256_INFO);
        message.extend_from_slice(&hash);
        assert_eq!(check_pkcs1(&message, &SHA256_INFO, &hash), Ok(()));
        for at in 0..256 - 32 {
            let mut bad = message.clone();
            bad[at] ^= 0x80;
            assert_eq!(check_pkcs1(&bad, &SHA256_INFO, &hash), Err(Fault::BadPadding), "{at}");
        }
        // The forgery that a compare of the last 32 bytes alone would take.
        let mut forged = vec![0; 256];
        forged[224..].copy_from_slice(&hash);
        assert_eq!(check_pkcs1(&forged, &SHA256_INFO, &hash), Err(Fault::BadPadding));
    }

    /// Keys need not fill their top byte: vectors made by openssl with keys of 3070, 3068 and 3065 bits.
    #[test]
    fn keys_with_clear_top_bits_verify() {
        for bits in [3070, 3068, 3065] {
            let bytes = vectors::get(&format!("mn2-{bits}-salt48"));
            assert!(verdict(&bytes).is_valid(), "{bits}: {}", verdict(&bytes));
        }
        assert!(verdict(&vectors::get("mn2-2045")).is_valid());
    }

    #[test]
    fn known_keys_have_distinct_digests() {
        let mut digests: Vec<_> = KNOWN_KEYS.iter().map(|key| key.md5).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), KNOWN_KEYS.len());
        assert!(digests.iter().all(|digest| digest.len() == 32));
    }

    #[test]
    fn verdicts_have_a_stable_form() {
        let verdict = Verdict::Invalid { scheme: Scheme::Rsa2048Sha256, why: Fault::HashDiffers };
        assert_eq!(
            serde_json::to_string(&verdict).unwrap(),
            r#"{"status":"invalid","scheme":"rsa-2048-pkcs1-sha256","why":{"fault":"hash-differs"}}"#
        );
    }
}
