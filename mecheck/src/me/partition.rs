//! Partitions, wherever a table names them.

use std::fmt;

use serde::Serialize;

use super::cpd::Directory;
use super::fpt::EntryFlags;
use super::mme::ModuleTable;
use super::name::Name;
use crate::manifest::Manifest;
use crate::signature::Verdict;

/// One partition. Offsets count from the start of the file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partition {
    pub name: Name,
    pub source: Source,
    /// 0 where [`State::has_place`] is false, and so is `size`.
    pub offset: usize,
    pub size: usize,
    pub state: State,
    pub contents: Contents,
}

/// The table that names a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "table", rename_all = "kebab-case")]
pub enum Source {
    Fpt {
        flags: EntryFlags,
    },
    /// The table's own offset and the entry's type.
    Bpdt {
        table_offset: usize,
        kind: u32,
    },
    /// A code partition directory on a page that no table claims.
    Unlisted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Present,
    /// All bytes are FF.
    Empty,
    /// The entry gives no offset or no size.
    Absent,
    /// The entry is marked as not valid.
    Invalid,
    /// NVRAM data, kept in the file system partition.
    NoFlash,
    /// Reaches over the end of the region or the file.
    CutOff,
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Contents {
    /// Nothing this parser reads into: data, or empty.
    Opaque,
    /// ME 11 and newer.
    Directory(Directory),
    /// A manifest at the partition's start, as ME 1 to 10 have it, and where they are known its modules.
    Manifest { modules: Option<ModuleTable> },
    /// A boot partition table.
    BootTable,
    /// The same bytes as the earlier partition with this index, such as NFTP in FTUP.
    SameAs { index: usize },
    /// Looked like one of the above and was not.
    Unreadable { why: String },
}

/// A manifest and what its signature is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SignedManifest {
    /// Name of the partition it lies in.
    pub partition: Name,
    /// `FTPR.man`; the partition's name where the manifest is its start.
    pub name: Name,
    /// From the start of the file.
    pub offset: usize,
    /// Absent where the header cannot be read; the verdict then says why.
    pub manifest: Option<Manifest>,
    pub verdict: Verdict,
    /// [`Manifest::pre_production`].
    pub pre_production: bool,
}

impl State {
    pub fn has_place(self) -> bool {
        matches!(self, Self::Present | Self::Empty | Self::CutOff)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "present",
            Self::Empty => "all FF",
            Self::Absent => "absent",
            Self::Invalid => "marked invalid",
            Self::NoFlash => "in the file system partition",
            Self::CutOff => "cut off",
        })
    }
}

impl Partition {
    pub fn end(&self) -> usize {
        self.offset.saturating_add(self.size)
    }

    pub fn directory(&self) -> Option<&Directory> {
        match &self.contents {
            Contents::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn is_container(&self) -> bool {
        matches!(self.contents, Contents::BootTable)
    }
}

/// Sentences about partitions that lie over each other. By design in ME 11: FTUP contains others, and the extent of DLMP
/// runs over the end of FTPR and the start of MFS while its contents do not. Two names for the very same bytes are no
/// overlap either.
pub(super) fn overlaps(partitions: &[Partition]) -> Vec<String> {
    const MAX: usize = 16;
    let mut placed: Vec<&Partition> =
        partitions.iter().filter(|partition| partition.state.has_place() && partition.size != 0).collect();
    placed.sort_by_key(|partition| (partition.offset, std::cmp::Reverse(partition.size)));
    let mut found = Vec::new();
    for (index, first) in placed.iter().enumerate() {
        for second in placed.iter().skip(index + 1).take_while(|second| second.offset < first.end()) {
            let same = (first.offset, first.size) == (second.offset, second.size);
            let contained = second.end() <= first.end() && (first.name.is("FTUP") || first.is_container());
            let recovery = first.name.is("DLMP") || second.name.is("DLMP");
            if !same && !contained && !recovery {
                found.push(format!(
                    "partitions {} ({:#x}..{:#x}) and {} ({:#x}..{:#x}) overlap",
                    first.name,
                    first.offset,
                    first.end(),
                    second.name,
                    second.offset,
                    second.end()
                ));
                if found.len() == MAX {
                    return found;
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, offset: usize, size: usize) -> Partition {
        let name = Name::of(name.as_bytes());
        Partition {
            name,
            source: Source::Unlisted,
            offset,
            size,
            state: State::Present,
            contents: Contents::Opaque,
        }
    }

    #[test]
    fn overlaps_are_named_unless_they_are_by_design() {
        let by_design =
            [partition("FTUP", 0x1000, 0x3000), partition("NFTP", 0x2000, 0x2000), partition("A", 0x4000, 1)];
        assert_eq!(overlaps(&by_design), Vec::<String>::new());
        assert_eq!(overlaps(&[partition("NFTP", 1, 9), partition("FTUP", 1, 9)]), Vec::<String>::new());
        let bad = [partition("MFS", 0x1000, 0x1001), partition("FLOG", 0x2000, 0x10)];
        assert_eq!(overlaps(&bad), ["partitions MFS (0x1000..0x2001) and FLOG (0x2000..0x2010) overlap"]);
    }

    #[test]
    fn many_overlaps_are_not_a_flood() {
        let all: Vec<_> = (0..200).map(|index| partition("X", index, 1000)).collect();
        assert_eq!(overlaps(&all).len(), 16);
    }
}
