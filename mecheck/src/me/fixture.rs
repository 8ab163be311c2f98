//! Images made from a few numbers, in the layouts of reference/me.md, with manifests that verify.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// Where [`me8`] has its FTPR partition.
pub(crate) const ME8_FTPR: usize = 0x1000;
/// Bytes of a manifest's header with a 2048-bit key.
const HEADER: usize = 0x284;

/// A Sunrise Point-LP descriptor, 12 KiB of ME region, 16 KiB of BIOS region.
pub(crate) fn sunrise(strap0: u32, me_major: u16) -> Vec<u8> {
    with_me(strap0, &me11(me_major))
}

/// The same with other bytes in the ME region, at most 12 KiB.
pub(crate) fn with_me(strap0: u32, region: &[u8]) -> Vec<u8> {
    let mut image = vec![0xff; 0x8000];
    put(&mut image, 0x10, &[0x5a, 0xa5, 0xf0, 0x0f]);
    put32(&mut image, 0x14, 0x0004_0003); // FRBA 40, FCBA 30
    put32(&mut image, 0x18, 0x4210_0208); // 42h straps, FPSBA 100, 2 masters, FMBA 80
    put32(&mut image, 0x1c, 0x0031_0000); // ICCRIBA 31
    for region in 0..16 {
        put32(&mut image, 0x40 + 4 * region, 0x0000_7fff);
    }
    put32(&mut image, 0x40, 0x0000_0000);
    put32(&mut image, 0x44, 0x0007_0004);
    put32(&mut image, 0x48, 0x0003_0001);
    put32(&mut image, 0x100, strap0);
    put32(&mut image, 0xefc, 0x0000_0000);
    put(&mut image, 0x1000, region);
    image
}

/// `$FPT` at 10 with FTPR at 400: directory, manifest at 458.
pub(crate) fn me11(major: u16) -> Vec<u8> {
    let mut region = vec![0xff; 0x3000];
    fpt(&mut region, 0x10, 0x20, &[(b"FTPR", 0x400, 0x800, 0), (b"MFS\0", 0x1000, 0x1000, 1)]);
    directory(&mut region, 0x400, b"FTPR", 1, &[(b"FTPR.man", 0x58, &manifest(major, 0, &[0x5a; 0x40]))]);
    region
}

/// `$MN2` directly in FTPR at 1000, with one module of each kind, an empty MFS, NVRAM and an absent partition.
pub(crate) fn me8(major: u16, stride: usize) -> Vec<u8> {
    let mut region = vec![0xff; 0x4000];
    put(&mut region, 0, &[0x20, 0x20, 0x80, 0x0f]);
    let entries: [Entry; 5] = [
        (b"\xe0\x15\0 ", 0x3c0, 0x40, 0x783),
        (b"EFFS", 0x3000, 0x1000, 0x2704),
        (b"NVCL", u32::MAX, 0x10511, 2),
        (b"FTPR", ME8_FTPR as u32, 0x1800, 0x2780),
        (b"GLUT", 0, 0, 0x783),
    ];
    fpt(&mut region, 0x10, 0x30, &entries);
    let stored = [7_u8; 0x100];
    let mut table = b"FTPR\0\0\0\0\0\0\0\0".to_vec();
    let kinds =
        [(b"UPDATE", 0, 0x1000, 0x100), (b"BUP\0\0\0", 1, 0x1200, 0x300), (b"KERNEL", 2, 0x1500, 0x80)];
    for (name, kind, offset, size) in kinds {
        let mut header = vec![0; stride];
        put(&mut header, 0, b"$MME");
        put(&mut header, 4, name);
        let mut hash = Sha256::digest(stored).to_vec();
        hash.reverse();
        put(&mut header, 0x14, &hash);
        for (at, value) in [(0x38, offset), (0x3c, 2 * size), (0x40, size), (0x50, kind << 4)] {
            put32(&mut header, at, value);
        }
        table.extend_from_slice(&header);
    }
    put(&mut region, ME8_FTPR, &manifest(major, 3, &table));
    put(&mut region, ME8_FTPR + 0x1000, &stored);
    put(&mut region, ME8_FTPR + 0x1200, b"LLUT");
    for (at, value) in [(4, 3), (0x10, 0x100), (0x14, 0x2300), (0x30, 0x400)] {
        put32(&mut region, ME8_FTPR + 0x1200 + at, value);
    }
    for (index, chunk) in [0x2300, 0x8000_0000, 0x00ff_0000].into_iter().enumerate() {
        put32(&mut region, ME8_FTPR + 0x1240 + 4 * index, chunk);
    }
    region
}

/// ME 1 to 5: a CODE partition that starts with `$MAN`.
pub(crate) fn me4() -> Vec<u8> {
    let mut region = vec![0xff; 0x3000];
    fpt(&mut region, 0x10, 0x30, &[(b"CODE", 0x1000, 0x1000, 0)]);
    put(&mut region, 0x1000, &crate::signature::vectors::get("man-2048"));
    region
}

