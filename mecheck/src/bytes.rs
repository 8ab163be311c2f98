//! Bounds-checked little-endian reads that know where they failed.

/// Why an image could not be read. The offset counts from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading {what} at offset {offset:#x}: {why}")]
pub struct ImageError {
    pub what: &'static str,
    pub offset: usize,
    pub why: String,
}

impl ImageError {
    pub(crate) fn new(what: &'static str, offset: usize, why: impl Into<String>) -> Self {
        Self { what, offset, why: why.into() }
    }
}

/// `len` bytes at `offset`.
pub(crate) fn slice<'a>(
    image: &'a [u8],
    offset: usize,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], ImageError> {
    offset.checked_add(len).and_then(|end| image.get(offset..end)).ok_or_else(|| {
        ImageError::new(
            what,
            offset,
            format!("{len} bytes wanted, the file ends at {:#x}; is it complete?", image.len()),
        )
    })
}

fn array<const N: usize>(image: &[u8], offset: usize, what: &'static str) -> Result<[u8; N], ImageError> {
    let bytes = slice(image, offset, N, what)?;
    bytes.try_into().map_err(|_| ImageError::new(what, offset, "short read"))
}

pub(crate) fn u8_at(image: &[u8], offset: usize, what: &'static str) -> Result<u8, ImageError> {
    array::<1>(image, offset, what).map(|[byte]| byte)
}

pub(crate) fn u16_at(image: &[u8], offset: usize, what: &'static str) -> Result<u16, ImageError> {
    array(image, offset, what).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(image: &[u8], offset: usize, what: &'static str) -> Result<u32, ImageError> {
    array(image, offset, what).map(u32::from_le_bytes)
}

/// Three bytes, as UEFI writes sizes.
pub(crate) fn u24_at(image: &[u8], offset: usize, what: &'static str) -> Result<u32, ImageError> {
    array(image, offset, what).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]))
}

pub(crate) fn u64_at(image: &[u8], offset: usize, what: &'static str) -> Result<u64, ImageError> {
    array(image, offset, what).map(u64::from_le_bytes)
}
