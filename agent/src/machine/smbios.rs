//! The SMBIOS structure table (DSP0134): a walker over foreign bytes that keeps going where it can.
//!
//! Firmware tables lie: about their length, about a structure's length, about strings. A bad structure is recorded
//! as a defect and the walk goes on behind it wherever the next one can still be found.

use super::clip;

/// More structures than any machine has.
const MAX_STRUCTURES: usize = 1 << 14;
/// More defects than anyone reads.
const MAX_DEFECTS: usize = 32;
const HEADER: usize = 4;
const END_OF_TABLE: u8 = 127;

/// A decoded table: its structures in order, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Major and minor of the entry point; none where there is no sound one.
    pub version: Option<(u8, u8)>,
    pub structures: Vec<Structure>,
    /// One sentence per defect, with the offset in the table.
    pub defects: Vec<String>,
}

/// One structure: its formatted area, header included, and its strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    pub kind: u8,
    pub handle: u16,
    pub bytes: Vec<u8>,
    pub strings: Vec<String>,
}

impl Table {
    /// Decodes a table, with its entry point where there is one.
    pub fn parse(entry: Option<&[u8]>, table: &[u8]) -> Self {
        let mut out = Self::default();
        let mut limit = table.len();
        if let Some(entry) = entry {
            match EntryPoint::parse(entry) {
                Ok(point) => {
                    out.version = Some(point.version);
                    // The 3.x length is a maximum; the 2.x one is exact. Fewer bytes than that are a truncation.
                    if point.exact && point.length > limit {
                        out.defect(
                            0,
                            &format!("the entry point promises {} bytes, there are {limit}", point.length),
                        );
                    }
                    limit = limit.min(point.length);
                }
                Err(what) => out.defect(0, what),
            }
        }
        out.walk(table.get(..limit).unwrap_or(table));
        out
    }

    /// All structures of one type, in table order.
    pub fn of(&self, kind: u8) -> impl Iterator<Item = &Structure> {
        self.structures.iter().filter(move |structure| structure.kind == kind)
    }

    fn walk(&mut self, table: &[u8]) {
        let mut at = 0;
        while let Some(&[kind, length, low, high]) = table.get(at..at + HEADER) {
            let length = usize::from(length);
            if length < HEADER {
                self.defect(at, &format!("a type {kind} structure says it is {length} bytes long"));
                let Some(next) = after_double_nul(table, at + HEADER) else { return };
                at = next;
                continue;
            }
            let Some(bytes) = table.get(at..at + length) else {
                self.defect(at, &format!("a type {kind} structure of {length} bytes runs past the end"));
                return;
            };
            let strings_at = at + length;
            let next = after_double_nul(table, strings_at);
            if next.is_none() && kind != END_OF_TABLE {
                self.defect(at, &format!("the strings of a type {kind} structure do not end"));
            }
            let strings =
                table.get(strings_at..next.map_or(table.len(), |next| next - 2)).unwrap_or_default();
            self.structures.push(Structure {
                kind,
                handle: u16::from_le_bytes([low, high]),
                bytes: bytes.to_vec(),
                strings: split_strings(strings),
            });
            if kind == END_OF_TABLE {
                return;
            }
            if self.structures.len() >= MAX_STRUCTURES {
                self.defect(at, "more than 16384 structures; the rest is left out");
                return;
            }
            let Some(next) = next else { return };
            at = next;
        }
        let rest = table.len().saturating_sub(at);
        self.defect(at, &format!("the table ends without an end-of-table structure, {rest} bytes left"));
    }

    fn defect(&mut self, at: usize, what: &str) {
        if self.defects.len() < MAX_DEFECTS {
            self.defects.push(format!("SMBIOS table at offset {at:#x}: {what}"));
        }
    }
}

impl Structure {
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.get(..N)?.try_into().ok()
    }

    /// The string whose number stands at `at`; none where the number is 0 or there is no such string.
    pub fn text(&self, at: usize) -> Option<&str> {
        self.string(self.u8(at)?)
    }

    /// The string of this number, counted from 1.
    pub fn string(&self, number: u8) -> Option<&str> {
        self.strings.get(usize::from(number).checked_sub(1)?).map(String::as_str)
    }
}

struct EntryPoint {
    version: (u8, u8),
    length: usize,
    exact: bool,
}

impl EntryPoint {
    /// `_SM3_` (64-bit, 24 bytes) or `_SM_` (32-bit, 31 bytes) with `_DMI_` inside.
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let sum = |length: u8| {
            bytes.get(..usize::from(length)).map(|all| all.iter().fold(0u8, |a, b| a.wrapping_add(*b)))
        };
        let at = |offset: usize| bytes.get(offset).copied().ok_or("the entry point is cut short");
        if bytes.starts_with(b"_SM3_") {
            if sum(at(6)?.max(24)) != Some(0) {
                return Err("the checksum of the _SM3_ entry point is wrong");
            }
            let length = u32::from_le_bytes([at(12)?, at(13)?, at(14)?, at(15)?]);
            Ok(Self { version: (at(7)?, at(8)?), length: length as usize, exact: false })
        } else if bytes.starts_with(b"_SM_") {
            if sum(at(5)?.max(30)) != Some(0) {
                return Err("the checksum of the _SM_ entry point is wrong");
            }
            let length = u16::from_le_bytes([at(0x16)?, at(0x17)?]);
            Ok(Self { version: (at(6)?, at(7)?), length: usize::from(length), exact: true })
        } else {
            Err("the entry point has neither an _SM3_ nor an _SM_ anchor")
        }
    }
}

/// The offset behind the next two NUL bytes, beginning the search at `from`.
fn after_double_nul(table: &[u8], from: usize) -> Option<usize> {
    table.get(from..)?.windows(2).position(|pair| pair == [0, 0]).map(|found| from + found + 2)
}

fn split_strings(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    // A string number is one byte, so a 256th string cannot be named.
    bytes.split(|byte| *byte == 0).take(255).map(|text| clip(&String::from_utf8_lossy(text))).collect()
}

#[cfg(test)]
#[path = "smbios_tests.rs"]
mod tests;