/// IFWI 1.6: layout, data partition with `$FPT`, one boot partition with FTPR, a second table and OEMP in it.
pub(crate) fn me14() -> Vec<u8> {
    let mut region = vec![0xff; 0x9000];
    put(&mut region, 0x10, &[0; 0x30]);
    for (at, value) in [(0x10, 0x1000), (0x14, 0x1000), (0x18, 0x2000), (0x1c, 0x7000)] {
        put32(&mut region, at, value);
    }
    fpt(&mut region, 0x1000, 0x20, &[(b"PSVN", 0xe00, 0x100, 1), (b"HVMP", 0xf00, 0xc, 0xff00_0001)]);
    bpdt(&mut region, 0x2000, 1, &[(9, 0, 0), (2, 0x1000, 0x2000), (5, 0x4000, 0x1000)]);
    let key = manifest(14, 0, &[2; 0x20]);
    let main = manifest(14, 0, &[1; 0x20]);
    directory(&mut region, 0x3000, b"FTPR", 1, &[(b"FTPR.man", 0x100, &main), (b"rot.key", 0x1000, &key)]);
    bpdt(&mut region, 0x6000, 1, &[(20, 0x5000, 0x1000)]);
    directory(&mut region, 0x7000, b"OEMP", 1, &[(b"OEMP.man", 0x40, &manifest(0, 0, &[3; 0x20]))]);
    region
}

/// IFWI 1.7: checksummed layout, `$FPT` 2.1 with a backup, a boot partition with a version 2 table and directory.
pub(crate) fn me16() -> Vec<u8> {
    let mut region = vec![0xff; 0x8000];
    put(&mut region, 0x10, &[0; 0x48]);
    let layout = [(0x10, 0x48), (0x18, 0x4000), (0x1c, 0x3000), (0x20, 0x1000), (0x24, 0x3000)];
    for (at, value) in layout {
        put32(&mut region, at, value);
    }
    checksum(&mut region, 0x10, 0x48, 0x14);
    bpdt(&mut region, 0x1000, 2, &[(1, 0, 0), (2, 0x1000, 0x2000)]);
    let pss = crate::signature::vectors::get("mn2-3072-salt48");
    directory(&mut region, 0x2000, b"FTPR", 2, &[(b"FTPR.man", 0x100, &pss)]);
    fpt(&mut region, 0x4000, 0x21, &[(b"MFS\0", 0x2000, 0x1000, 0x101)]);
    let table = region[0x4000..0x4000 + 0x40].to_vec();
    put(&mut region, 0x5000, &table);
    region
}

/// Name, offset, size and flags of a partition.
type Entry<'a> = (&'a [u8; 4], u32, u32, u32);

