//! What kind of file an image is, before anything in it is believed.
//!
//! People bring dumps, single regions, vendors' update files and archives, and mean the same by all of them. Only a
//! dump may be changed (reference/me.md 3.2); for everything else there is a sentence that says what it is and what to
//! do instead.

use std::fmt;

use serde::Serialize;

use crate::bytes::{u16_at, u32_at};
use crate::descriptor::Descriptor;
use crate::uefi::{Guid, first_volume};

/// A kind of file, and where that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Container {
    pub kind: Kind,
    /// Offset of the signature that says so.
    pub offset: usize,
    /// What the file is, and for what cannot be read also what to do; for people.
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A flash descriptor and regions behind it.
    FlashDump,
    /// A flash descriptor, and nothing of what it describes.
    DescriptorAlone,
    /// A descriptor's signature without a region map that makes sense.
    BrokenDescriptor,
    /// An ME region without a descriptor.
    MeRegion,
    /// Firmware volumes without a descriptor: a BIOS region.
    UefiVolumes,
    Capsule,
    Executable,
    Archive,
    DiskImage,
    HexText,
    Empty,
    Erased,
    Zeroes,
    /// No structure at all: encrypted or compressed.
    Scrambled,
    Unknown,
}

impl Kind {
    /// Whether `inspect` can say something about its contents.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::FlashDump | Self::DescriptorAlone | Self::MeRegion | Self::UefiVolumes)
    }

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FlashDump => "flash-dump",
            Self::DescriptorAlone => "descriptor-alone",
            Self::BrokenDescriptor => "broken-descriptor",
            Self::MeRegion => "me-region",
            Self::UefiVolumes => "uefi-volumes",
            Self::Capsule => "capsule",
            Self::Executable => "executable",
            Self::Archive => "archive",
            Self::DiskImage => "disk-image",
            Self::HexText => "hex-text",
            Self::Empty => "empty",
            Self::Erased => "erased",
            Self::Zeroes => "zeroes",
            Self::Scrambled => "scrambled",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

const DUMP: &str = "dump the flash chip instead, and keep that dump as the backup";

/// GUIDs that EFI_CAPSULE_HEADER starts with (UEFI 2.10, 8.5.3 and 23.3, and vendors' own).
const CAPSULES: [(Guid, &str); 8] = [
    (
        Guid::new(0x6dcb_d5ed, 0xe82d, 0x4c44, [0xbd, 0xa1, 0x71, 0x94, 0x19, 0x9a, 0xd9, 0x2a]),
        "a firmware management capsule",
    ),
    (
        Guid::new(0x3b66_86bd, 0x0d76, 0x4030, [0xb7, 0x0e, 0xb5, 0x51, 0x9e, 0x2f, 0xc5, 0xa0]),
        "an EFI capsule",
    ),
    (
        Guid::new(0x4a3c_a68b, 0x7723, 0x48fb, [0x80, 0x3d, 0x57, 0x8c, 0xc1, 0xfe, 0xc4, 0x4d]),
        "a signed AMI Aptio capsule",
    ),
    (
        Guid::new(0x14ee_bb90, 0x890a, 0x43db, [0xae, 0xd1, 0x5d, 0x3c, 0x45, 0x88, 0xa4, 0x18]),
        "an unsigned AMI Aptio capsule",
    ),
    (
        Guid::new(0x5391_82b9, 0xabb5, 0x4391, [0xb6, 0x9a, 0xe3, 0xa9, 0x43, 0xf7, 0x2f, 0xcc]),
        "an Intel capsule",
    ),
    (
        Guid::new(0xe20b_afd3, 0x9914, 0x4f4f, [0x95, 0x37, 0x31, 0x29, 0xe0, 0x90, 0xeb, 0x3c]),
        "a Lenovo capsule",
    ),
    (
        Guid::new(0x25b5_fe76, 0x8243, 0x4a5c, [0xa9, 0xbd, 0x7e, 0xe3, 0x24, 0x61, 0x98, 0xb5]),
        "a Lenovo capsule",
    ),
    (
        Guid::new(0x3be0_7062, 0x1d51, 0x45d2, [0x83, 0x2b, 0xf0, 0x93, 0x25, 0x7e, 0xd4, 0x61]),
        "a Toshiba capsule",
    ),
];

