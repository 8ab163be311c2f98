//! Flash images made from a few numbers (reference/me.md 1.1, 2.1 to 2.3): a Sunrise Point-LP descriptor, 12 KiB of
//! ME region with one FTPR manifest, 16 KiB of BIOS region. Written here again, away from the product's own fixtures.

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
    put(0x1010, b"$FPT\x01\0\0\0");
    put(0x1030, b"FTPR");
    put(0x1038, &0x400_u32.to_le_bytes());
    put(0x103c, &0x800_u32.to_le_bytes());
    put(0x1400, b"$CPD\x01\0\0\0\x01\x01\x10\0FTPRFTPR.man\0\0\0\0");
    put(0x141c, &0x58_u32.to_le_bytes());
    put(0x1474, b"$MN2");
    for (index, part) in me.into_iter().enumerate() {
        put(0x147c + 2 * index, &part.to_le_bytes());
    }
    image
}
