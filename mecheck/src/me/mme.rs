//! Module headers of ME 6 to 10 and TXE 1 and 2: `$MME` and the table of Huffman chunks (reference/me.md 2.3).

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::MAX_ENTRIES;
use super::name::Name;
use super::walk::blank_prefix;
use crate::bytes::{ImageError, slice, u32_at};
use crate::manifest::Manifest;

/// After the manifest's header: the partition's name and eight more bytes, then the first `$MME`.
const NAME_LEN: usize = 0xc;
const LUT_HEADER: usize = 0x40;

/// The modules of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleTable {
    /// The name behind the manifest's header.
    pub name: Name,
    /// Bytes from one header to the next: 0x60 or 0x80.
    pub stride: usize,
    pub modules: Vec<Module>,
    /// Shared by all Huffman modules.
    pub chunks: Option<ChunkTable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Module {
    pub name: Name,
    pub compression: Compression,
    /// Offset in the same terms as the partition's; of a Huffman module that of the chunk table.
    pub offset: usize,
    /// Bytes in flash.
    pub size: usize,
    pub uncompressed_size: usize,
    pub load_base: u32,
    /// SHA-256 over the module's bytes in flash; only stored modules are compared.
    pub hash: ModuleHash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    Huffman,
    Lzma,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleHash {
    Right,
    Wrong,
    /// All FF, or after the end of the region: a cleaner removed it.
    Removed,
    /// Of compressed modules the hash is over the bytes that unpacking gives.
    NotChecked,
}

/// `LLUT`: where the chunks of all Huffman modules lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChunkTable {
    pub offset: usize,
    pub count: usize,
    pub address_base: u32,
    pub spi_base: u32,
    /// Where the packed chunks start, counted from the region, and their length together.
    pub start: u32,
    pub len: u32,
    pub chunk_size: u32,
    /// Entries whose top byte is 80: no such chunk.
    pub absent: usize,
    /// Chunks that would start after the region's end.
    pub outside: usize,
}

impl ModuleTable {
    /// Reads the table behind `manifest`, in a partition that starts with it. None where the manifest counts no
    /// modules or its body has no `$MME`, as with TXE's data partitions.
    /// Bytes that are hashed are taken from `budget`; what it has no room for is not checked.
    pub(crate) fn parse(
        image: &[u8],
        base: usize,
        manifest: &Manifest,
        budget: &mut usize,
    ) -> Result<Option<Self>, ImageError> {
        let name = manifest.offset + manifest.header_len;
        let first = name + NAME_LEN;
        if manifest.modules == 0 || !is_module(image, first) {
            return Ok(None);
        }
        if manifest.modules > MAX_ENTRIES {
            let why = format!("{} modules", manifest.modules);
            return Err(ImageError::new("manifest module count", manifest.offset + 0x20, why));
        }
        let stride = match () {
            () if manifest.modules == 1 || is_module(image, first + 0x60) => 0x60,
            () if is_module(image, first + 0x80) => 0x80,
            () => return Err(ImageError::new("$MME", first, "no second header after 0x60 or 0x80 bytes")),
        };
        let modules = (0..manifest.modules as usize)
            .map(|index| module(image, manifest.offset, first + stride * index, budget))
            .collect::<Result<Vec<_>, _>>()?;
        let huffman = modules.iter().find(|module| module.compression == Compression::Huffman);
        let chunks = huffman.map(|module| ChunkTable::parse(image, base, module.offset)).transpose()?;
        Ok(Some(Self { name: Name::of(slice(image, name, 4, "partition name")?), stride, modules, chunks }))
    }

    /// Bytes of the tables that [`Self::parse`] reads.
    pub(crate) fn table_len(&self) -> usize {
        self.stride * self.modules.len() + self.chunks.as_ref().map_or(0, |table| 4 * table.count)
    }
}

impl ChunkTable {
    fn parse(image: &[u8], base: usize, offset: usize) -> Result<Self, ImageError> {
        let what = "LLUT";
        if slice(image, offset, 4, what)? != b"LLUT" {
            return Err(ImageError::new(what, offset, "a Huffman module leads here, but there is no LLUT"));
        }
        let word = |at: usize| u32_at(image, offset + at, what);
        let count = word(4)? as usize;
        let table = slice(image, offset + LUT_HEADER, count.saturating_mul(4), "LLUT chunks")?;
        let (mut absent, mut outside) = (0, 0);
        for chunk in table.chunks_exact(4) {
            match chunk {
                [_, _, _, 0x80] => absent += 1,
                [a, b, c, _] => {
                    let at = base + u32::from_le_bytes([*a, *b, *c, 0]) as usize;
                    outside += usize::from(at >= image.len());
                }
                _ => {}
            }
        }
        Ok(Self {
            offset,
            count,
            address_base: word(8)?,
            spi_base: word(0xc)?,
            len: word(0x10)?,
            start: word(0x14)?,
            chunk_size: word(0x30)?,
            absent,
            outside,
        })
    }
}

