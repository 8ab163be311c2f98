//! What an image is, as far as cleaning needs it (reference/me.md 2.4 steps 1 to 6). Nothing is changed here, so a
//! refusal from here leaves no trace.

use std::ops::Range;

use super::Refusal;
use super::region::Region;
use crate::bytes::{ImageError, u32_at};
use crate::manifest::Manifest;
use crate::me::{Generation, MeImage, Version};

pub(super) const FTPR: &str = "FTPR";
const SIGNATURE: &[u8] = &[0x5a, 0xa5, 0xf0, 0x0f];
const FPT: &[u8] = b"$FPT";
/// FPT header and FPT entries have this size.
pub(super) const ENTRY: usize = 0x20;
/// Flash is erased in pages of this size, so every region is a multiple of it.
pub(super) const PAGE: usize = 0x1000;

#[derive(Debug)]
pub(super) struct Found<'a> {
    /// None for an ME region alone.
    pub(super) flash: Option<Flash>,
    /// None where an ICH descriptor leaves region 2 unused.
    pub(super) me: Option<Me<'a>>,
    pub(super) generation: Generation,
}

/// Offsets and regions that a descriptor names; all of them count from the start of the file.
#[derive(Debug, Clone)]
pub(super) struct Flash {
    /// ICH8 to ICH10, whose signature stands at 0.
    pub(super) ich: bool,
    /// FRBA, the region table.
    pub(super) regions_at: usize,
    /// FMBA, the masters' access rights.
    pub(super) masters_at: usize,
    /// FPSBA, called FISBA on ICH.
    pub(super) straps_at: usize,
    /// FMSBA, the straps of the memory hub.
    pub(super) hub_straps_at: usize,
    /// Ends are exclusive; a region with start >= end is unused.
    pub(super) descriptor: Range<usize>,
    pub(super) bios: Range<usize>,
    pub(super) me: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Me<'a> {
    pub(super) region: Region<'a>,
    /// Where `$FPT` stands: 0 or 10h.
    pub(super) table: usize,
    pub(super) entries: usize,
    /// FTPR, or CODE of ME 1 to 5.
    pub(super) code: Entry,
    /// FTPR starts with a code partition directory.
    pub(super) directory: bool,
    /// It did until an earlier cleaning erased it, with all that it listed as removable.
    pub(super) directory_erased: bool,
    pub(super) manifest: usize,
    pub(super) version: Version,
}

/// One partition as the table has it; offsets count from the start of the region.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// As bytes where it is no text: foreign, so it is escaped where it is shown.
    pub(super) name: String,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) flags: u32,
}

impl Entry {
    pub(super) fn end(&self) -> usize {
        self.start.saturating_add(self.len)
    }

    /// Type 2 has no place in flash, nor has what starts at 0 or FFFFFFFF or is empty.
    pub(super) fn is_in_flash(&self) -> bool {
        self.flags & 0x7f != 2 && self.start != 0 && self.start != u32::MAX as usize && self.len != 0
    }
}

impl<'a> Found<'a> {
    pub(super) fn read(image: &'a [u8]) -> Result<Self, Refusal> {
        let whole = Region { bytes: image, base: 0 };
        if whole.is(0, FPT) || whole.is(0x10, FPT) {
            let (me, generation) = Me::read(whole, false)?;
            if !image.len().is_multiple_of(PAGE) {
                let why = "its size is no multiple of 4096: the file is cut off, or no flash region";
                return Err(ImageError::new("ME region", image.len(), why).into());
            }
            return Ok(Self { flash: None, me: Some(me), generation });
        }
        let Some(signature) = [0, 0x10].into_iter().find(|at| whole.is(*at, SIGNATURE)) else {
            return Err(refuse_unknown(whole));
        };
        let flash = Flash::read(image, signature)?;
        if flash.me.start >= flash.me.end {
            if flash.ich {
                return Ok(Self { flash: Some(flash), me: None, generation: Generation::One });
            }
            return Err(Refusal::impossible(
                "me-region-unused",
                "the descriptor leaves region 2 unused, which does not mean that there is no ME: on Apollo Lake and \
                 Gemini Lake the CSE lies in the BIOS region, and no soft-disable strap is known to work there",
            ));
        }
        let region = Region::of(image, &flash.me, "ME region")?;
        let (me, generation) = Me::read(region, flash.ich)?;
        Ok(Self { flash: Some(flash), me: Some(me), generation })
    }
}

