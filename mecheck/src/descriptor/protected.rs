//! GPR0: a strap that write-protects a range of the flash against every master (reference/me.md 1.5).

use super::{Descriptor, PchFamily, Warning};

/// A range in force, `start..=end` in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ProtectedRange {
    /// Number and file offset of the strap dword, and the dword.
    pub strap: u8,
    pub offset: usize,
    pub word: u32,
    pub start: usize,
    pub end: usize,
    pub against_reads: bool,
    pub against_writes: bool,
}

impl ProtectedRange {
    pub(super) fn read(image: &[u8], descriptor: &Descriptor) -> Option<Self> {
        let strap = dword(descriptor.family)?;
        let word = descriptor.strap(image, strap).filter(|word| *word != u32::MAX)?;
        let (against_reads, against_writes) = (word >> 15 & 1 == 1, word >> 31 == 1);
        (against_reads || against_writes).then(|| Self {
            strap,
            offset: descriptor.strap_offset(strap),
            word,
            start: (word as usize & 0x7fff) << 12,
            end: (word as usize >> 16 & 0x7fff) << 12 | 0xfff,
            against_reads,
            against_writes,
        })
    }
}

/// Warns where the range keeps descriptor or ME from being written.
pub(super) fn compare(descriptor: &mut Descriptor) {
    let Some(range) = descriptor.protected_range.filter(|range| range.against_writes) else { return };
    for name in ["descriptor", "me"] {
        if let Some(region) = descriptor.region(name)
            && range.start <= region.limit
            && region.base <= range.end
        {
            descriptor.warnings.push(Warning::RegionProtected {
                region: name,
                start: range.start,
                end: range.end,
            });
        }
    }
}

/// The dword by family. Alder Point-S and Tiger Point-H number their straps otherwise than the mobile PCHs (dword 15h
/// of real Alder Point-S descriptors is 22222222, which is no range), so nothing is read there.
fn dword(family: PchFamily) -> Option<u8> {
    match family {
        PchFamily::CannonPointLp | PchFamily::CannonPointH => Some(0x10),
        PchFamily::JasperLake => Some(0x12),
        PchFamily::TigerPointLp | PchFamily::AlderPointP | PchFamily::AlderPointN => Some(0x15),
        PchFamily::MeteorLake => Some(0x40),
        _ => None,
    }
}
