//! Flash images made from a few numbers, in the layouts of reference/me.md.

use oob_mecheck::{StrapChange, StrapsSet, set_soft_disable};

/// A descriptor by its map and straps, in an image of 64 KiB: ME from 4000 on, BIOS from 8000 on.
#[derive(Clone, Copy)]
pub(crate) struct Board {
    pub(crate) signature: usize,
    pub(crate) flmap: [u32; 3],
    pub(crate) flumap1: u32,
    /// PCH strap dwords that are not zero.
    pub(crate) straps: &'static [(usize, u32)],
}

/// How an ME image leads to its manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `CODE`, `$MAN`.
    One,
    /// `FTPR`, `$MN2`.
    Two,
    /// `FTPR`, `$CPD`, `$MN2`.
    Three,
    /// CSE layout table, BPDT, `$CPD`, `$MN2`.
    Ifwi,
}

pub(crate) const ME_BASE: usize = 0x4000;

impl Board {
    pub(crate) fn image(&self, me: &[u8]) -> Vec<u8> {
        let mut image = vec![0xff; 0x1_0000];
        image[..0x1000].copy_from_slice(&self.descriptor());
        image[ME_BASE..ME_BASE + me.len()].copy_from_slice(me);
        image
    }

    pub(crate) fn descriptor(&self) -> Vec<u8> {
        let mut image = vec![0xff; 0x1000];
        put(&mut image, self.signature, &[0x5a, 0xa5, 0xf0, 0x0f]);
        for (index, map) in self.flmap.into_iter().enumerate() {
            put32(&mut image, self.signature + 4 + 4 * index, map);
        }
        let field = |index: usize, shift: u32| (self.flmap[index] >> shift & 0xff) as usize * 16;
        let (components, regions, masters) = (field(0, 0), field(0, 16), field(1, 0));
        let (straps, count) = (field(1, 16), (self.flmap[1] >> 24) as usize);
        let unused = if masters == 0x60 { 0x0000_1fff } else { 0x0000_7fff };
        for region in 3..5 {
            put32(&mut image, regions + 4 * region, unused);
        }
        put32(&mut image, regions, 0x0000_0000);
        put32(&mut image, regions + 4, 0x000f_0008);
        put32(&mut image, regions + 8, 0x0007_0004);
        put32(&mut image, components, 0x0000_0000);
        put32(&mut image, masters, if masters == 0x60 { 0x0a0b_0000 } else { 0x00a0_0f00 });
        image[straps..straps + 4 * count].fill(0);
        for (dword, value) in self.straps {
            put32(&mut image, straps + 4 * dword, *value);
        }
        if self.signature == 0 {
            put32(&mut image, field(2, 0), 0x0000_0006); // MCHSTRP0
        }
        put32(&mut image, 0xefc, self.flumap1);
        image
    }

    pub(crate) fn with_strap(&self, dword: usize, value: u32, me: &[u8]) -> Vec<u8> {
        let mut image = self.image(me);
        let base = (self.flmap[1] >> 16 & 0xff) as usize * 16;
        put32(&mut image, base + 4 * dword, value);
        image
    }
}