fn is_module(image: &[u8], at: usize) -> bool {
    image.get(at..at.saturating_add(4)) == Some(b"$MME")
}

fn module(image: &[u8], partition: usize, at: usize, budget: &mut usize) -> Result<Module, ImageError> {
    let what = "$MME";
    if !is_module(image, at) {
        return Err(ImageError::new(what, at, "no module header here"));
    }
    let word = |field: usize| u32_at(image, at + field, what);
    let compression = match word(0x50)? >> 4 & 7 {
        0 => Compression::None,
        1 => Compression::Huffman,
        2 => Compression::Lzma,
        _ => Compression::Other,
    };
    let (offset, size) = (partition + word(0x38)? as usize, word(0x40)? as usize);
    let hash = match (compression, slice(image, offset, size, "module")) {
        (Compression::None, Err(_)) => ModuleHash::Removed,
        (Compression::None, Ok(bytes)) if size <= *budget => {
            *budget -= size;
            // Stored with its last byte first.
            let expected = slice(image, at + 0x14, 0x20, what)?.iter().rev();
            match () {
                () if Sha256::digest(bytes).iter().eq(expected) => ModuleHash::Right,
                () if blank_prefix(bytes) == bytes.len() => ModuleHash::Removed,
                () => ModuleHash::Wrong,
            }
        }
        _ => ModuleHash::NotChecked,
    };
    Ok(Module {
        name: Name::of(slice(image, at + 4, 0x10, what)?),
        compression,
        offset,
        size,
        uncompressed_size: word(0x3c)? as usize,
        load_base: word(0x34)?,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::me::fixture;

    fn table(region: &[u8]) -> Result<Option<ModuleTable>, ImageError> {
        let manifest = Manifest::parse(region, fixture::ME8_FTPR).unwrap();
        ModuleTable::parse(region, 0, &manifest, &mut region.len())
    }

    #[test]
    fn reads_modules_and_chunks() {
        for stride in [0x60, 0x80] {
            let region = fixture::me8(8, stride);
            let table = table(&region).unwrap().unwrap();
            assert_eq!((table.stride, table.name.is("FTPR")), (stride, true));
            let kinds: Vec<_> = table.modules.iter().map(|module| module.compression).collect();
            assert_eq!(kinds, [Compression::None, Compression::Huffman, Compression::Lzma]);
            assert_eq!(table.modules[0].hash, ModuleHash::Right);
            let chunks = table.chunks.unwrap();
            assert_eq!((chunks.count, chunks.absent, chunks.outside), (3, 1, 1));
        }
    }

    #[test]
    fn a_changed_stored_module_is_found() {
        let mut region = fixture::me8(8, 0x60);
        let at = table(&region).unwrap().unwrap().modules[0].offset;
        region[at] ^= 1;
        assert_eq!(table(&region).unwrap().unwrap().modules[0].hash, ModuleHash::Wrong);
    }

    #[test]
    fn a_removed_module_is_no_damage() {
        let mut region = fixture::me8(8, 0x60);
        let at = table(&region).unwrap().unwrap().modules[0].offset;
        region[at..at + 0x100].fill(0xff);
        assert_eq!(table(&region).unwrap().unwrap().modules[0].hash, ModuleHash::Removed);
        // Cut off behind the manifest, with no Huffman module to look a chunk table up for.
        region[fixture::ME8_FTPR + 0x290 + 0x60 + 0x50] = 0x20;
        region.truncate(at);
        assert_eq!(table(&region).unwrap().unwrap().modules[0].hash, ModuleHash::Removed);
    }

    #[test]
    fn hashing_stays_within_the_budget() {
        let region = fixture::me8(8, 0x60);
        let manifest = Manifest::parse(&region, fixture::ME8_FTPR).unwrap();
        for (given, left, hash) in [(0x180, 0x80, ModuleHash::Right), (0xff, 0xff, ModuleHash::NotChecked)] {
            let mut budget = given;
            let table = ModuleTable::parse(&region, 0, &manifest, &mut budget).unwrap().unwrap();
            assert_eq!((table.modules[0].hash, budget), (hash, left));
        }
    }

    #[test]
    fn giant_counts_are_errors() {
        let mut region = fixture::me8(8, 0x60);
        let chunks = table(&region).unwrap().unwrap().chunks.unwrap().offset;
        region[chunks + 4..chunks + 8].fill(0xff);
        assert_eq!(table(&region).unwrap_err().what, "LLUT chunks");
        let mut region = fixture::me8(8, 0x60);
        region[fixture::ME8_FTPR + 0x20..fixture::ME8_FTPR + 0x24].fill(0xff);
        assert_eq!(table(&region).unwrap_err().what, "manifest module count");
    }
}
