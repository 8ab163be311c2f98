//! Images of our own, in the layouts of reference/me.md 1 and 2, signed with a key that is made on the spot.

use std::sync::OnceLock;

use num_bigint::BigUint;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Where the ME region lies in a full image of ours, and how long the images are.
pub(crate) const ME_BASE: usize = 0x1000;
pub(crate) const ME_LEN: usize = 0x20000;
const FLASH: usize = 0x80000;

pub(crate) fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn put32(image: &mut [u8], at: usize, word: u32) {
    put(image, at, &word.to_le_bytes());
}

pub(crate) fn get32(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
}

#[derive(Clone, Copy)]
pub(crate) enum Pch {
    Ich9,
    CougarPoint,
    LynxPoint,
    SunrisePointLp,
    Lewisburg,
}

/// A descriptor for `pch`, `me` in region 2 behind it, and a BIOS region of AA.
pub(crate) fn full(pch: Pch, me: &[u8]) -> Vec<u8> {
    assert_eq!(me.len(), ME_LEN);
    let mut image = vec![0xaa; FLASH];
    image[..ME_BASE].fill(0xff);
    let signature = if matches!(pch, Pch::Ich9) { 0 } else { 0x10 };
    put(&mut image, signature, &[0x5a, 0xa5, 0xf0, 0x0f]);
    // ISL, NM; then ICCRIBA, MSL, FMSBA.
    let (straps, masters, map2) = match pch {
        Pch::Ich9 => (2, 2, 0x0000_0120),
        Pch::CougarPoint => (0x12, 2, 0x0021_0120),
        Pch::LynxPoint => (0x15, 2, 0x0021_0220),
        Pch::SunrisePointLp => (0x42, 2, 0x0031_0130),
        Pch::Lewisburg => (0x8b, 6, 0x0031_0030),
    };
    put32(&mut image, signature + 4, 0x0404_0003 & 0x00ff_ffff | 4 << 24);
    put32(&mut image, signature + 8, straps << 24 | 0x10 << 16 | masters << 8 | 0x08);
    put32(&mut image, signature + 0xc, map2);
    put32(&mut image, 0x30, 0x0000_0000);
    let unused = if matches!(pch, Pch::SunrisePointLp | Pch::Lewisburg) { 0x7fff } else { 0x1fff };
    for id in 3..9 {
        put32(&mut image, 0x40 + 4 * id, unused);
    }
    let region = |base: usize, end: usize| (base >> 12 | (end - 1) >> 12 << 16) as u32;
    put32(&mut image, 0x40, 0);
    put32(&mut image, 0x44, region(ME_BASE + ME_LEN, FLASH));
    put32(&mut image, 0x48, region(ME_BASE, ME_BASE + ME_LEN));
    let rights: [u32; 3] = match unused {
        0x7fff => [0x00a0_0f00, 0x0040_0d00, 0x0080_0800],
        _ => [0x0a0b_0000, 0x0c0d_0000, 0x0808_0118],
    };
    for (index, word) in rights.into_iter().enumerate() {
        put32(&mut image, 0x80 + 4 * index, word);
    }
    let hub = if matches!(pch, Pch::SunrisePointLp) { 0x300 } else { 0x200 };
    for (base, count) in [(0x100, straps as usize), (hub, 2)] {
        image[base..base + 4 * count].fill(0);
    }
    if matches!(pch, Pch::SunrisePointLp) {
        put32(&mut image, 0x100, 2);
    }
    if matches!(pch, Pch::Lewisburg) {
        put32(&mut image, 0x1d4, 0x0040_0000);
    }
    put32(&mut image, 0xefc, 0);
    put(&mut image, ME_BASE, me);
    image
}

/// Bytes that stand for user data or code: never FF, different for each seed.
pub(crate) fn filler(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at as u32).wrapping_mul(31).wrapping_add(u32::from(seed) * 7) % 251) as u8).collect()
}

/// `$FPT` at 10 with the given entries: name, offset, size, flags. Every one in flash is filled.
fn region(entries: &[(&[u8; 4], u32, u32, u32)], seed: u8) -> Vec<u8> {
    let mut region = vec![0xff; ME_LEN];
    region[..0x10].fill(0x5a);
    put(&mut region, 0x10, b"$FPT");
    put32(&mut region, 0x14, entries.len() as u32);
    put(&mut region, 0x18, &[0x20, 0x10, 0x30, 0]);
    put32(&mut region, 0x24, 0xffff_fc01);
    for (index, (name, start, len, flags)) in entries.iter().enumerate() {
        let at = 0x30 + 0x20 * index;
        region[at..at + 0x20].fill(0);
        put(&mut region, at, *name);
        put32(&mut region, at + 8, *start);
        put32(&mut region, at + 0xc, *len);
        put32(&mut region, at + 0x1c, *flags);
        if flags & 0x7f != 2 && *start != 0 {
            let len = (*len as usize).min(ME_LEN - *start as usize);
            put(&mut region, *start as usize, &filler(seed.wrapping_add(index as u8), len));
        }
    }
    region
}

