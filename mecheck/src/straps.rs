//! The soft-disable straps as data: one row per PCH variant with where the bit lies, what the dword looks like on real
//! descriptors, and how well that is known (reference/me.md 1.4 and 1.5).
//!
//! A row is believed only together with the constant bits around its bit. Public tools put the bit elsewhere on most
//! PCHs from Cannon Point on, and report success; [`DECOYS`] names those places.

mod decoys;
mod table;

pub(crate) use decoys::DECOYS;
pub(crate) use table::STRAPS;

use crate::descriptor::PchFamily;
use crate::me::Generation;

/// One PCH variant's way to stop the ME.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strap {
    pub(crate) family: PchFamily,
    /// ME majors that run on this PCH: TXE and SPS count their own.
    pub(crate) me_majors: &'static [u16],
    pub(crate) generation: Generation,
    /// All of them have to be set; one but for ICH8 to ICH10.
    pub(crate) bits: &'static [Bit],
    /// Other PCH straps that have to hold these bits.
    pub(crate) companions: &'static [Constant],
    /// Who says so.
    pub(crate) source: &'static str,
    pub(crate) confidence: Confidence,
    /// Real descriptors on which the pattern was seen, and among them those with the bit set.
    pub(crate) samples: u8,
    pub(crate) set_samples: u8,
    pub(crate) verdict: Verdict,
}

/// A bit in a strap dword.
#[derive(Debug)]
pub(crate) struct Bit {
    pub(crate) table: Table,
    pub(crate) dword: u8,
    pub(crate) bit: u8,
    /// Dword, bit and the name people know it by.
    pub(crate) what: &'static str,
    /// What the dword looks like with the bit masked. One of them has to fit.
    pub(crate) stock: &'static [Pattern],
}

/// Which strap table of the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// FPSBA: PCH straps, or ICH straps on ICH8 to ICH10.
    Pch,
    /// FMSBA: MCH straps.
    Mch,
}

/// `dword & mask == value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    pub(crate) mask: u32,
    pub(crate) value: u32,
}

/// PCH strap `dword` has to fit `pattern`.
#[derive(Debug)]
pub(crate) struct Constant {
    pub(crate) dword: u8,
    pub(crate) pattern: Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// One source, or no machine known to have shown the effect.
    Low,
    /// Two sources that agree, or one and real descriptors with the bit set.
    Medium,
    /// Several sources and machines.
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Write,
    Refuse(&'static str),
}

/// A place where a public tool puts the bit on a PCH whose strap lies elsewhere (reference/me.md 0.4 and 1.6), and
/// what real descriptors hold there. Places that are set on stock descriptors are constants, not decoys, and absent
/// here: PCHSTRP37 on Tiger Point-LP and Alder Point, PCHSTRP0 on Meteor Lake, PCHSTRP33 on Cannon Point-LP.
#[derive(Debug)]
pub(crate) struct Decoy {
    pub(crate) families: &'static [PchFamily],
    pub(crate) dword: u8,
    pub(crate) bit: u8,
    /// With the bit masked.
    pub(crate) stock: &'static [Pattern],
}

impl Pattern {
    pub(crate) const fn exactly(value: u32) -> Self {
        Self { mask: u32::MAX, value }
    }

    /// Whether the dword fits, whatever `bit` holds.
    pub(crate) fn fits(self, dword: u32, bit: u8) -> bool {
        (dword ^ self.value) & self.mask & !(1 << bit) == 0
    }
}

/// Rows of a family in the order in which they are tried.
pub(crate) fn rows(family: PchFamily) -> impl Iterator<Item = &'static Strap> {
    STRAPS.iter().filter(move |row| row.family == family)
}

/// Whether a row of the family fits what `strap` reads of the PCH straps.
pub(crate) fn fits(family: PchFamily, strap: impl Fn(u8) -> Option<u32>) -> bool {
    rows(family).any(|row| {
        let bits = row.bits.iter().filter(|bit| bit.table == Table::Pch);
        companions_fit(row, &strap)
            && bits.clone().count() > 0
            && bits.clone().all(|bit| {
                strap(bit.dword).is_some_and(|dword| bit.stock.iter().any(|stock| stock.fits(dword, bit.bit)))
            })
    })
}

/// Whether every companion constant of a row holds.
pub(crate) fn companions_fit(row: &Strap, strap: impl Fn(u8) -> Option<u32>) -> bool {
    row.companions.iter().all(|constant| {
        strap(constant.dword)
            .is_some_and(|dword| (dword ^ constant.pattern.value) & constant.pattern.mask == 0)
    })
}
