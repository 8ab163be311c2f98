//! LZMA sections: an LZMA-alone stream, its size always stated (the custom decompression of EDK II, named by GUID).

use std::io::Read;

use lzma_rust2::LzmaReader;
use lzma_rust2::filter::bcj::BcjReader;

/// The largest dictionary in sight is 32 MiB. The decoder's window grows with what it gives, not with this number.
const MEMORY_KIB: u32 = 65 << 10;
/// Properties, dictionary size, uncompressed size.
const HEADER: usize = 13;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    /// Branch targets were made absolute before compression.
    X86,
}

/// All that `stream` decodes to, if that is at most `budget` bytes. What was decoded is taken from the budget, also
/// where the stream breaks off, so that many broken streams cost no more than one good one.
///
/// # Errors
/// Why the stream was not decoded, for people.
pub(super) fn decode(stream: &[u8], filter: Filter, budget: &mut usize) -> Result<Vec<u8>, String> {
    let size = stream
        .get(5..HEADER)
        .and_then(|bytes| bytes.first_chunk().copied())
        .map(u64::from_le_bytes)
        .ok_or("the LZMA header is cut off")?;
    if size == u64::MAX {
        return Err("the LZMA header does not say how much there is to decode".into());
    }
    let wanted = usize::try_from(size).ok().filter(|size| *size <= *budget).ok_or_else(|| {
        format!("claims {size:#x} bytes, more than the {budget:#x} that are left to decode for a file of this size")
    })?;
    let reader = LzmaReader::new_mem_limit(stream, MEMORY_KIB, None)
        .map_err(|error| format!("starting to decode: {error}"))?;
    // Vec grows with what arrives: a small stream that claims much takes little.
    let mut bytes = Vec::new();
    let read = match filter {
        Filter::None => reader.take(size).read_to_end(&mut bytes),
        Filter::X86 => BcjReader::new_x86(reader, 0).take(size).read_to_end(&mut bytes),
    };
    *budget = budget.saturating_sub(bytes.len());
    read.map_err(|error| format!("decoding after {:#x} bytes: {error}", bytes.len()))?;
    if bytes.len() != wanted {
        return Err(format!("ended after {:#x} bytes of {wanted:#x}", bytes.len()));
    }
    Ok(bytes)
}