/// Writes a table whose header is 0x30 or 0x20 bytes long, or 0x21 for one of version 2.1.
pub(crate) fn fpt(region: &mut [u8], at: usize, header: u8, entries: &[Entry<'_>]) {
    put(region, at, &[0; 0x20]);
    put(region, at, b"$FPT");
    put32(region, at + 4, entries.len() as u32);
    let version = if header == 0x21 { 0x21 } else { 0x20 };
    put(region, at + 8, &[version, 0x10, header & 0xf0, 0]);
    for (index, (name, offset, size, flags)) in entries.iter().enumerate() {
        let entry = at + 0x20 + 0x20 * index;
        put(region, entry, &[0; 0x20]);
        put(region, entry, *name);
        for (field, value) in [(8, *offset), (0xc, *size), (0x1c, *flags)] {
            put32(region, entry + field, value);
        }
    }
    if header == 0x21 {
        region[at + 0xb] = 1;
        checksum(region, at, 0x20 + 0x20 * entries.len(), at + 0x14);
    } else {
        let start = if header == 0x30 { at - 0x10 } else { at };
        region[at + 0xb] = sum(&region[start..at + 0x20]).wrapping_neg();
    }
}

/// Writes a directory and its modules, each at its offset.
pub(crate) fn directory(
    region: &mut [u8],
    at: usize,
    name: &[u8; 4],
    version: u8,
    modules: &[(&[u8], u32, &[u8])],
) {
    let header = if version == 1 { 0x10 } else { 0x14 };
    put(region, at, b"$CPD");
    put32(region, at + 4, modules.len() as u32);
    put(region, at + 8, &[version, 1, header, 0]);
    put(region, at + 0xc, name);
    for (index, (name, offset, bytes)) in modules.iter().enumerate() {
        let entry = at + usize::from(header) + 0x18 * index;
        put(region, entry, &[0; 0x18]);
        put(region, entry, name);
        put32(region, entry + 0xc, *offset);
        put32(region, entry + 0x10, bytes.len() as u32);
        put(region, at + *offset as usize, bytes);
    }
    let len = usize::from(header) + 0x18 * modules.len();
    match version {
        1 => region[at + 0xb] = sum(&region[at..at + len]).wrapping_neg(),
        _ => checksum(region, at, len, at + 0x10),
    }
}

/// Writes a boot partition table of types, offsets and sizes.
pub(crate) fn bpdt(region: &mut [u8], at: usize, version: u8, entries: &[(u32, u32, u32)]) {
    put(region, at, &[0; 0x18]);
    put(region, at, &[0xaa, 0x55, 0, 0, entries.len() as u8, 0, version]);
    for (index, (kind, offset, size)) in entries.iter().enumerate() {
        let entry = at + 0x18 + 0xc * index;
        for (field, value) in [(0, *kind), (4, *offset), (8, *size)] {
            put32(region, entry + field, value);
        }
    }
    if version == 2 {
        checksum(region, at + 4, 0x14 + 0xc * entries.len(), at + 8);
    }
}

/// A signed `$MN2` manifest, version `major`.8.80.3746.
pub(crate) fn manifest(major: u16, modules: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let size = bytes.len() as u32 / 4;
    for (at, value) in [(0, 4), (4, 0xa1), (8, 0x10000), (0x10, 0x8086), (0x14, 0x2020_0729), (0x18, size)] {
        put32(&mut bytes, at, value);
    }
    put(&mut bytes, 0x1c, b"$MN2");
    put32(&mut bytes, 0x20, modules);
    for (index, part) in [major, 8, 80, 3746].into_iter().enumerate() {
        put(&mut bytes, 0x24 + 2 * index, &part.to_le_bytes());
    }
    for (at, value) in [(0x78, 0x40), (0x7c, 1), (0x180, 0x10001)] {
        put32(&mut bytes, at, value);
    }
    let modulus = BigUint::parse_bytes(MODULUS.as_bytes(), 16).unwrap();
    put(&mut bytes, 0x80, &modulus.to_bytes_le());
    let hash = Sha256::new().chain_update(&bytes[..0x80]).chain_update(&bytes[HEADER..]).finalize();
    let info = [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
    let mut message = vec![0, 1];
    message.resize(256 - 52, 0xff);
    message.push(0);
    message.extend_from_slice(&info);
    message.extend_from_slice(&hash);
    let exponent = BigUint::parse_bytes(EXPONENT.as_bytes(), 16).unwrap();
    let mut signature = BigUint::from_bytes_be(&message).modpow(&exponent, &modulus).to_bytes_le();
    signature.resize(256, 0);
    put(&mut bytes, 0x184, &signature);
    bytes
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// CRC-32 with its own field as zero.
fn checksum(region: &mut [u8], start: usize, len: usize, field: usize) {
    put32(region, field, 0);
    let crc = crc32fast::hash(&region[start..start + len]);
    put32(region, field, crc);
}

pub(crate) fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn put32(image: &mut [u8], offset: usize, value: u32) {
    put(image, offset, &value.to_le_bytes());
}

/// A key made for these fixtures alone; it protects nothing.
const MODULUS: &str = concat!(
    "e624dcceab592fcc4f9e90f8ef7950fe4f1bdb04ef5670a1a342f6ce156605f698aad3aa4b71c2fe19da52ff14d98670ffc6",
    "8b52a1fb17df262e462941188c7330ee4599609233a71c2b59045ea164a317080e7bb71cd7f2dd7d914ad1db288fe28286ce",
    "2e30185b4116a721884a072539327da2ed7bcc28936b35f05a65e101552635412db699f87499bd49a735fdf44b2a6fd87de1",
    "61b5c12918a1d6d8642e9972de629c8cf9a1ad369a4e6f1e852bbe072734503e9dcfd166b90299880dc0af5ce7be90d3bf23",
    "8c79b4990b2e7b2f4876e374919bd537c41b80ef11e1ff4f66506dc971d0e26dc0783fbeb3136f7a65a0b30163351a6aaa4b",
    "0cbaffa11d7f",
);
const EXPONENT: &str = concat!(
    "3a06d95592866e32c97065851e7c2c1bb2be873e7b4a0423fd12094074ccc07c288a09cc4a3168c4c0a7f77d313897592e64",
    "550484aad69e00f671e23cf37f961ba438102ff52ce8d9856470619bb7d0172284e4548b0537caf8ba056f5c1ea208ae7866",
    "cbe67c7da5af9c7c2becde58584f8eb5e1c2f0fada10920d03fde3f9039dc9aef9ebacbf8dffa73b20be11b1fedff8894866",
    "ba7a5d25252eea5d50eef4cca630b2a6c1790a01caa53f97da7ccbf768dedfe4808a32994c339ec1acfeb6796107463340d8",
    "92c49f8f316921d7e8a76612e94dba4c48ee83c6233e569361f703c6111ee48622fa7cde584176f5019817dc14d05028566c",
    "83a77ae7b601",
);