/// Offset, bytes, kind, what it is.
const MAGICS: [(usize, &[u8], Kind, &str); 13] = [
    (0, b"PK\x03\x04", Kind::Archive, "a ZIP archive"),
    (0, b"7z\xbc\xaf\x27\x1c", Kind::Archive, "a 7z archive"),
    (0, b"MSCF", Kind::Archive, "a Microsoft cabinet, as Windows and fwupd updates are"),
    (0, b"Rar!\x1a\x07", Kind::Archive, "a RAR archive"),
    (0, b"\x1f\x8b\x08", Kind::Archive, "gzip data"),
    (0, b"\xfd7zXZ\0", Kind::Archive, "xz data"),
    (0, b"BZh", Kind::Archive, "bzip2 data"),
    (0, b"\x28\xb5\x2f\xfd", Kind::Archive, "zstandard data"),
    (0, b"PFS.HDR.", Kind::Archive, "a Dell firmware package"),
    (0, b"\x7fELF", Kind::Executable, "an ELF program"),
    (0x8001, b"CD001", Kind::DiskImage, "an ISO 9660 disk image"),
    (0x8801, b"CD001", Kind::DiskImage, "an ISO 9660 disk image"),
    (257, b"ustar", Kind::Archive, "a tar archive"),
];

/// What `file` is, by its signatures; by its statistics only where there is none.
pub fn identify(file: &[u8]) -> Container {
    if file.is_empty() {
        return told(Kind::Empty, 0, "an empty file: reading the chip failed; read it again");
    }
    if let Some(uniform) = uniform(file) {
        return uniform;
    }
    if let Some(container) = descriptor(file).or_else(|| me_region(file)).or_else(|| wrapped(file)) {
        return container;
    }
    if let Some(offset) = first_volume(file) {
        return told(
            Kind::UefiVolumes,
            offset,
            "UEFI firmware volumes without a flash descriptor: a BIOS region alone. To neutralize an ME, dump the whole \
             chip",
        );
    }
    if let Some(bits) = entropy(file).filter(|bits| *bits > SCRAMBLED) {
        return told(
            Kind::Scrambled,
            0,
            format!(
                "no structure that is known and {bits:.2} bits of entropy a byte: encrypted or compressed; {DUMP}"
            ),
        );
    }
    told(
        Kind::Unknown,
        0,
        format!("no flash descriptor, ME region, firmware volume or known container; {DUMP}"),
    )
}

fn told(kind: Kind, offset: usize, what: impl Into<String>) -> Container {
    Container { kind, offset, what: what.into() }
}

fn uniform(file: &[u8]) -> Option<Container> {
    let first = file.first()?;
    if !matches!(first, 0 | 0xff) || file.iter().any(|byte| byte != first) {
        return None;
    }
    Some(if *first == 0 {
        told(
            Kind::Zeroes,
            0,
            "zeroes only: the chip was not read; check clip, wiring and power, and read again",
        )
    } else {
        told(
            Kind::Erased,
            0,
            "FF only: an erased chip, or one that was not read; check the clip and read again",
        )
    })
}

fn descriptor(file: &[u8]) -> Option<Container> {
    let offset = [0x10, 0].into_iter().find(|at| u32_at(file, *at, "") == Ok(0x0ff0_a55a))?;
    let descriptor = match Descriptor::parse(file) {
        Ok(descriptor) => descriptor,
        Err(error) => {
            let what = format!("a flash descriptor that cannot be read ({error}); {DUMP}");
            return Some(told(Kind::BrokenDescriptor, error.offset, what));
        }
    };
    let regions = || descriptor.regions.iter().filter(|region| region.name != "descriptor");
    // Vendors' update files may carry a descriptor whose regions are placeholders of one block (reference/me.md 3.2).
    if !regions().any(|region| region.limit.saturating_sub(region.base) > 0xfff) {
        let what = format!(
            "a flash descriptor that gives no region more than 4 KiB, as in vendors' update files; {DUMP}"
        );
        return Some(told(Kind::BrokenDescriptor, offset, what));
    }
    let held = |base: usize| (1..file.len()).contains(&base);
    Some(if regions().any(|region| held(region.base) && region.name != "gbe") {
        told(Kind::FlashDump, offset, "a flash dump with its descriptor")
    } else {
        told(Kind::DescriptorAlone, offset, "a flash descriptor alone, without the regions it describes")
    })
}

