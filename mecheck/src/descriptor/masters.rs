//! FLMSTR: which master may read and write which region (reference/me.md 1.2).

use super::{IfdVersion, Maps, Warning, field};
use crate::bytes::{ImageError, u32_at};

/// One master's rights.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Master {
    pub name: &'static str,
    /// File offset of the FLMSTR dword, and the dword.
    pub offset: usize,
    pub word: u32,
    /// Bit n is region n.
    pub read: u16,
    pub write: u16,
}

impl Master {
    pub fn may_read(&self, region: u8) -> bool {
        u32::from(self.read) >> region & 1 == 1
    }

    pub fn may_write(&self, region: u8) -> bool {
        u32::from(self.write) >> region & 1 == 1
    }
}

const NAMES_V1: [(&str, usize); 3] = [("host", 0), ("me", 4), ("gbe", 8)];
/// +C is reserved; the innovation engine's word exists on servers alone, which have 6 masters.
const NAMES_V2: [(&str, usize); 5] = [("host", 0), ("me", 4), ("gbe", 8), ("ec", 0x10), ("ie", 0x14)];
/// The masters of a server, as FLMAP1 counts them.
const SERVER_MASTERS: u32 = 6;

pub(super) fn read(
    image: &[u8],
    maps: &Maps,
    version: IfdVersion,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Master>, ImageError> {
    let names: &[_] = match version {
        IfdVersion::V1 | IfdVersion::V15 => &NAMES_V1,
        IfdVersion::V2 if maps.flmap1 >> 8 & 7 == SERVER_MASTERS => &NAMES_V2,
        IfdVersion::V2 => &NAMES_V2[..4],
    };
    let mut masters = Vec::new();
    for (name, at) in names {
        let offset = field(maps.flmap1, 0) + at;
        let word = u32_at(image, offset, "flash master table")?;
        let (read, write) = rights(word, version);
        // Low 16 bits of zeroes are a requester id in v1; in v2 they would deny the host its own BIOS region.
        if version == IfdVersion::V2 && *name == "host" && word & 0xffff == 0 && word != 0 {
            warnings.push(Warning::MastersOfOtherVersion { word, offset });
        }
        masters.push(Master { name, offset, word, read, write });
    }
    Ok(masters)
}

fn rights(word: u32, version: IfdVersion) -> (u16, u16) {
    match version {
        // [15:0] requester id, [23:16] read, [31:24] write.
        IfdVersion::V1 | IfdVersion::V15 => ((word >> 16 & 0xff) as u16, (word >> 24) as u16),
        // [19:8] read and [31:20] write of regions 0 to 11; [3:0] read and [7:4] write of 12 to 15.
        IfdVersion::V2 => (
            (word >> 8 & 0xfff) as u16 | ((word & 0xf) as u16) << 12,
            (word >> 20) as u16 | ((word >> 4 & 0xf) as u16) << 12,
        ),
    }
}
