//! Boot Guard hints from the Firmware Interface Table (Intel's FIT BIOS specification): what the image would bring if
//! the fuses of the chipset asked for it.
//!
//! Whether Boot Guard is enforced is decided by fuses that no flash image shows, so every word from here is a hint. It
//! matters because code removal under an enforcing profile shuts the machine down (reference/me.md 3).

use serde::Serialize;

use crate::bytes::{slice, u8_at, u16_at, u24_at, u32_at, u64_at};
use crate::{Descriptor, ImageError};

/// The pointer lies at 4 GiB - 40h, and flash ends at 4 GiB.
const POINTER_FROM_END: usize = 0x40;
const FOUR_GIB: u64 = 1 << 32;
const ENTRY: usize = 16;
const MAGIC: &[u8; 8] = b"_FIT_   ";
/// Real tables have up to 60 entries, most of them microcode.
const MAX_ENTRIES: usize = 1024;

const STARTUP_ACM: u8 = 0x02;
const KEY_MANIFEST: u8 = 0x0b;
const BOOT_POLICY: u8 = 0x0c;

/// Signs that an image was made for Boot Guard. Offsets count from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BootGuard {
    /// Where the table lies.
    pub fit: usize,
    pub entries: Vec<Entry>,
    /// The startup authenticated code module, if it looks like one.
    pub acm: Option<Acm>,
    /// A key manifest is there: its offset.
    pub key_manifest: Option<usize>,
    /// A boot policy manifest is there: its offset.
    pub boot_policy: Option<usize>,
    /// What of it could not be believed, and why.
    pub doubts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    pub kind: u8,
    /// The kind as a word.
    pub word: &'static str,
    /// File offset, unless the address lies outside the flash (or is none, as for I/O ports).
    pub offset: Option<usize>,
    pub address: u64,
}

/// Header of an authenticated code module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Acm {
    pub offset: usize,
    pub size: usize,
    /// Day of the build, `yyyy-mm-dd` as its BCD digits say.
    pub date: String,
    /// Flags bit 15 or 14: signed with a debug key, or before production.
    pub pre_production: bool,
}

impl BootGuard {
    /// Startup module and both manifests: enough for a profile to be enforced, if the fuses ask for one.
    pub const fn is_complete(&self) -> bool {
        self.acm.is_some() && self.key_manifest.is_some() && self.boot_policy.is_some()
    }

    /// Looks for the table in a dump: the chipset maps the end of the BIOS region to 4 GiB, and that is most often, not
    /// always, the end of the dump.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn in_flash(image: &[u8], descriptor: &Descriptor) -> Result<Option<Self>, ImageError> {
        let bios = descriptor.region("bios").and_then(|region| image.get(..=region.limit));
        Self::find(bios.unwrap_or(image))
    }

    /// Looks for the table in `flash`, which starts at file offset 0 and whose end is what the chipset maps to 4 GiB:
    /// a full dump up to the end of its BIOS region, or a BIOS region alone. None where nothing points to a table.
    ///
    /// # Errors
    /// [`ImageError`] where the pointer leads to a table that is broken.
    pub fn find(flash: &[u8]) -> Result<Option<Self>, ImageError> {
        let Some(pointer) = flash.len().checked_sub(POINTER_FROM_END) else { return Ok(None) };
        let Some(fit) = offset_of(flash, u64_at(flash, pointer, "FIT pointer")?) else { return Ok(None) };
        if flash.get(fit..fit.saturating_add(MAGIC.len())) != Some(MAGIC) {
            return Ok(None);
        }
        let count = u24_at(flash, fit.saturating_add(8), "FIT header")? as usize;
        if !(1..=MAX_ENTRIES).contains(&count) {
            return Err(ImageError::new("FIT header", fit.saturating_add(8), format!("{count} entries")));
        }
        let table = slice(flash, fit, count * ENTRY, "FIT entries")?;
        let mut found = Self {
            fit,
            entries: Vec::new(),
            acm: None,
            key_manifest: None,
            boot_policy: None,
            doubts: Vec::new(),
        };
        let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        // The checksum byte counts only where bit 7 of the header's type says so.
        if u8_at(table, 14, "FIT header")? & 0x80 != 0 && sum != 0 {
            found.doubts.push(format!("the FIT's checksum is off by {sum:#04x}"));
        }
        for entry in table.chunks_exact(ENTRY).skip(1) {
            let address = u64_at(entry, 0, "FIT entry")?;
            let kind = u8_at(entry, 14, "FIT entry")? & 0x7f;
            let offset = offset_of(flash, address);
            found.note(flash, kind, offset, address);
            found.entries.push(Entry { kind, word: kind_word(kind), offset, address });
        }
        Ok(Some(found))
    }

    fn note(&mut self, flash: &[u8], kind: u8, offset: Option<usize>, address: u64) {
        if !matches!(kind, STARTUP_ACM | KEY_MANIFEST | BOOT_POLICY) {
            return;
        }
        let word = kind_word(kind);
        let Some(offset) = offset else {
            self.doubts.push(format!("the {word} entry's address {address:#x} lies outside the flash"));
            return;
        };
        let tagged = |tag: &[u8]| flash.get(offset..).is_some_and(|rest| rest.starts_with(tag));
        match kind {
            STARTUP_ACM => match acm(flash, offset) {
                Ok(acm) => self.acm = self.acm.take().or(Some(acm)),
                Err(error) => self.doubts.push(error.to_string()),
            },
            KEY_MANIFEST if tagged(b"__KEYM__") => self.key_manifest = Some(offset),
            BOOT_POLICY if tagged(b"__ACBP__") => self.boot_policy = Some(offset),
            _ => self.doubts.push(format!("the {word} entry leads to {offset:#x}, where none begins")),
        }
    }
}

