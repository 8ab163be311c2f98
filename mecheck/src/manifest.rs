//! Signed manifests, `$MN2` and the older `$MAN` (reference/me.md 2.3).

use serde::Serialize;

use crate::bytes::{ImageError, slice, u8_at, u16_at, u32_at};
use crate::me::Version;
use crate::signature::{self, KeyIdentity, Signed, Verdict};

/// The fixed part of the header, which is signed; modulus, exponent and signature follow it.
const FIXED: usize = 0x80;
/// Real keys have 256 or 384 bytes; 1024 bytes are 8192 bits.
const MAX_KEY: usize = 0x400;

/// A manifest header with its key, inside the bounds of the image it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Offset of the header in the image given to [`Manifest::parse`].
    pub offset: usize,
    pub tag: Tag,
    /// Bytes: 0x284 with a 2048-bit key, 0x384 with a 3072-bit one.
    pub header_len: usize,
    /// 0x10000 up to CSME 15, 0x21000 after.
    pub header_version: u32,
    pub flags: u32,
    /// 0x8086.
    pub vendor: u32,
    /// `2020-07-29`, from the packed decimal of the header; absent where its digits are no date.
    pub date: Option<String>,
    /// Bytes of header and body together.
    pub size: usize,
    /// Number of `$MME` modules before CSE; a build tag after.
    pub modules: u32,
    pub version: Version,
    /// Security version number.
    pub svn: u32,
    /// Version control number.
    pub vcn: u32,
    pub key_bits: usize,
    pub exponent: u32,
    pub key: KeyIdentity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Tag {
    /// ME 2 to 5, signed with SHA-1.
    #[serde(rename = "$MAN")]
    Man,
    /// ME 6 and newer.
    #[serde(rename = "$MN2")]
    Mn2,
}

impl Manifest {
    /// Reads the manifest whose header starts at `offset`.
    ///
    /// # Errors
    /// [`ImageError`] where there is no manifest tag, or a length in the header contradicts another or the image's end.
    pub fn parse(image: &[u8], offset: usize) -> Result<Self, ImageError> {
        let fixed = slice(image, offset, FIXED, "manifest header")?;
        let word = |at: usize| u32_at(fixed, at, "manifest header");
        let fail = |at: usize, why: String| Err(ImageError::new("manifest", offset + at, why));
        let tag = match fixed.get(0x1c..0x20) {
            Some(b"$MAN") => Tag::Man,
            Some(b"$MN2") => Tag::Mn2,
            _ => return fail(0x1c, "the tag is neither $MN2 nor $MAN".into()),
        };
        let (header_len, size) = (dwords(word(4)?), dwords(word(0x18)?));
        let key_len = dwords(word(0x78)?);
        if key_len == 0 || key_len > MAX_KEY {
            return fail(0x78, format!("a key of {key_len} bytes"));
        }
        if dwords(word(0x7c)?) != 4 {
            return fail(0x7c, format!("an exponent of {} dwords, not 1", word(0x7c)?));
        }
        if header_len < FIXED + 2 * key_len + 4 {
            return fail(4, format!("{header_len:#x} bytes of header are too few for a key of {key_len:#x}"));
        }
        if size < header_len {
            return fail(0x18, format!("the size {size:#x} is less than the header's {header_len:#x}"));
        }
        let bytes = slice(image, offset, size, "manifest")?;
        let part = |index: usize| u16_at(fixed, 0x24 + 2 * index, "manifest version");
        let modulus = slice(bytes, FIXED, key_len, "manifest key")?;
        let key_and_exponent = slice(bytes, FIXED, 0x104.min(key_len + 4), "manifest key")?;
        Ok(Self {
            offset,
            tag,
            header_len,
            header_version: word(8)?,
            flags: word(0xc)?,
            vendor: word(0x10)?,
            date: date(fixed)?,
            size,
            modules: word(0x20)?,
            version: Version { major: part(0)?, minor: part(1)?, hotfix: part(2)?, build: part(3)? },
            svn: word(0x2c)?,
            vcn: word(0x34)?,
            key_bits: 8 * key_len,
            exponent: u32_at(bytes, FIXED + key_len, "manifest exponent")?,
            key: KeyIdentity::of(modulus, key_and_exponent),
        })
    }

    /// Checks the manifest's own signature. `image` must be the image it was parsed from, or a changed copy: the
    /// header is read again, so that a change to it is found too. That the key is Intel's is not said here: see
    /// [`KeyIdentity::known`].
    pub fn verify(&self, image: &[u8]) -> Verdict {
        let now = match Self::parse(image, self.offset) {
            Ok(now) => now,
            Err(error) => return Verdict::NotChecked { why: error.to_string() },
        };
        match now.signed(image) {
            Ok(signed) => signature::verify(&signed),
            Err(error) => Verdict::NotChecked { why: error.to_string() },
        }
    }

