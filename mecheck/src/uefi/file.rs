//! EFI_FFS_FILE_HEADER and EFI_FFS_FILE_HEADER2 (PI volume 3, 3.2.3).

use super::module::Module;
use super::volume::{FileSystem, Header};
use super::{Guid, MAX_DEPTH, MAX_FILES, Space, Walk};
use crate::bytes::{u8_at, u24_at, u64_at};

const HEADER: usize = 24;
const LARGE_HEADER: usize = 32;

const ATTRIBUTE_LARGE: u8 = 0x01;
const ATTRIBUTE_CHECKSUM: u8 = 0x40;
/// IntegrityCheck.File of files without a checksum of their own.
const NO_CHECKSUM: u8 = 0xaa;

const STATE_HEADER_VALID: u8 = 0x02;
const STATE_DATA_VALID: u8 = 0x04;
const STATE_DELETED: u8 = 0x10;
const STATE_HEADER_INVALID: u8 = 0x20;

const TYPE_RAW: u8 = 0x01;
const TYPE_PAD: u8 = 0xf0;

/// What the sections of one file say about it; its name may stand behind its module.
pub(super) struct Scope {
    pub(super) guid: Guid,
    pub(super) kind: u8,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) modules: Vec<Module>,
}

/// The stable word for a file type.
pub(super) const fn kind_word(kind: u8) -> &'static str {
    match kind {
        0x01 => "raw",
        0x02 => "freeform",
        0x03 => "security-core",
        0x04 => "pei-core",
        0x05 => "dxe-core",
        0x06 => "peim",
        0x07 => "driver",
        0x08 => "combined-peim-driver",
        0x09 => "application",
        0x0a => "mm",
        0x0b => "firmware-volume-image",
        0x0c => "combined-mm-dxe",
        0x0d => "mm-core",
        0x0e => "mm-standalone",
        0x0f => "mm-core-standalone",
        0xf0 => "pad",
        _ => "other",
    }
}

struct File {
    guid: Guid,
    kind: u8,
    header: usize,
    size: usize,
    /// The state bits as if erased bits were 0.
    state: u8,
    attributes: u8,
    integrity: u8,
}

impl Walk {
    /// Files follow each other on 8-byte boundaries counted from the start of the volume, up to free space.
    pub(super) fn files(&mut self, volume: Space<'_>, header: &Header, depth: usize) {
        const WHAT: &str = "firmware file";
        if depth > MAX_DEPTH {
            self.finding(volume.place(0), WHAT, format!("nested more than {MAX_DEPTH} deep; not opened"));
            return;
        }
        let mut at = header.first_file;
        while let Some(start) = at.checked_next_multiple_of(8) {
            let Some(rest) = volume.bytes.get(start..) else { return };
            let Some(head) = rest.get(..HEADER) else { return };
            if head.iter().all(|byte| *byte == header.erased) {
                return;
            }
            if self.found.files >= MAX_FILES {
                self.finding(volume.place(start), WHAT, format!("more than {MAX_FILES} files; not opened"));
                return;
            }
            // Sizes chain files together, so nothing behind a broken header can be found.
            let file = match File::parse(rest, header) {
                Ok(file) => file,
                Err((offset, why)) => {
                    self.finding(volume.place(start.saturating_add(offset)), WHAT, why);
                    return;
                }
            };
            self.found.files += 1;
            // A header that was never finished or was given up: the next one follows it at once (3.2.3, State).
            let given_up = file.state & STATE_HEADER_VALID == 0 || file.state & STATE_HEADER_INVALID != 0;
            let length = if given_up { file.header } else { file.size };
            if !given_up && let Some(space) = volume.range(start, start.saturating_add(file.size)) {
                self.file(space, &file, depth);
            }
            at = start.saturating_add(length);
        }
    }

    fn file(&mut self, space: Space<'_>, file: &File, depth: usize) {
        let live = file.state & STATE_DATA_VALID != 0 && file.state & STATE_DELETED == 0;
        let Some(data) = space.range(file.header, space.bytes.len()).filter(|_| live) else { return };
        if let Some(why) = file.wrong_integrity(data.bytes) {
            self.finding(space.place(17), "firmware file", format!("{}: {why}", file.guid));
        }
        if matches!(file.kind, TYPE_RAW | TYPE_PAD) {
            return;
        }
        let mut scope =
            Scope { guid: file.guid, kind: file.kind, name: None, version: None, modules: Vec::new() };
        self.sections(data, &mut scope, depth + 1);
        let Scope { name, version, modules, .. } = scope;
        self.found.modules.extend(modules.into_iter().map(|module| Module {
            name: name.clone(),
            version: version.clone(),
            ..module
        }));
    }
}

impl File {
    fn parse(rest: &[u8], volume: &Header) -> Result<Self, (usize, String)> {
        let cut = |_| (0, "the header is cut off".to_owned());
        let guid = Guid::at(rest, 0).ok_or_else(|| cut(()))?;
        let byte = |offset| u8_at(rest, offset, "").map_err(|_| cut(()));
        let attributes = byte(19)?;
        let large = attributes & ATTRIBUTE_LARGE != 0 && volume.filesystem == FileSystem::Ffs3;
        let header = if large { LARGE_HEADER } else { HEADER };
        let state = if volume.erased == 0xff { !byte(23)? } else { byte(23)? };
        let head = rest.get(..header).ok_or_else(|| cut(()))?;
        // The sum leaves out the file's own checksum and the state, which changes after the header is written.
        let sum = head.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let sum = sum.wrapping_sub(byte(17)?).wrapping_sub(byte(23)?);
        let given_up = state & STATE_HEADER_VALID == 0 || state & STATE_HEADER_INVALID != 0;
        if sum != 0 && !given_up {
            return Err((16, format!("{guid}: the header's checksum is off by {sum:#04x}")));
        }
        let claimed = if large { u64_at(rest, 24, "") } else { u24_at(rest, 20, "").map(u64::from) }
            .map_err(|_| cut(()))?;
        let size = usize::try_from(claimed).ok().filter(|size| (header..=rest.len()).contains(size));
        let size = match size {
            Some(size) => size,
            None if given_up => header,
            None => {
                let room = rest.len();
                return Err((20, format!("{guid}: {claimed:#x} bytes long, where {room:#x} are left")));
            }
        };
        Ok(Self { guid, kind: byte(18)?, header, size, state, attributes, integrity: byte(17)? })
    }

    fn wrong_integrity(&self, data: &[u8]) -> Option<String> {
        if self.attributes & ATTRIBUTE_CHECKSUM == 0 {
            return (self.integrity != NO_CHECKSUM).then(|| {
                format!("integrity byte {:#04x} where a file without checksum has 0xaa", self.integrity)
            });
        }
        let sum = data.iter().fold(self.integrity, |sum, byte| sum.wrapping_add(*byte));
        (sum != 0).then(|| format!("the data's checksum is off by {sum:#04x}"))
    }
}