/// ME 9 with a stored, a Huffman and an LZMA module of each kind; `seed` changes what is user data.
pub(crate) fn gen2(major: u16, seed: u8) -> Vec<u8> {
    let mut region = region(
        &[
            (b"PSVN", 0xbc0, 0x40, 0x783),
            (b"EFFS", 0x1000, 0x3000, 0x2704),
            (b"NVCL", u32::MAX, 0x69c9, 2),
            (b"FTPR", 0x8000, 0x8000, 0x2780),
            (b"NFTP", 0x10000, 0x8000, 0x2780),
        ],
        seed,
    );
    put(&mut region, 0x8000, &filler(99, 0x8000));
    let modules = [
        // name, load base, offset, uncompressed, size, compression
        (b"UPDATE".as_slice(), 0_u32, 0x800_u32, 0x400_u32, 0x400_u32, 0_u32),
        (b"ROMP", 0, 0xc00, 0x400, 0x400, 0),
        (b"BUP", 0x2000_0000, 0x1000, 0x2000, 0x1000, 1),
        (b"KERNEL", 0x2000_3000, 0x1000, 0x2000, 0x1000, 1),
        (b"POLICY", 0, 0x6000, 0x3000, 0x1000, 2),
    ];
    for (index, (name, base, offset, uncompressed, size, compression)) in modules.into_iter().enumerate() {
        let at = 0x8290 + 0x60 * index;
        region[at..at + 0x60].fill(0);
        put(&mut region, at, b"$MME");
        put(&mut region, at + 4, name);
        put32(&mut region, at + 0x34, base);
        put32(&mut region, at + 0x38, offset);
        put32(&mut region, at + 0x3c, uncompressed);
        put32(&mut region, at + 0x40, size);
        put32(&mut region, at + 0x50, compression << 4);
    }
    // Six chunks of 1000h bytes of memory each; the fourth is absent.
    let table = 0x9000;
    region[table..table + 0x60].fill(0);
    put(&mut region, table, b"LLUT");
    put32(&mut region, table + 4, 6);
    put32(&mut region, table + 8, 0x1000_0000);
    put32(&mut region, table + 0xc, 0x9040);
    put32(&mut region, table + 0x10, 0x3000);
    put32(&mut region, table + 0x14, 0xa000);
    put32(&mut region, table + 0x30, 0x1000);
    for (index, chunk) in
        [0x0000_a000, 0x0100_a800, 0x0200_b000, 0x8000_0000, 0xc000, 0xc800].iter().enumerate()
    {
        put32(&mut region, table + 0x40 + 4 * index, *chunk);
    }
    manifest(&mut region, 0x8000, 0x284 + 0xc + 5 * 0x60, [major, 1, 20, 1035], 5, b"$MN2");
    finish(&mut region, 0);
    region
}

/// ME 11: a directory with kept and removable modules.
pub(crate) fn gen3(major: u16, seed: u8) -> Vec<u8> {
    let mut region = region(
        &[
            (b"FTPR", 0x2000, 0x8000, 0),
            // As on real images, one partition overlaps FTPR's removable tail.
            (b"DLMP", 0x9000, 0x2000, 0),
            (b"MFS\0", 0xb000, 0x4000, 1),
            (b"NFTP", 0xf000, 0x8000, 0),
            (b"ROMB", 0, 0, 0xff00_0000),
        ],
        seed,
    );
    put(&mut region, 0x2000, &filler(99, 0x7000));
    put(&mut region, 0x2000, b"$CPD");
    put32(&mut region, 0x2004, 6);
    put(&mut region, 0x2008, &[1, 1, 0x10, 0]);
    put(&mut region, 0x200c, b"FTPR");
    for (index, (name, offset)) in [
        ("kernel", 0x1000),
        ("FTPR.man", 0xa0),
        ("bup.met", 0x800),
        ("bup", 0x2000),
        ("vfs", 0x3000),
        ("rbe", 0x900),
    ]
    .into_iter()
    .enumerate()
    {
        let at = 0x2010 + 0x18 * index;
        region[at..at + 0x18].fill(0);
        put(&mut region, at, name.as_bytes());
        put32(&mut region, at + 0xc, offset);
        put32(&mut region, at + 0x10, 0x100);
    }
    manifest(&mut region, 0x20a0, 0x284 + 0x40, [major, 8, 80, 3746], 0, b"$MN2");
    put(&mut region, 0x1a, &[0x20]);
    finish(&mut region, 0x10);
    region
}