fn me_region(file: &[u8]) -> Option<Container> {
    let table = [0, 0x10].into_iter().find(|at| file.get(*at..at + 4) == Some(b"$FPT"));
    if let Some(offset) = table {
        return Some(told(Kind::MeRegion, offset, "an ME region alone, without a flash descriptor"));
    }
    boot_partition(file).map(|offset| {
        told(Kind::MeRegion, offset, "a CSE region of boot partitions alone, without a flash descriptor")
    })
}

/// A CSE layout table names boot partitions as offset and size from 18h (IFWI 1.6, 2.0) or 20h (1.7) on; one of them
/// must start with a BPDT (reference/me.md 2.2).
fn boot_partition(file: &[u8]) -> Option<usize> {
    [0x18, 0x20].into_iter().flat_map(|first| (0..5).map(move |index| first + 8 * index)).find_map(|at| {
        let offset = usize::try_from(u32_at(file, at, "").ok()?).ok()?;
        let size = u32_at(file, at + 4, "").ok()?;
        let signed = matches!(u32_at(file, offset, ""), Ok(0x0000_55aa | 0x00aa_55aa));
        let counted = (1..=64).contains(&u16_at(file, offset.checked_add(4)?, "").ok()?);
        (size != 0 && size != u32::MAX && offset >= 0x40 && signed && counted).then_some(offset)
    })
}

