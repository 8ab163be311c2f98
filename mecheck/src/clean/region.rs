//! A window of an image whose reads and writes are checked, and whose errors count from the start of the file.

use std::ops::Range;

use crate::bytes::{self, ImageError};

/// A part of an image, such as the ME region; offsets count from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it starts in the file.
    pub(super) base: usize,
}

impl<'a> Region<'a> {
    /// `range` of `image` as a region.
    pub(super) fn of(
        image: &'a [u8],
        range: &Range<usize>,
        what: &'static str,
    ) -> Result<Region<'a>, ImageError> {
        let bytes = bytes::slice(image, range.start, range.len(), what)?;
        Ok(Self { bytes, base: range.start })
    }

    pub(super) fn len(self) -> usize {
        self.bytes.len()
    }

    pub(super) fn slice(self, at: usize, len: usize, what: &'static str) -> Result<&'a [u8], ImageError> {
        bytes::slice(self.bytes, at, len, what).map_err(|_| {
            self.error(what, at, format!("{len:#x} bytes wanted, the region ends at {:#x}", self.end()))
        })
    }

    pub(super) fn u16(self, at: usize, what: &'static str) -> Result<u16, ImageError> {
        bytes::u16_at(self.slice(at, 2, what)?, 0, what)
    }

    pub(super) fn u32(self, at: usize, what: &'static str) -> Result<u32, ImageError> {
        bytes::u32_at(self.slice(at, 4, what)?, 0, what)
    }

    /// The same as a length or an offset.
    pub(super) fn size(self, at: usize, what: &'static str) -> Result<usize, ImageError> {
        self.u32(at, what).map(|word| word as usize)
    }

    pub(super) fn is(self, at: usize, tag: &[u8]) -> bool {
        self.bytes.get(at..at.saturating_add(tag.len())) == Some(tag)
    }

    pub(super) fn is_blank(self, range: Range<usize>) -> bool {
        self.bytes.get(range).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0xff))
    }

    pub(super) fn error(self, what: &'static str, at: usize, why: impl Into<String>) -> ImageError {
        ImageError::new(what, self.base.saturating_add(at), why)
    }

    fn end(self) -> usize {
        self.base + self.bytes.len()
    }
}

/// The same of the copy that is edited.
#[derive(Debug)]
pub(super) struct RegionMut<'a> {
    bytes: &'a mut [u8],
    base: usize,
}

impl<'a> RegionMut<'a> {
    pub(super) fn of(
        image: &'a mut [u8],
        range: &Range<usize>,
        what: &'static str,
    ) -> Result<Self, ImageError> {
        let base = range.start;
        match image.get_mut(range.clone()) {
            Some(bytes) => Ok(Self { bytes, base }),
            None => Err(ImageError::new(what, base, "it reaches past the end of the file")),
        }
    }

    pub(super) fn read(&self) -> Region<'_> {
        Region { bytes: self.bytes, base: self.base }
    }

    /// Overwrites `range` with FF, which is erased flash.
    pub(super) fn erase(&mut self, range: &Range<usize>, what: &'static str) -> Result<(), ImageError> {
        self.target(range.clone(), what)?.fill(0xff);
        Ok(())
    }

    pub(super) fn put(&mut self, at: usize, new: &[u8], what: &'static str) -> Result<(), ImageError> {
        self.target(at..at.saturating_add(new.len()), what)?.copy_from_slice(new);
        Ok(())
    }

    pub(super) fn put32(&mut self, at: usize, word: u32, what: &'static str) -> Result<(), ImageError> {
        self.put(at, &word.to_le_bytes(), what)
    }

    /// Moves `len` bytes from `from` down to `to` and erases what they leave behind.
    pub(super) fn move_down(
        &mut self,
        from: usize,
        to: usize,
        len: usize,
        what: &'static str,
    ) -> Result<(), ImageError> {
        let end = from.saturating_add(len);
        self.target(to..end, what)?.copy_within(from - to.min(from).., 0);
        self.erase(&(from.max(to.saturating_add(len))..end), what)
    }

    fn target(&mut self, range: Range<usize>, what: &'static str) -> Result<&mut [u8], ImageError> {
        let (start, len, base) = (range.start, self.bytes.len(), self.base);
        self.bytes.get_mut(range).ok_or_else(|| {
            ImageError::new(
                what,
                base.saturating_add(start),
                format!("a write would leave the region, which ends at {:#x}", base.saturating_add(len)),
            )
        })
    }
}