/// ME 6 in its Ignition form: one module, and a `$SKU` extension that grants nothing.
pub(crate) fn ignition(features: u32) -> Vec<u8> {
    // The size of the last partition is left open.
    let mut region = region(&[(b"FTPR", 0x2000, 0x8000, 0x2780), (b"LAST", 0xb000, u32::MAX, 0x2780)], 1);
    let header = 0x2290;
    region[header..header + 0x100].fill(0);
    put(&mut region, header, b"$MME");
    put(&mut region, header + 4, b"BUP");
    put32(&mut region, header + 0x38, 0x1000);
    put32(&mut region, header + 0x40, 0x800);
    put(&mut region, header + 2 * 0x60, b"$SKU");
    put32(&mut region, header + 2 * 0x60 + 8, features);
    manifest(&mut region, 0x2000, 0x284 + 0xc + 0x60, [6, 0, 0, 1], 1, b"$MN2");
    finish(&mut region, 0);
    region
}

/// ME 4: a code partition with `$MAN`.
pub(crate) fn gen1() -> Vec<u8> {
    let mut region = region(&[(b"CODE", 0x2000, 0x8000, 0), (b"DATA", 0xa000, 0x4000, 0)], 1);
    manifest(&mut region, 0x2000, 0x284 + 0x40, [4, 1, 3, 1038], 0, b"$MAN");
    finish(&mut region, 0);
    region
}

/// Writes a manifest header and signs it with what follows up to `size`.
pub(crate) fn manifest(
    region: &mut [u8],
    at: usize,
    size: usize,
    version: [u16; 4],
    modules: u32,
    tag: &[u8; 4],
) {
    let (modulus, private) = key();
    region[at..at + 0x290].fill(0);
    put32(region, at, 4);
    put32(region, at + 4, 0xa1);
    put32(region, at + 8, 0x10000);
    put32(region, at + 0x10, 0x8086);
    put32(region, at + 0x18, (size / 4) as u32);
    put(region, at + 0x1c, tag);
    put32(region, at + 0x20, modules);
    for (index, part) in version.iter().enumerate() {
        put(region, at + 0x24 + 2 * index, &part.to_le_bytes());
    }
    put32(region, at + 0x78, 0x40);
    put32(region, at + 0x7c, 1);
    put(region, at + 0x80, &little_endian(modulus));
    put32(region, at + 0x180, 65537);
    let (head, body) = (&region[at..at + 0x80], &region[at + 0x284..at + size]);
    let (info, hash) = if tag == b"$MAN" {
        let hash = Sha1::new().chain_update(head).chain_update(body).finalize().to_vec();
        (&[0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14][..], hash)
    } else {
        let hash = Sha256::new().chain_update(head).chain_update(body).finalize().to_vec();
        let info = &[0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
        (&info[..], hash)
    };
    let mut message = vec![0, 1];
    message.resize(256 - 1 - info.len() - hash.len(), 0xff);
    message.push(0);
    message.extend_from_slice(info);
    message.extend_from_slice(&hash);
    let signature = BigUint::from_bytes_be(&message).modpow(private, modulus);
    put(region, at + 0x184, &little_endian(&signature));
}

/// The header's checksum over `from..30`.
fn finish(region: &mut [u8], from: usize) {
    region[0x1b] = 0;
    region[0x1b] = region[from..0x30].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
}

fn little_endian(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_le();
    bytes.resize(256, 0);
    bytes
}

/// Modulus and private exponent, the same in every run. Worth nothing: the primes follow from the lines below.
fn key() -> &'static (BigUint, BigUint) {
    static KEY: OnceLock<(BigUint, BigUint)> = OnceLock::new();
    KEY.get_or_init(|| {
        let one = BigUint::from(1u8);
        let (p, q) = (prime(b"p"), prime(b"q"));
        let private = BigUint::from(65537u32).modinv(&((&p - &one) * (&q - &one))).expect("65537 is coprime");
        (p * q, private)
    })
}

fn prime(seed: &[u8]) -> BigUint {
    let mut bytes: Vec<u8> =
        (0..4u8).flat_map(|part| Sha256::new().chain_update(seed).chain_update([part]).finalize()).collect();
    bytes[0] |= 0xc0;
    bytes[127] |= 1;
    let mut number = BigUint::from_bytes_be(&bytes);
    let (one, two, three) = (BigUint::from(1u8), BigUint::from(2u8), BigUint::from(3u8));
    let passes = |number: &BigUint, base: &BigUint| base.modpow(&(number - &one), number) == one;
    while !passes(&number, &two) || !passes(&number, &three) {
        number += &two;
    }
    number
}