    /// Not meant for sale: flag bit 31 (debug or pre-production), or a key known as such.
    pub fn pre_production(&self) -> bool {
        self.flags >> 31 != 0 || self.key.known().is_some_and(|key| key.pre_production)
    }

    fn signed<'a>(&self, image: &'a [u8]) -> Result<Signed<'a>, ImageError> {
        let key_len = self.key_bits / 8;
        let bytes = slice(image, self.offset, self.size, "manifest")?;
        Ok(Signed {
            tag: self.tag,
            header_version: self.header_version,
            modulus: slice(bytes, FIXED, key_len, "manifest key")?,
            exponent: self.exponent,
            signature: slice(bytes, FIXED + key_len + 4, key_len, "manifest signature")?,
            head: slice(bytes, 0, FIXED, "manifest header")?,
            body: slice(bytes, self.header_len, self.size - self.header_len, "manifest body")?,
        })
    }
}

/// Lengths count dwords; saturating, so that a giant one fails the bounds checks on every word size.
fn dwords(count: u32) -> usize {
    (count as usize).saturating_mul(4)
}

/// Packed decimal: day, month, then the year's two low and two high digits.
fn date(fixed: &[u8]) -> Result<Option<String>, ImageError> {
    let byte = |at: usize| u8_at(fixed, at, "manifest date");
    let (day, month, low, high) = (byte(0x14)?, byte(0x15)?, byte(0x16)?, byte(0x17)?);
    let decimal = [day, month, low, high].iter().all(|byte| byte & 0xf <= 9 && byte >> 4 <= 9);
    let plausible = decimal && (0x01..=0x31).contains(&day) && (0x01..=0x12).contains(&month);
    Ok(plausible.then(|| format!("{high:02x}{low:02x}-{month:02x}-{day:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::vectors;

    #[test]
    fn reads_every_field() {
        let bytes = vectors::get("mn2-2048");
        let manifest = Manifest::parse(&bytes, 0).unwrap();
        assert_eq!(manifest.tag, Tag::Mn2);
        assert_eq!((manifest.header_len, manifest.size), (0x284, bytes.len()));
        assert_eq!((manifest.header_version, manifest.vendor), (0x10000, 0x8086));
        assert_eq!(manifest.date.as_deref(), Some("2021-03-08"));
        assert_eq!(manifest.version.to_string(), "11.8.80.3746");
        assert_eq!((manifest.svn, manifest.vcn, manifest.modules), (3, 7, 12));
        assert_eq!((manifest.key_bits, manifest.exponent), (2048, 0x10001));
        assert!(!manifest.pre_production());
        assert_eq!(manifest.key.known(), None);
    }

    #[test]
    fn flag_bit_31_means_pre_production() {
        let mut bytes = vectors::get("mn2-2048");
        bytes[0xf] |= 0x80;
        assert!(Manifest::parse(&bytes, 0).unwrap().pre_production());
    }

    #[test]
    fn lengths_that_contradict_each_other_are_named() {
        let good = vectors::get("mn2-2048");
        for (at, value, what) in [
            (0x04, 0xa0_u32, "too few"),
            (0x04, u32::MAX, "less than the header"),
            (0x18, 0xa0, "less than the header"),
            (0x18, u32::MAX, "the file ends"),
            (0x78, 0, "a key of 0 bytes"),
            (0x78, u32::MAX, "a key of"),
            (0x7c, 2, "2 dwords"),
            (0x1c, 0, "neither"),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let error = Manifest::parse(&bytes, 0).unwrap_err().to_string();
            assert!(error.contains(what), "{at:#x}: {error}");
        }
    }

    #[test]
    fn truncated_at_every_length_is_an_error() {
        let good = vectors::get("mn2-3072-salt48");
        let manifest = Manifest::parse(&good, 0).unwrap();
        for len in 0..good.len() {
            assert!(Manifest::parse(&good[..len], 0).is_err(), "length {len:#x}");
            assert!(matches!(manifest.verify(&good[..len]), Verdict::NotChecked { .. }));
        }
        assert!(Manifest::parse(&good, usize::MAX - 4).is_err());
    }

    #[test]
    fn digits_that_are_no_date_are_not_shown_as_one() {
        let mut bytes = vectors::get("mn2-2048");
        bytes[0x14] = 0x3a;
        assert_eq!(Manifest::parse(&bytes, 0).unwrap().date, None);
    }
}
