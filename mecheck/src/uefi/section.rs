//! EFI_COMMON_SECTION_HEADER and what sections hold (PI volume 3, 3.2.5).

use super::file::Scope;
use super::lzma::{self, Filter};
use super::{Guid, MAX_DEPTH, MAX_MODULES, MAX_SECTIONS, Space, Walk, module};
use crate::bytes::{u8_at, u16_at, u24_at, u32_at};

const WHAT: &str = "section";

const COMPRESSION: u8 = 0x01;
const GUID_DEFINED: u8 = 0x02;
const DISPOSABLE: u8 = 0x03;
const PE32: u8 = 0x10;
const TE: u8 = 0x12;
const VERSION: u8 = 0x14;
const USER_INTERFACE: u8 = 0x15;
const FIRMWARE_VOLUME_IMAGE: u8 = 0x17;

const LZMA: Guid = Guid::new(0xee4e_5898, 0x3914, 0x4259, [0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf]);
/// LZMA behind the x86 branch filter.
const LZMA_F86: Guid =
    Guid::new(0xd42a_e6bd, 0x1352, 0x4bfb, [0x90, 0x9a, 0xca, 0x72, 0xa6, 0xea, 0xe8, 0x89]);
const TIANO: Guid = Guid::new(0xa312_80ad, 0x481e, 0x41b6, [0x95, 0xe8, 0x12, 0x7f, 0x4c, 0x98, 0x47, 0x79]);
const BROTLI: Guid = Guid::new(0x3d53_2050, 0x5cda, 0x4fd0, [0x87, 0x9e, 0x0f, 0x7f, 0x63, 0x0d, 0x5a, 0xfb]);
/// Sections behind a checksum or a signature: readable as they stand.
const CRC32: Guid = Guid::new(0xfc1b_cdb0, 0x7d31, 0x49aa, [0x93, 0x6a, 0xa4, 0x60, 0xd9, 0xdd, 0x08, 0x3b]);
const RSA2048_SHA256: Guid =
    Guid::new(0xa771_7414, 0xc616, 0x4977, [0x94, 0x20, 0x84, 0x47, 0x12, 0xa7, 0x35, 0xbf]);
/// EFI_GUIDED_SECTION_PROCESSING_REQUIRED.
const PROCESSING_REQUIRED: u16 = 1;

/// Characters of a name or a version.
const MAX_TEXT: usize = 256;

