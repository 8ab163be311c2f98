//! Modules of ME 6 to 10 and TXE 1 and 2: `$MME` headers after the manifest, and chunks of Huffman modules that a
//! lookup table (LLUT) shares (reference/me.md 2.3, 2.4 step 15).

use std::ops::Range;

use super::Refusal;
use super::found::Me;
use super::plan::{ModulePlan, Piece};
use super::region::Region;
use crate::bytes::ImageError;

/// The module headers follow the 2048-bit manifest header and the partition's name.
const HEADERS: usize = 0x290;
const TAG: &[u8] = b"$MME";
/// The modules that start the engine.
const KEPT: [&str; 2] = ["ROMP", "BUP"];
/// Where the chunk table starts in the LLUT.
const CHUNKS: usize = 0x40;
/// Where the chunks' addresses begin in the engine's memory, above the LLUT's own base.
const MEMORY_BASE: i64 = 0x1000_0000;

struct Module {
    name: String,
    /// From the start of the partition.
    offset: usize,
    size: usize,
    uncompressed: u32,
    load_base: u32,
    compression: u32,
}

/// What becomes of the modules, or None where their headers have no known stride.
pub(super) fn plan(me: &Me<'_>) -> Result<Option<ModulePlan>, Refusal> {
    let (region, start) = (me.region, me.code.start);
    let Some((modules, headers_end)) = headers(me)? else { return Ok(None) };
    let mut plan = ModulePlan::default();
    plan.kept.push(start..headers_end);
    let mut lookup: Option<Lookup> = None;
    let mut wanted: Vec<u32> = Vec::new();
    for module in &modules {
        let at = start.saturating_add(module.offset);
        let range = at..at.saturating_add(module.size);
        let kept = KEPT.contains(&module.name.as_str());
        match module.compression {
            0 | 2 if kept => {
                plan.end = plan.end.max(range.end);
                plan.kept.push(range.clone());
            }
            0 | 2 => plan.erased.push(range.clone()),
            1 => {
                let table = match &mut lookup {
                    Some(table) => table,
                    none => none.insert(Lookup::read(region, at)?),
                };
                if kept {
                    wanted.extend(table.chunks_of(region, module)?);
                    if wanted.len() > table.count.saturating_mul(2) {
                        return Err(region
                            .error("$MME", at, "modules want more chunks than there are")
                            .into());
                    }
                }
            }
            other => {
                return Err(region.error("$MME flags", at, format!("compression type {other}")).into());
            }
        }
        plan.pieces.push(Piece::new(&module.name, &range, kept));
    }
    if let Some(table) = lookup {
        plan.lookup = Some(table.at);
        table.sort_out(region, &wanted, &mut plan)?;
    }
    Ok(Some(plan))
}

/// ME 6 in its Ignition form: a `$SKU` extension without features after the last header of stride 60 (step 10).
pub(super) fn is_ignition(me: &Me<'_>) -> Result<bool, ImageError> {
    if me.directory || me.version.major != 6 {
        return Ok(false);
    }
    let count = me.region.size(me.code.start.saturating_add(0x20), "module count")?;
    let at =
        me.code.start.saturating_add(HEADERS).saturating_add(count.saturating_add(1).saturating_mul(0x60));
    Ok(me.region.is(at, b"$SKU") && me.region.u32(at + 8, "$SKU extension")? == 0)
}

/// Every module header, and where they end.
fn headers(me: &Me<'_>) -> Result<Option<(Vec<Module>, usize)>, ImageError> {
    let region = me.region;
    let count = region.size(me.code.start.saturating_add(0x20), "module count")?;
    let first = me.code.start.saturating_add(HEADERS);
    let tag = |at: usize| region.is(first.saturating_add(at), TAG);
    let stride = match count {
        _ if !tag(0) || count == 0 => return Ok(None),
        _ if tag(0x60) || count == 1 => 0x60,
        _ if tag(0x80) => 0x80,
        _ => return Ok(None),
    };
    let mut modules = Vec::new();
    for index in 0..count {
        let at = first.saturating_add(index.saturating_mul(stride));
        if !region.is(at, TAG) {
            return Ok(None);
        }
        modules.push(read_header(region, at)?);
    }
    Ok(Some((modules, first + count * stride)))
}