/// What vendors wrap updates in.
fn wrapped(file: &[u8]) -> Option<Container> {
    if let Some(name) = capsule(file) {
        let what = format!("{name}, a vendor's update file: it lacks what only this machine has; {DUMP}");
        return Some(told(Kind::Capsule, 0, what));
    }
    if file.starts_with(b"MZ") {
        let what = format!("a Windows or DOS program, as vendors' updates are; {DUMP}");
        return Some(told(Kind::Executable, 0, what));
    }
    if let Some((at, _, kind, name)) =
        MAGICS.iter().find(|(at, magic, ..)| file.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
    {
        let todo = match kind {
            Kind::Archive => format!("unpack it; if a vendor's update is inside, {DUMP}"),
            _ => DUMP.to_owned(),
        };
        return Some(told(*kind, *at, format!("{name}; {todo}")));
    }
    intel_hex(file).then(|| told(Kind::HexText, 0, "Intel HEX text; convert it to a binary image first"))
}

/// A known GUID, or the sizes of a capsule header around a GUID of the product's own (ESRT).
fn capsule(file: &[u8]) -> Option<String> {
    let guid = Guid::at(file, 0)?;
    if let Some((_, name)) = CAPSULES.iter().find(|(known, _)| *known == guid) {
        return Some((*name).to_owned());
    }
    let (header, whole) = (u32_at(file, 16, "").ok()?, u32_at(file, 24, "").ok()?);
    let fits = (28..=0x1_0000).contains(&header) && header < whole && u64::from(whole) == file.len() as u64;
    fits.then(|| format!("a capsule for {guid}"))
}

/// A colon and hex digits: byte count, address, type, data, checksum.
fn intel_hex(file: &[u8]) -> bool {
    let line = file.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    line.split_first().is_some_and(|(colon, digits)| {
        *colon == b':' && (10..=522).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// Compiled and padded firmware stays below 7.9 bits; random bytes measure above 7.99 from 64 KiB on.
const SCRAMBLED: f64 = 7.97;

/// Shannon entropy in bits a byte, over at most 1 MiB in blocks spread over the file; None where there is too little to
/// tell.
fn entropy(file: &[u8]) -> Option<f64> {
    const BLOCK: usize = 4096;
    const BLOCKS: usize = 256;
    if file.len() < 16 * BLOCK {
        return None;
    }
    let blocks = file.len() / BLOCK;
    let mut counts = [0_u32; 256];
    for block in file.chunks_exact(BLOCK).step_by(blocks.div_ceil(BLOCKS)) {
        for byte in block {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
    }
    let total = f64::from(counts.iter().sum::<u32>());
    let share = |count: u32| f64::from(count) / total;
    Some(counts.into_iter().filter(|count| *count > 0).map(|count| -share(count) * share(count).log2()).sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::me::fixture::{me11, sunrise};

    fn kind(file: &[u8]) -> Kind {
        identify(file).kind
    }

    /// `head`, then enough of something else.
    fn file(head: &[u8]) -> Vec<u8> {
        let mut file = head.to_vec();
        file.resize(0x9000, 0x20);
        file
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let step = |state: &mut u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(|_| step(&mut state)).collect()
    }

    #[test]
    fn every_kind_is_told_apart() {
        let guid = CAPSULES[0].0.bytes();
        let mut own = file(&[7; 16]);
        own[16..28].copy_from_slice(&[0x1c, 0, 0, 0, 0, 0, 5, 0, 0, 0x90, 0, 0]);
        let mut iso = vec![0; 0x9000];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        for (bytes, expected) in [
            (sunrise(2, 11), Kind::FlashDump),
            (sunrise(2, 11)[..0x1000].to_vec(), Kind::DescriptorAlone),
            (me11(11), Kind::MeRegion),
            (file(guid), Kind::Capsule),
            (own, Kind::Capsule),
            (file(b"MZ\x90\0"), Kind::Executable),
            (file(b"PK\x03\x04"), Kind::Archive),
            (file(b"MSCF"), Kind::Archive),
            (file(b"\x1f\x8b\x08"), Kind::Archive),
            (file(b"\xfd7zXZ\0"), Kind::Archive),
            (iso, Kind::DiskImage),
            (b":10010000214601360121470136007EFE09D2190140\n".to_vec(), Kind::HexText),
            (Vec::new(), Kind::Empty),
            (vec![0xff; 4096], Kind::Erased),
            (vec![0; 4096], Kind::Zeroes),
            (noise(1 << 17), Kind::Scrambled),
            (file(b"hello"), Kind::Unknown),
            (b"\x01".to_vec(), Kind::Unknown),
        ] {
            let told = identify(&bytes);
            assert_eq!(told.kind, expected, "{}", told.what);
            assert_eq!(serde_json::to_value(told.kind).unwrap(), expected.word());
        }
    }

    #[test]
    fn a_descriptor_without_real_regions_is_no_dump() {
        let mut image = sunrise(2, 11);
        for region in 0..9 {
            image[0x40 + 4 * region..0x44 + 4 * region].fill(0);
        }
        let told = identify(&image);
        assert_eq!(told.kind, Kind::BrokenDescriptor);
        assert!(told.what.contains("dump the flash chip"), "{}", told.what);
        // Cut off in its own tables.
        assert_eq!(kind(&sunrise(2, 11)[..0x18]), Kind::BrokenDescriptor);
    }

    #[test]
    fn boot_partitions_alone_are_an_me_region() {
        for (first, version) in [(0x18, 0x1000_u32), (0x20, 0x48)] {
            let mut region = vec![0x11; 0x3000];
            region[0x10..0x60].fill(0);
            region[0x10..0x14].copy_from_slice(&version.to_le_bytes());
            region[first..first + 8].copy_from_slice(&[0, 0x20, 0, 0, 0, 0x10, 0, 0]);
            region[0x2000..0x2006].copy_from_slice(&[0xaa, 0x55, 0, 0, 3, 0]);
            assert_eq!(identify(&region).offset, 0x2000);
            assert_eq!(kind(&region), Kind::MeRegion);
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for bytes in [file(b"MZ"), file(b"PK\x03\x04"), noise(1 << 17), file(b"hello")] {
            let told = identify(&bytes);
            assert!(!told.kind.is_readable());
            assert!(told.what.contains("dump the flash chip"), "{}", told.what);
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), head in 0..7_usize) {
            let heads: [&[u8]; 7] = [b"", b"MZ", b":", b"$FPT", &[0x5a, 0xa5, 0xf0, 0x0f], b"PK\x03\x04", &[0; 16]];
            let head = heads[head];
            if bytes.len() >= head.len() {
                bytes[..head.len()].copy_from_slice(head);
            }
            let told = identify(&bytes);
            prop_assert!(told.offset <= bytes.len() + 0x20000);
        }
    }
}