/// The file offset of a physical address below 4 GiB, if flash lies there.
fn offset_of(flash: &[u8], address: u64) -> Option<usize> {
    let from_end = usize::try_from(FOUR_GIB.checked_sub(address)?).ok()?;
    flash.len().checked_sub(from_end).filter(|offset| *offset < flash.len())
}

/// The header's fixed fields (Intel TXT software development guide, appendix A.1).
fn acm(flash: &[u8], offset: usize) -> Result<Acm, ImageError> {
    const WHAT: &str = "startup ACM";
    let header = slice(flash, offset, 0x80, WHAT)?;
    let word = |at| u32_at(header, at, WHAT);
    let dwords = |at| word(at).map(|count| u64::from(count) * 4);
    let fail = |why: String| Err(ImageError::new(WHAT, offset, why));
    let (kind, vendor) = (u16_at(header, 0, WHAT)?, word(0x10)?);
    if kind != 2 || vendor != 0x8086 {
        return fail(format!("module type {kind}, vendor {vendor:#x}: no header of Intel's"));
    }
    let (header_length, size) = (dwords(4)?, dwords(0x18)?);
    let room = (flash.len() - offset) as u64;
    if header_length < 0x80 || header_length > size || size > room {
        return fail(format!("header of {header_length:#x} bytes, module of {size:#x}, {room:#x} left"));
    }
    let date = word(0x14)?;
    Ok(Acm {
        offset,
        size: usize::try_from(size).unwrap_or(usize::MAX),
        date: format!("{:04x}-{:02x}-{:02x}", date >> 16, date >> 8 & 0xff, date & 0xff),
        pre_production: u16_at(header, 0x0e, WHAT)? & 0xc000 != 0,
    })
}

