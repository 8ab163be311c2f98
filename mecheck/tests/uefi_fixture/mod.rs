//! Firmware volumes made from a few numbers, in the layouts of the PI specification, volume 3.

use std::io::Write;

use lzma_rust2::filter::bcj::BcjWriter;
use lzma_rust2::{LzmaOptions, LzmaWriter};
use oob_mecheck::uefi::Guid;

pub(crate) const FFS2: Guid =
    Guid::new(0x8c8c_e578, 0x8a3d, 0x4f1c, [0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d, 0xd3]);
pub(crate) const FFS3: Guid =
    Guid::new(0x5473_c07a, 0x3dcb, 0x4dca, [0xbd, 0x6f, 0x1e, 0x96, 0x89, 0xe7, 0x34, 0x9a]);
pub(crate) const LZMA: Guid =
    Guid::new(0xee4e_5898, 0x3914, 0x4259, [0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf]);
pub(crate) const LZMA_F86: Guid =
    Guid::new(0xd42a_e6bd, 0x1352, 0x4bfb, [0x90, 0x9a, 0xca, 0x72, 0xa6, 0xea, 0xe8, 0x89]);
pub(crate) const CRC32: Guid =
    Guid::new(0xfc1b_cdb0, 0x7d31, 0x49aa, [0x93, 0x6a, 0xa4, 0x60, 0xd9, 0xdd, 0x08, 0x3b]);
pub(crate) const MEBX: Guid =
    Guid::new(0x7c81_c66a, 0x4f11, 0x47ab, [0x82, 0xd3, 0x67, 0xc4, 0xd6, 0x35, 0xae, 0xd1]);

pub(crate) const DRIVER: u8 = 0x07;
pub(crate) const VOLUME_IMAGE: u8 = 0x0b;

/// A GUID of no meaning.
pub(crate) const fn some(number: u32) -> Guid {
    Guid::new(number, 0x1111, 0x2222, [3; 8])
}

/// A volume of FF-erased flash with 8 KiB of room behind its files.
pub(crate) fn volume(filesystem: Guid, files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 0x48];
    for file in files {
        bytes.resize(bytes.len().next_multiple_of(8), 0xff);
        bytes.extend(file);
    }
    bytes.resize((bytes.len() + 0x2000).next_multiple_of(0x1000), 0xff);
    put(&mut bytes, 0x10, filesystem.bytes());
    let length = bytes.len() as u64;
    put(&mut bytes, 0x20, &length.to_le_bytes());
    put(&mut bytes, 0x28, b"_FVH");
    put(&mut bytes, 0x2c, &0x0004_feff_u32.to_le_bytes());
    put(&mut bytes, 0x30, &[0x48, 0, 0, 0, 0, 0, 0, 2]);
    put(&mut bytes, 0x38, &((length / 0x1000) as u32).to_le_bytes());
    put(&mut bytes, 0x3c, &0x1000_u32.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// Makes the volume header's checksum right again.
pub(crate) fn seal(volume: &mut [u8]) {
    put(volume, 0x32, &[0, 0]);
    let words = volume[..0x48].chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0_u16, u16::wrapping_add);
    put(volume, 0x32, &sum.wrapping_neg().to_le_bytes());
}

/// A valid file in FF-erased flash.
pub(crate) fn file(guid: Guid, kind: u8, sections: &[Vec<u8>]) -> Vec<u8> {
    let data = join(sections);
    let size = 24 + data.len();
    let mut bytes = guid.bytes().to_vec();
    bytes.extend([0, 0, kind, 0, size as u8, (size >> 8) as u8, (size >> 16) as u8, 0]);
    bytes[16] = checksum(&bytes);
    bytes[17] = 0xaa;
    bytes[23] = !0x07;
    bytes.extend(data);
    bytes
}

/// The same with EFI_FFS_FILE_HEADER2 and a checksum over its data.
pub(crate) fn large_file(guid: Guid, kind: u8, sections: &[Vec<u8>]) -> Vec<u8> {
    let data = join(sections);
    let mut bytes = guid.bytes().to_vec();
    bytes.extend([0, 0, kind, 0x41, 0, 0, 0, 0]);
    bytes.extend((32 + data.len() as u64).to_le_bytes());
    bytes[16] = checksum(&bytes);
    bytes[17] = checksum(&data);
    bytes[23] = !0x07;
    bytes.extend(data);
    bytes
}