impl Walk {
    /// Sections follow each other on 4-byte boundaries counted from the start of `stream`.
    pub(super) fn sections(&mut self, stream: Space<'_>, scope: &mut Scope, depth: usize) {
        if depth > MAX_DEPTH {
            self.finding(stream.place(0), WHAT, format!("nested more than {MAX_DEPTH} deep; not opened"));
            return;
        }
        let mut at = 0_usize;
        while let Some(start) = at.checked_next_multiple_of(4) {
            let Some(rest) = stream.bytes.get(start..).filter(|rest| rest.len() >= 4) else { return };
            let Some((kind, header, size)) = common_header(rest) else {
                // Fill behind the last section is common; anything else is not a section.
                if !(rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == 0xff)) {
                    let room = rest.len();
                    self.finding(
                        stream.place(start),
                        WHAT,
                        format!("a size that does not fit the {room:#x} bytes left"),
                    );
                }
                return;
            };
            if self.sections >= MAX_SECTIONS {
                self.finding(
                    stream.place(start),
                    WHAT,
                    format!("more than {MAX_SECTIONS} sections; not read"),
                );
                return;
            }
            self.sections += 1;
            at = start.saturating_add(size);
            if let Some(section) = stream.range(start, at) {
                self.section(section, kind, header, scope, depth);
            }
        }
    }

    fn section(&mut self, section: Space<'_>, kind: u8, header: usize, scope: &mut Scope, depth: usize) {
        let data = section.from(header);
        match kind {
            COMPRESSION => self.compressed(section, header, scope, depth),
            GUID_DEFINED => self.guid_defined(section, header, scope, depth),
            DISPOSABLE => self.sections(data, scope, depth + 1),
            PE32 | TE => self.module(data, kind == TE, scope),
            VERSION => scope.version = text(data.bytes.get(2..).unwrap_or_default()),
            USER_INTERFACE => scope.name = text(data.bytes),
            FIRMWARE_VOLUME_IMAGE => {
                self.volume(data, depth + 1);
            }
            _ => {}
        }
    }

    fn module(&mut self, data: Space<'_>, terse: bool, scope: &mut Scope) {
        if self.found.modules.len().saturating_add(scope.modules.len()) >= MAX_MODULES {
            self.finding(data.place(0), WHAT, format!("more than {MAX_MODULES} modules; not read"));
            return;
        }
        match module::parse(data, terse, scope) {
            Ok((module, odd)) => {
                scope.modules.push(module);
                if let Some(why) = odd {
                    self.finding(data.place(0), module::what(terse), format!("{}: {why}", scope.guid));
                }
            }
            Err(why) => {
                self.finding(data.place(0), module::what(terse), format!("{}: {why}", scope.guid));
            }
        }
    }

    /// EFI_COMPRESSION_SECTION: uncompressed length, then a type.
    fn compressed(&mut self, section: Space<'_>, header: usize, scope: &mut Scope, depth: usize) {
        let Ok(method) = u8_at(section.bytes, header.saturating_add(4), "") else {
            self.finding(section.place(0), WHAT, "the compression header is cut off");
            return;
        };
        let data = section.from(header.saturating_add(5));
        match method {
            0 => self.sections(data, scope, depth + 1),
            1 => self.finding(section.place(0), WHAT, "Tiano compression, which is not decoded"),
            // "Customized": LZMA in images from before the GUID.
            2 => self.lzma(section, data.bytes, Filter::None, scope, depth),
            other => {
                self.finding(section.place(0), WHAT, format!("unknown compression {other}, not decoded"))
            }
        }
    }

    fn guid_defined(&mut self, section: Space<'_>, header: usize, scope: &mut Scope, depth: usize) {
        let guid = Guid::at(section.bytes, header);
        let half = |offset: usize| u16_at(section.bytes, header.saturating_add(offset), "").ok();
        let (Some(guid), Some(offset), Some(attributes)) = (guid, half(16), half(18)) else {
            self.finding(section.place(0), WHAT, "the GUID header is cut off");
            return;
        };
        let smallest = header.saturating_add(20);
        let Some(data) = section
            .range(usize::from(offset), section.bytes.len())
            .filter(|_| usize::from(offset) >= smallest)
        else {
            self.finding(
                section.place(0),
                WHAT,
                format!("{guid}: data at {offset:#x} of {:#x}", section.bytes.len()),
            );
            return;
        };
        match guid {
            LZMA => self.lzma(section, data.bytes, Filter::None, scope, depth),
            LZMA_F86 => self.lzma(section, data.bytes, Filter::X86, scope, depth),
            CRC32 | RSA2048_SHA256 => self.sections(data, scope, depth + 1),
            TIANO => self.finding(section.place(0), WHAT, "Tiano compression, which is not decoded"),
            BROTLI => self.finding(section.place(0), WHAT, "Brotli compression, which is not decoded"),
            _ if attributes & PROCESSING_REQUIRED == 0 => self.sections(data, scope, depth + 1),
            _ => self.finding(section.place(0), WHAT, format!("encoded as {guid}, which is not decoded")),
        }
    }

    fn lzma(&mut self, section: Space<'_>, stream: &[u8], filter: Filter, scope: &mut Scope, depth: usize) {
        if depth > MAX_DEPTH {
            self.finding(section.place(0), WHAT, format!("nested more than {MAX_DEPTH} deep; not opened"));
            return;
        }
        match lzma::decode(stream, filter, &mut self.budget) {
            Ok(bytes) => {
                self.found.decompressed = self.found.decompressed.saturating_add(bytes.len());
                self.sections(section.decompressed(0, &bytes), scope, depth + 1);
            }
            Err(why) => self.finding(section.place(0), "LZMA section", why),
        }
    }
}

/// Type, length of the header and length of the whole section, if it fits what is left.
fn common_header(rest: &[u8]) -> Option<(u8, usize, usize)> {
    let kind = u8_at(rest, 3, "").ok()?;
    let (header, size) = match u24_at(rest, 0, "").ok()? {
        0x00ff_ffff => (8, u32_at(rest, 4, "").ok()?),
        size => (4, size),
    };
    let size = usize::try_from(size).ok()?;
    (header..=rest.len()).contains(&size).then_some((kind, header, size))
}

/// UTF-16 up to a NUL, with anything that is none replaced.
fn text(bytes: &[u8]) -> Option<String> {
    let units = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk().copied().map(u16::from_le_bytes))
        .take_while(|unit| *unit != 0)
        .take(MAX_TEXT);
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    (!text.is_empty()).then_some(text)
}
