//! The walk over one region: partitions, what they hold, and every manifest's verdict.

use super::MAX_ENTRIES;
use super::bpdt::{self, BootTable};
use super::checksum::Checksum;
use super::cpd::Directory;
use super::fpt::{EntryKind, PartitionTable, TableEntry};
use super::mme::{Compression, ModuleHash, ModuleTable};
use super::name::Name;
use super::partition::{Contents, Partition, SignedManifest, Source, State};
use crate::bytes::{ImageError, slice};
use crate::manifest::Manifest;
use crate::signature::Verdict;

const MAX_PARTITIONS: usize = 512;
const MAX_WARNINGS: usize = 64;
const PAGE: usize = 0x1000;

/// What has been found so far. All offsets count from the start of `image`, which ends where the region ends.
pub(super) struct Walk<'a> {
    pub(super) image: &'a [u8],
    /// Where the region starts.
    pub(super) base: usize,
    pub(super) partitions: Vec<Partition>,
    pub(super) manifests: Vec<SignedManifest>,
    pub(super) boot_tables: Vec<BootTable>,
    pub(super) warnings: Vec<String>,
    /// Bytes that may still be looked at: overlapping tables must not make the work larger than the input.
    budget: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(image: &'a [u8], base: usize) -> Self {
        // Real images look at each byte once at most; containers that were wiped are seen twice.
        let budget = image.len().saturating_sub(base).saturating_mul(4);
        Self {
            image,
            base,
            partitions: Vec::new(),
            manifests: Vec::new(),
            boot_tables: Vec::new(),
            warnings: Vec::new(),
            budget,
        }
    }

    pub(super) fn partition_table(&mut self, table: &PartitionTable) -> Result<(), ImageError> {
        self.warn_of_checksum("$FPT", table.offset, table.checksum);
        let last = table.entries.len().saturating_sub(1);
        for (index, entry) in table.entries.iter().enumerate() {
            self.fpt_entry(table, entry, index == last)?;
        }
        Ok(())
    }

    fn fpt_entry(
        &mut self,
        table: &PartitionTable,
        entry: &TableEntry,
        last: bool,
    ) -> Result<(), ImageError> {
        let nowhere = |offset: u32| matches!(offset, 0 | u32::MAX);
        let state = match entry {
            entry if entry.flags.marked_invalid && table.marks_invalid() => Some(State::Invalid),
            entry if entry.flags.kind == EntryKind::Nvram => Some(State::NoFlash),
            entry if nowhere(entry.offset) || entry.size == 0 => Some(State::Absent),
            _ => None,
        };
        let source = Source::Fpt { flags: entry.flags };
        if let Some(state) = state {
            return self.push(Partition {
                name: entry.name,
                source,
                offset: 0,
                size: 0,
                state,
                contents: Contents::Opaque,
            });
        }
        let offset = table.base.saturating_add(entry.offset as usize);
        let size = match entry.size {
            u32::MAX if last => self.image.len().saturating_sub(offset),
            size => size as usize,
        };
        if offset < table.end() && table.offset < offset.saturating_add(size) {
            self.warn(format!("partition {} at {offset:#x} lies over the table that names it", entry.name));
        }
        self.place(entry.name, source, offset, size)
    }

    /// Walks the table at `offset`, and the second one it may name.
    pub(super) fn boot_table(&mut self, offset: usize) -> Result<(), ImageError> {
        let table = BootTable::parse(self.image, offset)?;
        self.boot_entries(&table, offset, 0)?;
        self.boot_tables.push(table);
        Ok(())
    }

    fn boot_entries(&mut self, table: &BootTable, first: usize, depth: usize) -> Result<(), ImageError> {
        self.spend(table.len(), "BPDT", table.offset)?;
        self.warn_of_checksum("BPDT", table.offset, table.checksum);
        for entry in table.entries.iter().filter(|entry| !matches!(entry.size, 0 | u32::MAX)) {
            let source = Source::Bpdt { table_offset: table.offset, kind: entry.kind };
            let own = table.offset.saturating_add(entry.offset as usize);
            // What the entries of a second table count from is not documented; a directory there decides.
            let from_first = first.saturating_add(entry.offset as usize);
            let offset = if is_directory(self.image, own) { own } else { from_first };
            let name = match Directory::parse(self.image, offset) {
                Ok(directory) if directory.name.as_bytes().len() == 4 => directory.name,
                _ => entry.name(),
            };
            self.place(name, source, offset, entry.size as usize)?;
            if entry.kind == bpdt::SECOND_TABLE && depth == 0 && BootTable::is_at(self.image, offset) {
                let second = BootTable::parse(self.image, offset)?;
                self.boot_entries(&second, first, depth + 1)?;
                self.boot_tables.push(second);
            }
        }
        Ok(())
    }

    /// Directories that follow the last partition without an entry of their own, as DNXP does in GLK images: the start
    /// of each page that nothing claims is looked at, and a directory counts where its checksum is right.
    pub(super) fn unlisted(&mut self) -> Result<(), ImageError> {
        let mut claimed: Vec<(usize, usize)> = self
            .partitions
            .iter()
            .filter(|partition| partition.state.has_place())
            .map(|partition| (partition.offset, partition.end()))
            .collect();
        claimed.sort_unstable();
        let mut claims = claimed.into_iter().peekable();
        let mut free_from = self.base;
        for page in (self.base..self.image.len()).step_by(PAGE) {
            while let Some((_, end)) = claims.next_if(|(start, _)| *start <= page) {
                free_from = free_from.max(end);
            }
            if page < free_from || !is_directory(self.image, page) {
                continue;
            }
            let Ok(directory) = Directory::parse(self.image, page) else { continue };
            if directory.checksum == Checksum::Right {
                let ends = directory.modules.iter().map(|module| module.offset.saturating_add(module.size));
                let end = ends.max().unwrap_or(page).clamp(page + directory.table_len(), self.image.len());
                self.warn(format!("a directory named {} at {page:#x} is in no table", directory.name));
                self.place(directory.name, Source::Unlisted, page, end - page)?;
                free_from = end;
            }
        }
        Ok(())
    }

    fn place(&mut self, name: Name, source: Source, offset: usize, size: usize) -> Result<(), ImageError> {
        let known = self.partitions.iter().position(|other| {
            other.offset == offset && other.size == size && other.state.has_place() && other.size != 0
        });
        let end = offset.checked_add(size).filter(|end| *end <= self.image.len());
        let (state, contents) = match (end, known) {
            (_, Some(index)) => {
                let state = self.partitions.get(index).map_or(State::Present, |other| other.state);
                (state, Contents::SameAs { index })
            }
            (None, _) => {
                self.warn(format!(
                    "partition {name} at {offset:#x} has {size:#x} bytes, but the region ends at {:#x}",
                    self.image.len()
                ));
                (State::CutOff, self.contents(name, offset)?)
            }
            (Some(end), _) if self.is_empty(offset, end)? => (State::Empty, Contents::Opaque),
            (Some(_), _) => (State::Present, self.contents(name, offset)?),
        };
        self.push(Partition { name, source, offset, size, state, contents })
    }

    fn push(&mut self, partition: Partition) -> Result<(), ImageError> {
        if self.partitions.len() == MAX_PARTITIONS {
            let why = format!("more than {MAX_PARTITIONS} partitions");
            return Err(ImageError::new("ME partitions", partition.offset, why));
        }
        self.partitions.push(partition);
        Ok(())
    }

    /// An error here is one of the budget; what is wrong with the contents themselves becomes part of the answer.
    fn contents(&mut self, name: Name, offset: usize) -> Result<Contents, ImageError> {
        let found = if is_directory(self.image, offset) {
            match Directory::parse(self.image, offset) {
                Ok(directory) => {
                    self.directory(name, &directory)?;
                    Ok(Contents::Directory(directory))
                }
                Err(error) => Err(error),
            }
        } else if BootTable::is_at(self.image, offset) {
            Ok(Contents::BootTable)
        } else if has_manifest_tag(self.image, offset) {
            self.manifest(name, name, offset, None)?;
            self.modules(name, offset)?
        } else {
            Ok(Contents::Opaque)
        };
        Ok(found.unwrap_or_else(|error| {
            self.warn(format!("partition {name}: {error}"));
            Contents::Unreadable { why: error.to_string() }
        }))
    }

    fn directory(&mut self, partition: Name, directory: &Directory) -> Result<(), ImageError> {
        self.spend(directory.table_len(), "$CPD", directory.offset)?;
        self.warn_of_checksum("$CPD", directory.offset, directory.checksum);
        for module in directory.modules.iter().filter(|module| module.may_be_manifest()) {
            let required = module.name.as_bytes().ends_with(b".man");
            if required || has_manifest_tag(self.image, module.offset) {
                self.manifest(partition, module.name, module.offset, Some(module.size))?;
            }
        }
        Ok(())
    }

    fn modules(&mut self, name: Name, offset: usize) -> Result<Result<Contents, ImageError>, ImageError> {
        // A header that cannot be read has been recorded with its verdict.
        let Ok(manifest) = Manifest::parse(self.image, offset) else {
            return Ok(Ok(Contents::Manifest { modules: None }));
        };
        let stored = |table: &ModuleTable| {
            table.modules.iter().filter(|module| module.compression == Compression::None).count()
        };
        let table = match ModuleTable::parse(self.image, self.base, &manifest, &mut self.budget) {
            Ok(table) => table,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(table) = &table {
            self.spend(table.table_len(), "$MME", offset)?;
            let wrong = table.modules.iter().filter(|module| module.hash == ModuleHash::Wrong).count();
            if wrong != 0 {
                let of = stored(table);
                self.warn(format!("partition {name}: {wrong} of {of} stored modules do not have their hash"));
            }
        }
        Ok(Ok(Contents::Manifest { modules: table }))
    }

    fn manifest(
        &mut self,
        partition: Name,
        name: Name,
        offset: usize,
        room: Option<usize>,
    ) -> Result<(), ImageError> {
        if self.manifests.iter().any(|known| known.offset == offset) {
            return Ok(());
        }
        if self.manifests.len() == MAX_ENTRIES as usize {
            return Err(ImageError::new("manifests", offset, format!("more than {MAX_ENTRIES} of them")));
        }
        let (manifest, verdict) = match Manifest::parse(self.image, offset) {
            Ok(manifest) => {
                self.spend(manifest.size, "manifest", offset)?;
                let verdict = manifest.verify(self.image);
                (Some(manifest), verdict)
            }
            Err(error) => (None, Verdict::NotChecked { why: error.to_string() }),
        };
        if let (Some(manifest), Some(room)) = (&manifest, room)
            && manifest.size > room
        {
            self.warn(format!("{name} at {offset:#x} says {:#x} bytes, its entry {room:#x}", manifest.size));
        }
        let pre_production = manifest.as_ref().is_some_and(Manifest::pre_production);
        self.manifests.push(SignedManifest { partition, name, offset, manifest, verdict, pre_production });
        Ok(())
    }

    fn is_empty(&mut self, offset: usize, end: usize) -> Result<bool, ImageError> {
        let bytes = slice(self.image, offset, end - offset, "partition")?;
        let blank = blank_prefix(bytes);
        self.spend(blank, "partition", offset)?;
        Ok(blank == bytes.len())
    }

    fn spend(&mut self, bytes: usize, what: &'static str, offset: usize) -> Result<(), ImageError> {
        let left = self.budget.checked_sub(bytes).ok_or_else(|| {
            ImageError::new(
                what,
                offset,
                "tables and partitions lie over each other many times; not an image",
            )
        })?;
        self.budget = left;
        Ok(())
    }

    fn warn_of_checksum(&mut self, what: &str, offset: usize, checksum: Checksum) {
        if let Checksum::Wrong { stored, computed } = checksum {
            self.warn(format!("checksum of {what} at {offset:#x} is {stored:#x}, should be {computed:#x}"));
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        }
    }
}

/// Bytes of FF at the start, counted in lines of 64 so that real FF partitions are compared at memory speed.
pub(super) fn blank_prefix(bytes: &[u8]) -> usize {
    let lines = bytes.chunks_exact(64).take_while(|line| *line == [0xff; 64]).count();
    let rest = bytes.get(64 * lines..).unwrap_or_default();
    64 * lines + rest.iter().take_while(|byte| **byte == 0xff).count()
}

fn is_directory(image: &[u8], offset: usize) -> bool {
    image.get(offset..offset.saturating_add(4)) == Some(b"$CPD")
}

pub(super) fn has_manifest_tag(image: &[u8], offset: usize) -> bool {
    let at = offset.saturating_add(0x1c);
    matches!(image.get(at..at.saturating_add(4)), Some(b"$MN2" | b"$MAN"))
}
