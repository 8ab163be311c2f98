//! UEFI firmware volumes: which modules a BIOS region holds (PI specification, volume 3).
//!
//! Volumes are found by their signature, since nothing in a flash image points to them; from there on every step follows
//! the format. Whatever cannot be read becomes a [`Finding`] with its place, and the walk goes on with the next file,
//! section or volume. Nothing here decides anything: it names what is there.
//!
//! Bounds, so that no input makes the walk expensive: nesting, counts and the length of names are capped below, and all
//! decompressed bytes of one walk together stay within [`budget`].

mod file;
mod guid;
mod lzma;
mod module;
mod related;
mod section;
mod volume;

use std::fmt;

use serde::Serialize;

pub use guid::Guid;
pub use module::{Format, Module};
pub use related::{Related, Technology};
pub use volume::{FileSystem, Volume};

/// Volume in file in section in volume: real images nest six deep.
const MAX_DEPTH: usize = 24;
const MAX_VOLUMES: usize = 1024;
const MAX_FILES: usize = 16_384;
const MAX_MODULES: usize = 16_384;
const MAX_SECTIONS: usize = 131_072;
const MAX_FINDINGS: usize = 256;
/// Volumes are aligned to at least 8 bytes (PI volume 3, 3.2.1.1: the alignment attribute's smallest useful value). In
/// flash they start on erase blocks, but images packed by vendors do not keep to 4 KiB, and a step of 8 costs a
/// comparison for every 8 bytes outside volumes only.
const STEP: usize = 8;

/// What a walk found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Uefi {
    /// In the order of the image, nested ones after the one that holds them.
    pub volumes: Vec<Volume>,
    /// PE32 and TE images in the order of the image.
    pub modules: Vec<Module>,
    /// Modules of out-of-band management, by name or GUID.
    pub related: Vec<Related>,
    /// What could not be read, at most 256 of them.
    pub findings: Vec<Finding>,
    /// How many findings were left out.
    pub more_findings: usize,
    /// Files of all volumes.
    pub files: usize,
    /// Bytes that LZMA sections gave.
    pub decompressed: usize,
}

/// Where something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// Counts from the start of the file, or of the decompressed bytes if `inside` is given.
    pub offset: usize,
    /// File offset of the outermost compressed section around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inside {
            None => write!(f, "offset {:#x}", self.offset),
            Some(section) => write!(f, "offset {:#x} inside the section at {section:#x}", self.offset),
        }
    }
}

/// Something that could not be read, or not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub place: Place,
    pub what: &'static str,
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading {} at {}: {}", self.what, self.place, self.why)
    }
}

/// Walks every firmware volume in `region`, whose first byte lies at `base` of the file that is reported on.
pub fn walk(region: &[u8], base: usize) -> Uefi {
    let mut walk = Walk { found: Uefi::default(), sections: 0, budget: budget(region.len()) };
    let space = Space { bytes: region, base, inside: None };
    let mut at = 0;
    while let Some(candidate) = volume::next(region, at) {
        let length = walk.volume(space.from(candidate), 0);
        // Past a volume that was read, past the signature of one that was not: volumes inside a broken one are found.
        at = candidate.saturating_add(length.unwrap_or(STEP).max(STEP));
        if walk.found.volumes.len() >= MAX_VOLUMES {
            break;
        }
    }
    let mut found = walk.found;
    found.related = related::of(&found.modules);
    found
}

/// Whether a volume with a sound header lies anywhere in `region`; the cheap half of [`walk`].
pub fn first_volume(region: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(candidate) = volume::next(region, at) {
        if volume::Header::parse(region.get(candidate..).unwrap_or_default()).is_ok() {
            return Some(candidate);
        }
        at = candidate.saturating_add(STEP);
    }
    None
}

/// Bytes that all LZMA sections of one walk may give together: 16 times the input, since real volumes with much fill
/// reach 8; at least 1 MiB, at most 256 MiB. The decoder's window is no larger than what it gives, so twice this is
/// the most memory a walk can take.
pub const fn budget(input: usize) -> usize {
    let wanted = input.saturating_mul(16);
    if wanted < 1 << 20 {
        1 << 20
    } else if wanted > 256 << 20 {
        256 << 20
    } else {
        wanted
    }
}

/// Bytes and where they lie.
#[derive(Clone, Copy)]
struct Space<'a> {
    bytes: &'a [u8],
    base: usize,
    inside: Option<usize>,
}

impl<'a> Space<'a> {
    fn from(self, offset: usize) -> Self {
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        Self { bytes, base: self.base.saturating_add(offset), ..self }
    }

    fn range(self, offset: usize, end: usize) -> Option<Self> {
        let bytes = self.bytes.get(offset..end)?;
        Some(Self { bytes, base: self.base.saturating_add(offset), ..self })
    }

    fn place(self, offset: usize) -> Place {
        Place { offset: self.base.saturating_add(offset), inside: self.inside }
    }

    /// Where decompressed bytes of the section at `offset` are said to lie.
    fn decompressed(self, offset: usize, bytes: &'a [u8]) -> Self {
        Self { bytes, base: 0, inside: self.inside.or(Some(self.base.saturating_add(offset))) }
    }
}

struct Walk {
    found: Uefi,
    sections: usize,
    /// Bytes that may still be decompressed.
    budget: usize,
}

impl Walk {
    fn finding(&mut self, place: Place, what: &'static str, why: impl Into<String>) {
        if self.found.findings.len() < MAX_FINDINGS {
            self.found.findings.push(Finding { place, what, why: why.into() });
        } else {
            self.found.more_findings = self.found.more_findings.saturating_add(1);
        }
    }

    /// The volume at the start of `space`; gives its length where its header is sound.
    fn volume(&mut self, space: Space<'_>, depth: usize) -> Option<usize> {
        const WHAT: &str = "firmware volume";
        if depth > MAX_DEPTH {
            self.finding(space.place(0), WHAT, format!("nested more than {MAX_DEPTH} deep; not opened"));
            return None;
        }
        if self.found.volumes.len() >= MAX_VOLUMES {
            self.finding(space.place(0), WHAT, format!("more than {MAX_VOLUMES} volumes; not opened"));
            return None;
        }
        let header = match volume::Header::parse(space.bytes) {
            Ok(header) => header,
            Err((offset, why)) => {
                self.finding(space.place(offset), WHAT, why);
                return None;
            }
        };
        for (offset, why) in header.oddities(space.bytes) {
            self.finding(space.place(offset), WHAT, why);
        }
        let index = self.found.volumes.len();
        self.found.volumes.push(header.describe(space, depth));
        let before = self.found.files;
        if let (Some(volume), true) = (space.range(0, header.length), header.filesystem.is_ffs()) {
            self.files(volume, &header, depth + 1);
        }
        let files = self.found.files - before;
        if let Some(volume) = self.found.volumes.get_mut(index) {
            volume.files = files;
        }
        Some(header.length)
    }
}