pub(crate) fn section(kind: u8, data: &[u8]) -> Vec<u8> {
    let size = 4 + data.len();
    assert!(size < 0xff_ffff);
    let mut bytes = vec![size as u8, (size >> 8) as u8, (size >> 16) as u8, kind];
    bytes.extend(data);
    bytes
}

/// The same with an extended size.
pub(crate) fn large_section(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff, 0xff, kind];
    bytes.extend((8 + data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn guided(guid: Guid, attributes: u16, data: &[u8]) -> Vec<u8> {
    let mut body = guid.bytes().to_vec();
    body.extend(24_u16.to_le_bytes());
    body.extend(attributes.to_le_bytes());
    body.extend(data);
    section(0x02, &body)
}

pub(crate) fn name(text: &str) -> Vec<u8> {
    section(0x15, &utf16(text))
}

pub(crate) fn version(text: &str) -> Vec<u8> {
    section(0x14, &[vec![1, 0], utf16(text)].concat())
}

pub(crate) fn join(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for section in sections {
        stream.resize(usize::next_multiple_of(stream.len(), 4), 0);
        stream.extend(section);
    }
    stream
}

pub(crate) fn compress(data: &[u8]) -> Vec<u8> {
    let options = LzmaOptions { dict_size: 1 << 16, ..LzmaOptions::with_preset(3) };
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &options, Some(data.len() as u64)).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn compress_f86(data: &[u8]) -> Vec<u8> {
    let mut filter = BcjWriter::new_x86(Vec::new(), 0);
    filter.write_all(data).unwrap();
    compress(&filter.finish().unwrap())
}

/// A PE32+ image with one section and, if there is a path, a debug entry.
pub(crate) fn pe32(machine: u16, subsystem: u16, debug: Option<&str>) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &[0x40]);
    put(&mut image, 0x40, b"PE\0\0");
    put(&mut image, 0x44, &machine.to_le_bytes());
    put(&mut image, 0x46, &[1, 0]);
    put(&mut image, 0x54, &[0xf0, 0]);
    put(&mut image, 0x58, &[0x0b, 0x02]);
    put(&mut image, 0x58 + 32, &0x20_u32.to_le_bytes());
    put(&mut image, 0x58 + 36, &0x20_u32.to_le_bytes());
    put(&mut image, 0x58 + 68, &subsystem.to_le_bytes());
    put(&mut image, 0x58 + 108, &[16]);
    put(&mut image, 0x148, b".text\0\0\0");
    for field in [8, 12, 16, 20] {
        put(&mut image, 0x148 + field, &0x200_u32.to_le_bytes());
    }
    if let Some(path) = debug {
        put(&mut image, 0x58 + 112 + 48, &[0, 2, 0, 0, 28, 0, 0, 0]);
        codeview(&mut image, 0x200, 0, path);
    }
    put(&mut image, 0x300, &[0xe8, 0x10, 0, 0, 0, 0xe9, 0xf0, 0xff, 0xff, 0xff]);
    image
}

/// A TE image whose 1C8h bytes of PE32 headers were stripped.
pub(crate) fn te(machine: u16, subsystem: u8, debug: &str) -> Vec<u8> {
    const STRIPPED: u16 = 0x1c8;
    let moved = STRIPPED - 40;
    let mut image = vec![0; 0x200];
    put(&mut image, 0, b"VZ");
    put(&mut image, 2, &machine.to_le_bytes());
    put(&mut image, 4, &[1, subsystem]);
    put(&mut image, 6, &STRIPPED.to_le_bytes());
    put(&mut image, 32, &(0x60 + u32::from(moved)).to_le_bytes());
    put(&mut image, 36, &[28]);
    put(&mut image, 40, b".text\0\0\0");
    codeview(&mut image, 0x60, moved, debug);
    image
}

fn codeview(image: &mut [u8], at: usize, moved: u16, path: &str) {
    let data = at + 28;
    let address = data as u32 + u32::from(moved);
    put(image, at + 12, &[2]);
    put(image, at + 16, &(25 + path.len() as u32).to_le_bytes());
    put(image, at + 20, &address.to_le_bytes());
    put(image, at + 24, &address.to_le_bytes());
    put(image, data, b"RSDS");
    put(image, data + 24, path.as_bytes());
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

pub(crate) fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}
