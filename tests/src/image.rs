//! Flash images made from a few numbers (reference/me.md 1.1, 2.1 to 2.3): a Sunrise Point-LP descriptor, 12 KiB of
//! ME region with one signed FTPR partition, 16 KiB of BIOS region. Written here again, away from the product's own
//! fixtures; the signing key was made for these images and guards nothing.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// Modulus and private exponent, big-endian hex; the public exponent is 65537.
const MODULUS: &str = concat!(
    "c9e26272251d2055a98e63c43a073f1a694060841996e503ded336a2dc7256469d1708c1fca7ab2ddb8930c98de84b75",
    "cf74829dbbabcec36fca8b3c6692fdc530704180b7763914fb876dcbd12c96b0149ae45102a409be73836a0872b1c196",
    "10b1e8b3b52762941da792ff9d11395418031c247e9f3eddd614826fe7193e8fbb5734492154fbbf7ddc940a507cc14c",
    "5ec536d6af52bc0bef95f0d9daafe6ca2c70d762e774e4a4a0697774bbdd6d84fd92faea3973e0fdfd2a96d8d9a0cc59",
    "16aee7a61942d4193b5a33915731cef5fe740a560feb69b000ad840845a4970f6366698b600d9ffdf2833982f5dc20d5",
    "589997288f417049619ab38e4b399d63",
);
const PRIVATE: &str = concat!(
    "14cb0a54b359e2a0b00c085e8793837e56e4d88c028eb61bc5f17f291b0773b7662a9f2e4bb5813e01e4896fd8fbd9f9",
    "d25a2fb1cb4890cd34506a32d865bf5975f9b9e565fff9351e0afed6053f506de65165beaa44f6f3f4b5ce4ffc702e7e",
    "244e0ea7a3bae0be5ca78bce640108248f2c92d3776f336c69c64700fb8e7010f2ce3bd332d1dd93821914f0a07d04a0",
    "f9602bc011e9280d3ebb406a2d558e7ddeec4eedec113ca6ff7c0899696042e9cb652a88479fa678d880d542df81c978",
    "0c384d1554809e8b125871360fcb8a97047b84bd226359a7c95d7260d8d36d86a4cb114491efdddef29b4c262476bb80",
    "4f491e92decaf048edfe310e876d5d01",
);
/// Where FTPR's manifest lies in the image, and the bytes of its header and of all of it.
pub const MANIFEST: usize = 0x1458;
const HEADER: usize = 0x284;
const SIZE: usize = 0x2a4;

/// `strap0` is PCHSTRP0; `me` is major, minor, hotfix, build.
pub fn sunrise(strap0: u32, me: [u16; 4]) -> Vec<u8> {
    let mut image = vec![0xff; 0x8000];
    let mut put = |offset: usize, bytes: &[u8]| image[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0x10, &[0x5a, 0xa5, 0xf0, 0x0f]);
    put(0x14, &0x0004_0003_u32.to_le_bytes());
    put(0x18, &0x4210_0208_u32.to_le_bytes());
    put(0x1c, &0x0031_0000_u32.to_le_bytes());
    for unused in 0..16 {
        put(0x40 + 4 * unused, &0x0000_7fff_u32.to_le_bytes());
    }
    put(0x40, &[0; 4]);
    put(0x44, &0x0007_0004_u32.to_le_bytes());
    put(0x48, &0x0003_0001_u32.to_le_bytes());
    put(0x100, &strap0.to_le_bytes());
    put(0xefc, &[0; 4]);
    // Two partitions: FTPR, which stays, and NFTP, which holds code that cleaning removes.
    put(0x1010, b"$FPT\x02\0\0\0\x20\x10\x20\0");
    put(0x101c, &[0; 0x14]);
    for (entry, name, offset, size) in
        [(0x1030, b"FTPR", 0x400_u32, 0x800_u32), (0x1050, b"NFTP", 0x1000, 0x400)]
    {
        put(entry, &[0; 0x20]);
        put(entry, name);
        put(entry + 8, &offset.to_le_bytes());
        put(entry + 12, &size.to_le_bytes());
    }
    put(0x2000, &[0x5a; 0x400]);
    put(0x1400, b"$CPD\x01\0\0\0\x01\x01\x10\0FTPRFTPR.man\0\0\0\0");
    put(0x141c, &0x58_u32.to_le_bytes());
    put(0x1420, &(SIZE as u32).to_le_bytes());
    put(0x1424, &[0; 4]);
    put(MANIFEST, &manifest(me));
    // The header of the partition table and the whole of a directory add up to 0.
    for (start, len) in [(0x1010, 0x20), (0x1400, 0x28)] {
        let sum = image[start..start + len].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        image[start + 0xb] = sum.wrapping_neg();
    }
    image
}

/// A manifest signed as Intel's are (reference/me.md 2.3): RSA-2048, PKCS#1 v1.5, SHA-256, everything low byte first.
fn manifest(me: [u16; 4]) -> Vec<u8> {
    let number = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).expect("a constant of this file");
    let mut bytes = vec![0; SIZE];
    let mut put = |offset: usize, part: &[u8]| bytes[offset..offset + part.len()].copy_from_slice(part);
    put(4, &(HEADER as u32 / 4).to_le_bytes());
    put(8, &0x10000_u32.to_le_bytes());
    put(0x10, &0x8086_u32.to_le_bytes());
    put(0x14, &0x2020_0729_u32.to_le_bytes());
    put(0x18, &(SIZE as u32 / 4).to_le_bytes());
    put(0x1c, b"$MN2");
    for (index, part) in me.into_iter().enumerate() {
        put(0x24 + 2 * index, &part.to_le_bytes());
    }
    put(0x78, &0x40_u32.to_le_bytes());
    put(0x7c, &1_u32.to_le_bytes());
    put(0x80, &number(MODULUS).to_bytes_le());
    put(0x180, &65537_u32.to_le_bytes());
    let signed = [&bytes[..0x80], &bytes[HEADER..]].concat();
    let info = [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
    let tail = [&[0][..], &info, &Sha256::digest(signed)].concat();
    let mut padded = vec![0xff; 256 - tail.len()];
    padded[..2].copy_from_slice(&[0, 1]);
    padded.extend(tail);
    let signature = BigUint::from_bytes_be(&padded).modpow(&number(PRIVATE), &number(MODULUS)).to_bytes_le();
    bytes[0x184..0x184 + signature.len()].copy_from_slice(&signature);
    bytes
}
