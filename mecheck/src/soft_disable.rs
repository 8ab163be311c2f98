//! The strap that asks the ME to stop after bring-up: meDisable, AltMeDisable, HAP (reference/me.md 1.4 and 1.5).
//!
//! Reading and writing are apart. [`StrapReading`] says what the located dword holds, and needs a descriptor alone.
//! [`SoftDisable`] says whether the bit may be written, which takes an ME image that agrees with the descriptor.

use std::fmt;

use crate::bytes::u32_at;
use crate::descriptor::{Descriptor, IfdVersion, PchFamily};
use crate::me::{Generation, MeImage, Version};
use crate::straps::{self, Bit, Confidence, DECOYS, STRAPS, Strap, Table, Verdict};
use crate::{ImageError, inspect};

/// What can be done with an image's soft-disable strap.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum SoftDisable {
    /// Located, all evidence agrees, and a bit is clear.
    Possible { straps: Vec<LocatedStrap> },
    /// Located, all evidence agrees, and every bit is set already.
    AlreadySet { straps: Vec<LocatedStrap> },
    /// Nothing may be written; the text says which evidence is missing and shows all candidate dwords.
    #[serde(serialize_with = "refused")]
    Refused(String),
}

/// A strap bit whose place the table knows and whose dword looks as it does on real descriptors.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LocatedStrap {
    /// Dword, bit and its name, such as `PCHSTRP31 bit 16 (HAP)`.
    pub what: &'static str,
    pub table: Table,
    pub dword: u8,
    /// File offset of the dword, and the bit in it.
    pub offset: usize,
    pub bit: u8,
    /// The dword as it is.
    pub value: u32,
    pub source: &'static str,
    pub confidence: Confidence,
    /// Real descriptors of this pattern, and those among them with the bit set.
    pub samples: u8,
    pub set_samples: u8,
}

/// What a descriptor says by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StrapReading {
    pub state: StrapState,
    /// Empty where `state` is unknown.
    pub straps: Vec<LocatedStrap>,
    /// Why nothing was located.
    pub why: Option<String>,
    /// Every dword that is some PCH's soft-disable strap, as far as this descriptor has it.
    pub candidates: Vec<Candidate>,
    /// Bits that a tool for another PCH has set, while the located strap is not.
    pub misplaced: Vec<Misplaced>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrapState {
    Set,
    Clear,
    Unknown,
}

/// A dword that is a soft-disable strap on this or another PCH.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    pub what: &'static str,
    pub offset: usize,
    pub value: u32,
}

/// A soft-disable bit in a place that means something else on this PCH (reference/me.md 0.4).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Misplaced {
    pub dword: u8,
    pub bit: u8,
    pub offset: usize,
    pub value: u32,
}

/// Why an image was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrapRefusal {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("setting the soft-disable strap: {0}")]
    Refused(String),
}

/// One changed byte range.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StrapChange {
    /// File offset of the first byte.
    pub offset: usize,
    /// Bytes before, then after.
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    pub what: &'static str,
}

/// A copy of an image with its soft-disable straps set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrapsSet {
    pub image: Vec<u8>,
    /// Empty where the strap was set already.
    pub changes: Vec<StrapChange>,
}

impl LocatedStrap {
    pub fn is_set(&self) -> bool {
        self.value >> self.bit & 1 == 1
    }

    /// File offset of the byte that holds the bit, and the bit's mask in it.
    pub fn byte(&self) -> (usize, u8) {
        (self.offset + usize::from(self.bit / 8), 1 << (self.bit % 8))
    }
}

