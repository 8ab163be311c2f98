//! Firmware images in the layouts of reference/me.md, every generation and every family of chipsets.

use crate::board::{Board, Layout, me};
use crate::images::{Pch, full, gen1, gen2, gen3, ignition};
use crate::uefi_fixture::{
    DRIVER, FFS2, FFS3, LZMA, VOLUME_IMAGE, compress, file, guided, join, large_file, large_section, name,
    pe32, section, some, te, version, volume,
};
use crate::{fixture, generated};

/// Images to start from: dumps, ME regions alone, BIOS regions.
pub(crate) fn images() -> Vec<Vec<u8>> {
    // Small ME regions of every layout, alone and in a dump.
    let regions = [
        fixture::me4(),
        fixture::me8(8, 0x60),
        fixture::me8(7, 0x80),
        fixture::me11(11),
        fixture::me14(),
        fixture::me16(),
    ];
    let mut images = vec![fixture::sunrise(2, 11)];
    images.extend(regions.iter().map(|region| dump(region)));
    images.extend(regions);
    images.extend(generated::images().into_iter().map(|(_, image)| image));
    // What cleaning is tested with.
    images.extend([
        full(Pch::CougarPoint, &gen2(8, 3)),
        full(Pch::LynxPoint, &gen2(9, 3)),
        full(Pch::SunrisePointLp, &gen3(11, 3)),
        full(Pch::Lewisburg, &gen3(11, 3)),
        full(Pch::Ich9, &gen1()),
        full(Pch::CougarPoint, &ignition(0)),
        gen2(9, 3),
        gen3(11, 3),
    ]);
    images.extend([volumes(), guarded()]);
    images
}

/// An ME region in a dump of a chipset that it may belong to, at most 40 KiB of it.
fn dump(region: &[u8]) -> Vec<u8> {
    let board = Board {
        signature: 0x10,
        flmap: [0x0004_0003, 0x4210_0208, 0x0031_0330],
        flumap1: 0x8df,
        straps: &[(0, 2)],
    };
    let mut image = board.image(&me(Layout::Three, 11, 8));
    image[0x4000..].fill(0xff);
    image[0x4000..0x4000 + region.len()].copy_from_slice(region);
    // The region map: what is behind the ME region is BIOS, in the largest case nothing.
    let end = (0x4000 + region.len()).div_ceil(0x1000);
    image[0x48..0x4c].copy_from_slice(&((end as u32 - 1) << 16 | 4).to_le_bytes());
    image[0x44..0x48].copy_from_slice(&(0xf_u32 << 16 | end as u32).to_le_bytes());
    image
}

/// Volumes in volumes, behind compression, with every kind of module.
pub(super) fn volumes() -> Vec<u8> {
    let driver = |number: u32, called: &str| {
        file(some(number), DRIVER, &[section(0x10, &pe32(0x8664, 11, None)), name(called)])
    };
    let mebx = [large_section(0x10, &pe32(0x8664, 12, Some("C:\\b\\AMT\\Mebx.pdb")))];
    let inner = volume(FFS3, &[large_file(some(2), DRIVER, &mebx), driver(3, "AmtWrapperDxe")]);
    let image = join(&[section(0x19, &[1, 2, 3]), section(0x17, &inner)]);
    let stored = [&[0; 4][..], &[0], &image].concat();
    let files = [
        driver(1, "FAMTest"),
        file(some(4), VOLUME_IMAGE, &[guided(LZMA, 1, &compress(&image))]),
        file(some(5), 6, &[section(0x12, &te(0x14c, 11, "/b/PeiCore.dll")), version("1.2")]),
        file(some(6), VOLUME_IMAGE, &[section(0x17, &inner)]),
        file(some(7), VOLUME_IMAGE, &[section(1, &stored), section(3, &join(&[name("x")]))]),
    ];
    [vec![0xff; 0x1000], volume(FFS2, &files), volume(FFS2, &[driver(6, "Second")])].concat()
}

/// A BIOS region whose firmware interface table names what Boot Guard needs.
fn guarded() -> Vec<u8> {
    let mut image = vec![0xff; 0x1_0000];
    let address = |offset: usize| (0x1_0000_0000_u64 - 0x1_0000 + offset as u64).to_le_bytes();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0xffc0, &address(0x8000));
    put(0x8000, b"_FIT_   \x05\0\0\0\0\x01\0\0");
    for (index, (kind, offset)) in
        [(1, 0x1000), (2, 0x2000), (0xb, 0x3000), (0xc, 0x3800)].into_iter().enumerate()
    {
        let at = 0x8010 + 0x10 * index;
        put(at, &address(offset));
        put(at + 8, &[0, 0, 0, 0, 0, 1, kind, 0]);
    }
    put(0x2000, &[0; 0x80]);
    for (at, word) in [(0, 2_u32), (4, 0xa1), (0x10, 0x8086), (0x14, 0x2020_0729), (0x18, 0x200)] {
        put(0x2000 + at, &word.to_le_bytes());
    }
    put(0x3000, b"__KEYM__");
    put(0x3800, b"__ACBP__");
    image
}