/// An ME region of 12 KiB.
pub(crate) fn me(layout: Layout, major: u16, minor: u16) -> Vec<u8> {
    let mut region = vec![0xff; 0x3000];
    let partition = match layout {
        Layout::One | Layout::Two | Layout::Three => {
            put(&mut region, 0x10, b"$FPT");
            put32(&mut region, 0x14, 1);
            put(&mut region, 0x18, &[0x20, 0x10, 0x30, 0]);
            put(&mut region, 0x30, if layout == Layout::One { b"CODE" } else { b"FTPR" });
            put32(&mut region, 0x38, 0x400);
            put32(&mut region, 0x3c, 0x1000);
            put32(&mut region, 0x4c, 0);
            0x400
        }
        Layout::Ifwi => {
            // IFWI 1.7 from ME 15 on: the table's own size comes first.
            let pairs = if major >= 15 {
                put32(&mut region, 0x10, 0x40);
                0x18
            } else {
                0x10
            };
            region[pairs..pairs + 0x30].fill(0);
            // The data partition: a table without entries.
            put32(&mut region, pairs, 0x200);
            put32(&mut region, pairs + 4, 0x100);
            region[0x200..0x220].fill(0);
            put(&mut region, 0x200, b"$FPT");
            put(&mut region, 0x208, &[0x20, 0x10, 0x20, 0]);
            put32(&mut region, pairs + 8, 0x400);
            put32(&mut region, pairs + 12, 0x1000);
            region[0x400..0x418].fill(0);
            put32(&mut region, 0x400, 0x0000_55aa);
            put32(&mut region, 0x404, if major >= 15 { 0x0002_0001 } else { 0x0001_0001 });
            put32(&mut region, 0x418, 2);
            put32(&mut region, 0x41c, 0x100);
            put32(&mut region, 0x420, 0x800);
            0x500
        }
    };
    let manifest = match layout {
        Layout::One | Layout::Two => partition,
        Layout::Three | Layout::Ifwi => {
            let header = if layout == Layout::Ifwi && major >= 15 { 0x14 } else { 0x10 };
            put(&mut region, partition, b"$CPD");
            put32(&mut region, partition + 4, 1);
            put(&mut region, partition + 8, &[if header == 0x14 { 2 } else { 1 }, 1, header as u8, 0]);
            put(&mut region, partition + 12, b"FTPR");
            let entry = partition + header;
            put(&mut region, entry, b"FTPR.man\0\0\0\0");
            put32(&mut region, entry + 12, 0x58);
            put32(&mut region, entry + 16, 0x284);
            put32(&mut region, entry + 20, 0);
            partition + 0x58
        }
    };
    region[manifest..manifest + 0x284].fill(0);
    put32(&mut region, manifest, 4);
    put32(&mut region, manifest + 4, 0xa1);
    put32(&mut region, manifest + 8, 0x1_0000);
    put32(&mut region, manifest + 0x10, 0x8086);
    put32(&mut region, manifest + 0x14, 0x2020_0101);
    put32(&mut region, manifest + 0x18, 0xa1);
    put(&mut region, manifest + 0x1c, if layout == Layout::One { b"$MAN" } else { b"$MN2" });
    for (index, part) in [major, minor, 80, 3746].into_iter().enumerate() {
        put(&mut region, manifest + 0x24 + 2 * index, &part.to_le_bytes());
    }
    put32(&mut region, manifest + 0x78, 0x40);
    put32(&mut region, manifest + 0x7c, 1);
    region
}

/// Sets the strap and checks all that holds for any image: the bytes that differ are the changes, one bit in each, and
/// a second run changes nothing. Gives the differing byte offsets and their masks.
pub(crate) fn set_and_check(image: &[u8]) -> Vec<(usize, u8)> {
    let done = set_soft_disable(image).unwrap();
    assert_eq!(done.image.len(), image.len());
    let mut differing = Vec::new();
    for (page, (old, new)) in image.chunks(0x1000).zip(done.image.chunks(0x1000)).enumerate() {
        if old != new {
            let bytes = old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new);
            differing.extend(bytes.map(|(at, (old, new))| (page * 0x1000 + at, old ^ new)));
        }
    }
    let mut replayed = image.to_vec();
    for StrapChange { offset, old, new, .. } in &done.changes {
        assert_eq!(&replayed[*offset..offset + old.len()], &old[..]);
        put(&mut replayed, *offset, new);
    }
    assert!(replayed == done.image, "the changes do not tell the whole difference");
    assert!(differing.iter().all(|(_, mask)| mask.count_ones() == 1), "{differing:x?}");
    let twice: StrapsSet = set_soft_disable(&done.image).unwrap();
    assert!(twice.image == done.image && twice.changes.is_empty(), "a second run is not the same");
    differing
}

pub(crate) fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn put32(image: &mut [u8], offset: usize, value: u32) {
    put(image, offset, &value.to_le_bytes());
}