const fn kind_word(kind: u8) -> &'static str {
    match kind {
        0x00 => "header",
        0x01 => "microcode",
        STARTUP_ACM => "startup-acm",
        0x03 => "diagnostic-acm",
        0x07 => "bios-startup-module",
        0x08 => "tpm-policy",
        0x09 => "bios-policy",
        0x0a => "txt-policy",
        KEY_MANIFEST => "key-manifest",
        BOOT_POLICY => "boot-policy-manifest",
        0x10 => "cse-secure-boot",
        0x2d => "txtsx-policy",
        0x2f => "jmp-debug-policy",
        0x7f => "skip",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 0x10000;

    fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn address(offset: usize) -> [u8; 8] {
        (FOUR_GIB - SIZE as u64 + offset as u64).to_le_bytes()
    }

    fn entry(image: &mut [u8], index: usize, kind: u8, offset: usize) {
        let at = 0x8000 + ENTRY * index;
        put(image, at, &address(offset));
        put(image, at + 8, &[0, 0, 0, 0, 0, 1, kind, 0]);
    }

    /// A table of five entries at 8000: microcode, ACM, key manifest, boot policy.
    fn guarded() -> Vec<u8> {
        let mut image = vec![0xff; SIZE];
        put(&mut image, SIZE - 0x40, &address(0x8000));
        put(&mut image, 0x8000, MAGIC);
        put(&mut image, 0x8008, &[5, 0, 0, 0, 0, 1, 0x80, 0]);
        for (index, kind, offset) in [(1, 1, 0x1000), (2, 2, 0x2000), (3, 0x0b, 0x3000), (4, 0x0c, 0x4000)] {
            entry(&mut image, index, kind, offset);
        }
        let sum = image[0x8000..0x8050].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        image[0x800f] = sum.wrapping_neg();
        put(&mut image, 0x2000, &[2, 0, 3, 0, 0xe0, 0, 0, 0]);
        put(&mut image, 0x200e, &[0, 0x40, 0x86, 0x80, 0, 0, 0x18, 0x07, 0x20, 0x20, 0, 1, 0, 0]);
        put(&mut image, 0x3000, b"__KEYM__");
        put(&mut image, 0x4000, b"__ACBP__");
        image
    }

    #[test]
    fn names_what_boot_guard_would_need() {
        let found = BootGuard::find(&guarded()).unwrap().unwrap();
        assert!(found.is_complete());
        assert_eq!((found.fit, found.key_manifest, found.boot_policy), (0x8000, Some(0x3000), Some(0x4000)));
        let acm = found.acm.unwrap();
        assert_eq!((acm.offset, acm.size, acm.date.as_str()), (0x2000, 0x400, "2020-07-18"));
        assert!(acm.pre_production);
        let words: Vec<_> = found.entries.iter().map(|entry| entry.word).collect();
        assert_eq!(words, ["microcode", "startup-acm", "key-manifest", "boot-policy-manifest"]);
        assert!(found.doubts.is_empty(), "{:?}", found.doubts);
    }

    #[test]
    fn what_does_not_look_right_is_a_doubt_not_a_sign() {
        let mut image = guarded();
        put(&mut image, 0x2010, &[0x22, 0x10]); // another vendor's module
        put(&mut image, 0x3000, b"none");
        entry(&mut image, 4, 0x0c, SIZE);
        let found = BootGuard::find(&image).unwrap().unwrap();
        assert!(!found.is_complete());
        assert_eq!((found.acm, found.key_manifest, found.boot_policy), (None, None, None));
        assert_eq!(found.doubts.len(), 4, "checksum and three entries: {:?}", found.doubts);
    }

    #[test]
    fn a_dump_may_go_on_behind_its_bios_region() {
        let mut image = crate::me::fixture::sunrise(2, 11);
        let base = image.len();
        image.extend(guarded());
        image.resize(base + SIZE + 0x8000, 0xff);
        let region = |base: usize, end: usize| (base >> 12 | (end - 1) >> 12 << 16) as u32;
        put(&mut image, 0x44, &region(base, base + SIZE).to_le_bytes());
        let descriptor = Descriptor::parse(&image).unwrap();
        let found = BootGuard::in_flash(&image, &descriptor).unwrap().unwrap();
        assert_eq!((found.fit, found.is_complete()), (base + 0x8000, true));
        assert_eq!(BootGuard::find(&image).unwrap(), None);
        let inspection = crate::inspect(&image).unwrap();
        let told =
            crate::warnings::warnings(&image, &inspection, crate::neutralize::Method::SoftDisable, &[]);
        assert!(told.iter().any(|warning| warning.id == "boot-guard-manifests"), "{told:?}");
    }

    #[test]
    fn no_table_is_no_error() {
        for image in [vec![0xff; SIZE], vec![0; SIZE], Vec::new(), vec![0xff; 0x3f]] {
            assert_eq!(BootGuard::find(&image).unwrap(), None);
        }
    }

    #[test]
    fn a_giant_count_is_an_error_with_its_offset() {
        let mut image = guarded();
        put(&mut image, 0x8008, &[0xff; 3]);
        assert_eq!(BootGuard::find(&image).unwrap_err().offset, 0x8008);
    }

    proptest! {
        #[test]
        fn never_panics(changes in prop::collection::vec((0x7ff0_usize..0x8060, any::<u8>()), 0..40),
                        more in prop::collection::vec((0x2000_usize..0x2080, any::<u8>()), 0..20),
                        end in 0_usize..=SIZE) {
            let mut image = guarded();
            for (offset, byte) in changes.into_iter().chain(more) {
                image[offset] = byte;
            }
            let _ = BootGuard::find(&image);
            let _ = BootGuard::find(&image[..end]);
        }
    }
}