impl Flash {
    fn read(image: &[u8], signature: usize) -> Result<Self, ImageError> {
        let map = |index: usize| u32_at(image, signature + 4 + 4 * index, "flash descriptor map");
        let base = |word: u32, shift: u32| ((word >> shift) as usize & 0xff) << 4;
        let (map0, map1, map2) = (map(0)?, map(1)?, map(2)?);
        let regions_at = base(map0, 16);
        let region = |id: usize| u32_at(image, regions_at + 4 * id, "flash region table").map(decode);
        let flash = Self {
            ich: signature == 0,
            regions_at,
            masters_at: base(map1, 0),
            straps_at: base(map1, 16),
            hub_straps_at: base(map2, 0),
            descriptor: region(0)?,
            bios: region(1)?,
            me: region(2)?,
        };
        if flash.descriptor.start != 0 || flash.descriptor.is_empty() {
            return Err(ImageError::new("descriptor region", regions_at, "it does not start at 0"));
        }
        Region::of(image, &flash.descriptor, "descriptor region")?;
        let others = [0, 1, 3, 4].into_iter().filter(|id| *id != 1 || !flash.bios_is_whole_chip());
        let others = others.map(region).collect::<Result<Vec<_>, _>>()?;
        let overlapped = others.into_iter().find(|other| overlap(other, &flash.me));
        if let Some(other) = overlapped {
            let why = format!("it overlaps the region {:#x} to {:#x}", other.start, other.end);
            return Err(ImageError::new("ME region", flash.me.start, why));
        }
        flash.check_length(image, map0)?;
        Ok(flash)
    }

    /// Descriptors of some coreboot boards give the whole chip to the BIOS region, descriptor and ME region with it. Nothing
    /// is in doubt there: the ME region is where region 2 says. Any other overlap is a map that contradicts itself.
    pub(super) fn bios_is_whole_chip(&self) -> bool {
        self.bios.start == 0 && !self.me.is_empty() && self.me.end < self.bios.end
    }

    /// A file that ends inside the BIOS region is the whole of chip 1 of 2, or it is cut off.
    fn check_length(&self, image: &[u8], map0: u32) -> Result<(), ImageError> {
        if self.bios.is_empty() || self.bios.end <= image.len() {
            return Ok(());
        }
        let components = u32_at(image, (map0 as usize & 0xff) << 4, "flash components")?;
        // Density of the first chip: three bits on old descriptors, four on new ones (reference/me.md 1.1).
        let first_chip = |mask: u32| 1usize.checked_shl(19 + (components & mask)) == Some(image.len());
        if map0 >> 8 & 3 != 0 && (first_chip(7) || first_chip(15)) {
            return Ok(());
        }
        let why =
            format!("the BIOS region ends at {:#x}: the file is cut off; dump the chip again", self.bios.end);
        Err(ImageError::new("flash image", image.len(), why))
    }

    /// Whether this is one chip of several.
    pub(super) fn is_partial(&self, image: &[u8]) -> bool {
        !self.bios.is_empty() && self.bios.end > image.len()
    }
}

impl<'a> Me<'a> {
    fn read(region: Region<'a>, ich: bool) -> Result<(Self, Generation), Refusal> {
        let Some(table) = [0, 0x10].into_iter().find(|at| region.is(*at, FPT)) else {
            return Err(refuse_without_table(region));
        };
        let entries = region.size(table + 4, "$FPT entry count")?;
        region.slice(table + ENTRY, entries.saturating_mul(ENTRY), "$FPT entries")?;
        let code = (0..entries)
            .find(|index| [b"FTPR", b"CODE"].iter().any(|tag| region.is(table + ENTRY * (index + 1), *tag)));
        let Some(code) = code else {
            return Err(region.error("$FPT", table, "no FTPR or CODE partition").into());
        };
        let code = entry(region, table + ENTRY * (code + 1))?;
        let behind_erased =
            if ich || code.name != FTPR { None } else { manifest_behind_erased(region, code.start) };
        let directory = region.is(code.start, b"$CPD") || behind_erased.is_some();
        let generation = match (directory, ich || code.name == "CODE") {
            (true, _) => Generation::Three,
            (false, true) => Generation::One,
            (false, false) => Generation::Two,
        };
        let manifest = match behind_erased {
            Some(manifest) => manifest,
            None if directory => find_manifest(region, &code)?,
            None => code.start,
        };
        let tag: &[u8] = if generation == Generation::One { b"$MAN" } else { b"$MN2" };
        if !region.is(manifest.saturating_add(0x1c), tag) {
            let why = format!("no {} there: the image is damaged or cut off", tag.escape_ascii());
            return Err(region.error("manifest tag", manifest.saturating_add(0x1c), why).into());
        }
        let part = |index: usize| region.u16(manifest + 0x24 + 2 * index, "manifest version");
        let version = Version { major: part(0)?, minor: part(1)?, hotfix: part(2)?, build: part(3)? };
        if generation == Generation::Three && version.major >= 12 {
            return Err(refuse_csme(&version));
        }
        let directory_erased = behind_erased.is_some();
        Ok((
            Self { region, table, entries, code, directory, directory_erased, manifest, version },
            generation,
        ))
    }