impl StrapReading {
    /// Reads the strap of a descriptor; the ME version, where one is known, names two PCHs that it cannot name alone.
    pub fn of(image: &[u8], descriptor: &Descriptor, me: Option<Version>) -> Self {
        let family = me.map_or(descriptor.family, |version| descriptor.family.with_me(version));
        let candidates = candidates(image, descriptor, family);
        let (straps, why) = match locate(image, descriptor, family) {
            Ok((_, straps)) => (straps, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let state = match straps.as_slice() {
            [] => StrapState::Unknown,
            all if all.iter().all(LocatedStrap::is_set) => StrapState::Set,
            _ => StrapState::Clear,
        };
        let misplaced = match state {
            StrapState::Set => Vec::new(),
            StrapState::Clear | StrapState::Unknown => misplaced(image, descriptor),
        };
        Self { state, straps, why, candidates, misplaced }
    }
}

impl SoftDisable {
    pub(crate) fn of(image: &[u8], descriptor: &Descriptor, me: Result<&MeImage, &ImageError>) -> Self {
        match agree(image, descriptor, me) {
            Ok(straps) if straps.iter().all(LocatedStrap::is_set) => Self::AlreadySet { straps },
            Ok(straps) => Self::Possible { straps },
            Err(why) => Self::Refused(why),
        }
    }
}

/// A copy of `image` with the soft-disable strap set, and proof that nothing else changed.
///
/// # Errors
/// [`StrapRefusal`] where PCH family, variant, ME major or the strap's constant bits do not agree.
pub fn set_soft_disable(image: &[u8]) -> Result<StrapsSet, StrapRefusal> {
    let straps = match inspect(image)?.soft_disable {
        SoftDisable::AlreadySet { .. } => {
            return Ok(StrapsSet { image: image.to_vec(), changes: Vec::new() });
        }
        SoftDisable::Refused(why) => return Err(StrapRefusal::Refused(why)),
        SoftDisable::Possible { straps } => straps,
    };
    let mut result = image.to_vec();
    let mut changes = Vec::new();
    for strap in straps.iter().filter(|strap| !strap.is_set()) {
        let (old, new) = (strap.value.to_le_bytes(), (strap.value | 1 << strap.bit).to_le_bytes());
        if let Some(bytes) = result.get_mut(strap.offset..strap.offset + 4) {
            bytes.copy_from_slice(&new);
        }
        changes.push(StrapChange {
            offset: strap.offset,
            old: old.into(),
            new: new.into(),
            what: strap.what,
        });
    }
    prove_only_the_strap_changed(image, &result, &straps)?;
    Ok(StrapsSet { image: result, changes })
}

/// The straps, if everything that has to agree does.
fn agree(
    image: &[u8],
    descriptor: &Descriptor,
    me: Result<&MeImage, &ImageError>,
) -> Result<Vec<LocatedStrap>, String> {
    if descriptor.is_alone() {
        return Err("the file holds a descriptor alone, so there is no ME image to agree with; \
                    use a dump of the whole flash"
            .to_owned());
    }
    if let Some(warning) = descriptor.warnings.iter().find(|warning| warning.forbids_writing()) {
        return Err(warning.to_string());
    }
    let family = me.map_or(descriptor.family, |me| descriptor.family.with_me(me.version));
    let refused = |why: String| match shown(&candidates(image, descriptor, family)) {
        candidates if candidates.is_empty() => why,
        candidates => format!("{why}; candidates: {candidates}"),
    };
    let located = locate(image, descriptor, family);
    let me = me.map_err(|error| {
        let also = located.as_ref().err().map(|why| format!("; also, {why}")).unwrap_or_default();
        refused(format!("the ME image could not be read ({error}){also}"))
    })?;
    let (row, straps) = located.map_err(refused)?;
    if me.generation != row.generation || !row.me_majors.contains(&me.version.major) {
        return Err(refused(format!(
            "the descriptor is {family}, which needs ME {}, but the ME image is {} ({})",
            row.me_majors.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
            me.version,
            me.generation
        )));
    }
    Ok(straps)
}

/// The table's row for this descriptor and its straps, each with its dword as the row wants it.
fn locate(
    image: &[u8],
    descriptor: &Descriptor,
    family: PchFamily,
) -> Result<(&'static Strap, Vec<LocatedStrap>), String> {
    let mut rows = straps::rows(family).peekable();
    if rows.peek().is_none() {
        let evidence = descriptor.evidence.last().map_or("", String::as_str);
        return Err(format!("no known soft-disable strap for this PCH ({evidence})"));
    }
    let row = rows
        .find(|row| straps::companions_fit(row, |index| descriptor.strap(image, index)))
        .ok_or_else(|| format!("the straps around the soft-disable strap are not those of {family}"))?;
    if let Verdict::Refuse(why) = row.verdict {
        return Err(format!("{family}: {why}"));
    }
    let straps =
        row.bits.iter().map(|bit| locate_bit(image, descriptor, row, bit)).collect::<Result<_, _>>()?;
    Ok((row, straps))
}

fn locate_bit(
    image: &[u8],
    descriptor: &Descriptor,
    row: &Strap,
    bit: &'static Bit,
) -> Result<LocatedStrap, String> {
    let (offset, value) = dword(image, descriptor, bit.table, bit.dword)
        .ok_or_else(|| format!("{}: this descriptor has no such dword", bit.what))?;
    if value == u32::MAX || !bit.stock.iter().any(|stock| stock.fits(value, bit.bit)) {
        return Err(format!(
            "the dword of {} at {offset:#x} is {value:#010x}, which matches no known stock pattern of {}",
            bit.what, row.family
        ));
    }
    Ok(LocatedStrap {
        what: bit.what,
        table: bit.table,
        dword: bit.dword,
        offset,
        bit: bit.bit,
        value,
        source: row.source,
        confidence: row.confidence,
        samples: row.samples,
        set_samples: row.set_samples,
    })
}

fn dword(image: &[u8], descriptor: &Descriptor, table: Table, index: u8) -> Option<(usize, u32)> {
    let (base, count) = match table {
        Table::Pch => (descriptor.strap_base, descriptor.strap_count),
        Table::Mch => (descriptor.processor_strap_base, descriptor.processor_strap_count),
    };
    let offset = base + 4 * usize::from(index);
    (index < count).then(|| u32_at(image, offset, "strap").ok().map(|word| (offset, word))).flatten()
}

/// The family's own dwords, and for a v2 descriptor those of all others.
fn candidates(image: &[u8], descriptor: &Descriptor, family: PchFamily) -> Vec<Candidate> {
    let version = |row: &Strap| match row.generation {
        Generation::One | Generation::Two => false,
        Generation::Three | Generation::Ifwi => true,
    };
    let v2 = descriptor.version == IfdVersion::V2;
    let own = straps::rows(family).flat_map(|row| row.bits);
    let others = STRAPS.iter().filter(|row| v2 && version(row)).flat_map(|row| row.bits);
    let mut found: Vec<Candidate> = Vec::new();
    for bit in own.chain(others) {
        if let Some((offset, value)) = dword(image, descriptor, bit.table, bit.dword)
            && !found.iter().any(|candidate| candidate.offset == offset)
        {
            found.push(Candidate { what: bit.what, offset, value });
        }
    }
    found.sort_by_key(|candidate| candidate.offset);
    found
}

fn misplaced(image: &[u8], descriptor: &Descriptor) -> Vec<Misplaced> {
    let here = DECOYS.iter().filter(|decoy| decoy.families.contains(&descriptor.family));
    here.filter_map(|decoy| {
        let (offset, value) = dword(image, descriptor, Table::Pch, decoy.dword)?;
        let set = value >> decoy.bit & 1 == 1;
        (set && decoy.stock.iter().any(|stock| stock.fits(value, decoy.bit))).then_some(Misplaced {
            dword: decoy.dword,
            bit: decoy.bit,
            offset,
            value,
        })
    })
    .collect()
}

/// The safety gate of reference/me.md 5: everything but the whitelisted bits is the same, and so is the descriptor
/// that the result parses to.
fn prove_only_the_strap_changed(
    before: &[u8],
    after: &[u8],
    straps: &[LocatedStrap],
) -> Result<(), StrapRefusal> {
    let mut differs = before.len() != after.len();
    let mut from = 0;
    let mut ordered: Vec<&LocatedStrap> = straps.iter().collect();
    ordered.sort_by_key(|strap| strap.offset);
    for strap in ordered {
        let at = strap.offset;
        let value = |image| u32_at(image, at, strap.what);
        differs |= before.get(from..at) != after.get(from..at)
            || value(before)? != strap.value
            || value(after)? != strap.value | 1 << strap.bit;
        from = at + 4;
    }
    differs |= before.get(from..) != after.get(from..);
    let (old, new) = (Descriptor::parse(before)?, Descriptor::parse(after)?);
    if differs || (&old.regions, &old.maps, old.family) != (&new.regions, &new.maps, new.family) {
        return Err(StrapRefusal::Refused(
            "more than the strap bit would change; nothing was written".into(),
        ));
    }
    Ok(())
}

fn shown(candidates: &[Candidate]) -> String {
    candidates.iter().map(Candidate::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x} is {:#010x}", self.what, self.offset, self.value)
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PCHSTRP{} at {:#x} is {:#010x}: bit {} is the soft-disable strap of another PCH, not of this one",
            self.dword, self.offset, self.value, self.bit
        )
    }
}

fn refused<S: serde::Serializer>(why: &str, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("why", why)?;
    map.end()
}