fn read_header(region: Region<'_>, at: usize) -> Result<Module, ImageError> {
    let name = region.slice(at + 4, 16, "$MME name")?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Module {
        name: name.escape_ascii().to_string(),
        load_base: region.u32(at + 0x34, "$MME load base")?,
        offset: region.size(at + 0x38, "$MME offset")?,
        uncompressed: region.u32(at + 0x3c, "$MME uncompressed size")?,
        size: region.size(at + 0x40, "$MME size")?,
        compression: region.u32(at + 0x50, "$MME flags")? >> 4 & 7,
    })
}

/// The LLUT: where each chunk of the Huffman modules lies.
struct Lookup {
    at: usize,
    count: usize,
    address_base: u32,
    chunk_size: u32,
    /// Where the Huffman stream ends, which ends the last chunk.
    stream_end: u32,
}

impl Lookup {
    fn read(region: Region<'_>, at: usize) -> Result<Self, ImageError> {
        if !region.is(at, b"LLUT") {
            return Err(region.error("Huffman lookup table", at, "no LLUT tag there"));
        }
        let word = |offset: usize| region.u32(at.saturating_add(offset), "Huffman lookup table");
        let table = Self {
            at,
            count: word(4)? as usize,
            address_base: word(8)?,
            chunk_size: word(0x30)?,
            stream_end: word(0x10)?.checked_add(word(0x14)?).ok_or_else(|| {
                region.error("Huffman lookup table", at.saturating_add(0x10), "length and start overflow")
            })?,
        };
        region.slice(at.saturating_add(CHUNKS), table.count.saturating_mul(4), "Huffman chunk table")?;
        match table.chunk_size {
            0 => Err(region.error("Huffman lookup table", at.saturating_add(0x30), "chunks of no size")),
            _ => Ok(table),
        }
    }

    /// Where chunk `index` starts; 0 where it is absent.
    fn chunk(&self, region: Region<'_>, index: usize) -> Result<u32, ImageError> {
        let at = self.at.saturating_add(CHUNKS).saturating_add(index.saturating_mul(4));
        let word = region.u32(at, "Huffman chunk")?;
        Ok(if word >> 24 == 0x80 { 0 } else { word & 0x00ff_ffff })
    }

    /// The starts of the chunks that `module` is made of.
    fn chunks_of(&self, region: Region<'_>, module: &Module) -> Result<Vec<u32>, ImageError> {
        let distance = i64::from(module.load_base) - i64::from(self.address_base) - MEMORY_BASE;
        let size = i64::from(self.chunk_size);
        let first = distance.div_euclid(size);
        let last = first + i64::from(module.uncompressed) / size;
        match (usize::try_from(first), usize::try_from(last)) {
            (Ok(first), Ok(last)) if last < self.count => (first..=last)
                .map(|index| self.chunk(region, index))
                .filter(|start| !matches!(start, Ok(0)))
                .collect(),
            _ => {
                let why = format!("module {} wants chunks {first} to {last} of {}", module.name, self.count);
                Err(region.error("Huffman lookup table", self.at, why))
            }
        }
    }

    /// Adds every chunk to what is kept or what is erased. A chunk ends where the next one starts, whoever owns it.
    fn sort_out(&self, region: Region<'_>, wanted: &[u32], plan: &mut ModulePlan) -> Result<(), ImageError> {
        if wanted.is_empty() {
            let why = "no chunk of ROMP or BUP: without them nothing would start the engine";
            return Err(region.error("Huffman lookup table", self.at, why));
        }
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let mut starts = Vec::with_capacity(self.count);
        for index in 0..self.count {
            starts.push(self.chunk(region, index)?);
        }
        starts.retain(|start| *start != 0);
        starts.sort_unstable();
        if starts.last().is_some_and(|last| *last >= self.stream_end) {
            let why = format!("a chunk starts at or after the end of the stream at {:#x}", self.stream_end);
            return Err(region.error("Huffman lookup table", self.at, why));
        }
        let table_end = self.at.saturating_add(CHUNKS).saturating_add(self.count.saturating_mul(4));
        plan.kept.push(self.at..table_end);
        for (index, start) in starts.iter().enumerate() {
            // Chunks that start at the same place have no length of their own, as me_cleaner has it.
            let shared = index.checked_sub(1).and_then(|before| starts.get(before)) == Some(start);
            let next = starts.get(index + 1).copied().unwrap_or(self.stream_end);
            let end = if shared { *start } else { next };
            let range: Range<usize> = *start as usize..end as usize;
            if wanted.binary_search(start).is_ok() {
                plan.end = plan.end.max(range.end);
                extend(&mut plan.kept, range);
            } else {
                extend(&mut plan.erased, range);
            }
        }
        Ok(())
    }
}

/// Adds a range, joined with the last one where they touch.
fn extend(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}