    /// Every entry in the table's order.
    pub(super) fn table_entries(&self) -> Result<Vec<Entry>, ImageError> {
        let last = self.entries.wrapping_sub(1);
        (0..self.entries)
            .map(|index| {
                let mut it = entry(self.region, self.table + ENTRY * (index + 1))?;
                // ME 6 leaves the size of its last partition open.
                let open = self.version.major == 6 && !self.directory && index == last;
                if open && it.len == u32::MAX as usize && it.start < self.region.len() {
                    it.len = self.region.len() - it.start;
                }
                Ok(it)
            })
            .collect()
    }

    /// FTPR reaches past the region: shrunk by an earlier cleaning, or cut off.
    pub(super) fn reaches_out(&self) -> bool {
        self.code.end() > self.region.len()
    }

    pub(super) fn parse_manifest(&self) -> Result<Manifest, ImageError> {
        Manifest::parse(self.region.bytes, self.manifest)
            .map_err(|error| ImageError { offset: error.offset.saturating_add(self.region.base), ..error })
    }
}

fn entry(region: Region<'_>, at: usize) -> Result<Entry, ImageError> {
    let name = region.slice(at, 4, "$FPT entry")?;
    let trimmed = name.iter().rposition(|byte| *byte != 0).and_then(|last| name.get(..=last)).unwrap_or(&[]);
    Ok(Entry {
        name: trimmed.escape_ascii().to_string(),
        start: region.size(at + 8, "$FPT entry offset")?,
        len: region.size(at + 0xc, "$FPT entry size")?,
        flags: region.u32(at + 0x1c, "$FPT entry flags")?,
    })
}

/// `FTPR.man` of a code partition directory with the short header; the long one belongs to CSME 15 and newer.
fn find_manifest(region: Region<'_>, code: &Entry) -> Result<usize, ImageError> {
    let found = super::gen3::directory(region, code)?.into_iter().find(|module| module.name == "FTPR.man");
    match found {
        Some(module) => Ok(code.start.saturating_add(module.offset)),
        None => Err(region.error("$CPD", code.start, "no FTPR.man entry")),
    }
}

/// The manifest that follows a directory of nothing but FF, which is what cleaning TXE 4 leaves.
fn manifest_behind_erased(region: Region<'_>, start: usize) -> Option<usize> {
    let page = region.bytes.get(start..start.saturating_add(PAGE))?;
    let erased = page.iter().position(|byte| *byte != 0xff).filter(|len| *len >= 0x28)?;
    let manifest = start + erased;
    region.is(manifest + 0x1c, b"$MN2").then_some(manifest)
}

fn decode(word: u32) -> Range<usize> {
    let start = (word as usize & 0x7fff) << 12;
    let limit = ((word >> 16) as usize & 0x7fff) << 12 | 0xfff;
    start..limit + 1
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    !a.is_empty() && !b.is_empty() && a.start < b.end && b.start < a.end
}

fn refuse_unknown(whole: Region<'_>) -> Refusal {
    match MeImage::parse(whole.bytes) {
        Ok(me) if me.generation == Generation::Ifwi => refuse_csme(&me.version),
        _ if !whole.bytes.is_empty() && whole.is_blank(0..whole.len()) => {
            Refusal::impossible("empty", "the file holds nothing but FF: it was erased, or never read")
        }
        _ => ImageError::new(
            "image",
            0,
            "neither a flash descriptor nor an ME partition table; a dump of the flash chip is needed, not a vendor's \
             update file",
        )
        .into(),
    }
}

fn refuse_without_table(region: Region<'_>) -> Refusal {
    match MeImage::parse(region.bytes) {
        Ok(me) if me.generation == Generation::Ifwi => refuse_csme(&me.version),
        _ if region.is_blank(0..region.len()) => Refusal::impossible(
            "me-region-empty",
            format!(
                "the ME region at {:#x} is empty (all FF): the host may not read it, or it was cleaned before; dump the \
                 chip with an external programmer",
                region.base
            ),
        ),
        _ => region
            .error(
                "ME region",
                0x10,
                "no partition table ($FPT) there or at 0; the region is damaged or encrypted",
            )
            .into(),
    }
}

fn refuse_csme(version: &Version) -> Refusal {
    Refusal::impossible(
        "code-removal-unsupported",
        format!(
            "ME {version}: removing code from CSME 12 and newer corrupts its IFWI layout; it can be soft-disabled only: \
             `firmware neutralize`"
        ),
    )
}
