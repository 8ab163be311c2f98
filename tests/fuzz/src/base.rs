//! An input as a few changes to a sound image, so that the fuzzer spends its time on the few hundred bytes of tables and
//! headers, not on the code between them, and signed again, so that it gets behind the signatures.
//!
//! An input is: which image to start from (0: none, the rest is the image itself), flags of the target's own, whether to
//! sign, and then changes of seven bytes each.

use std::sync::OnceLock;

use crate::seeds;
use crate::sign::Key;

/// What an input turns into.
pub struct Case {
    pub image: Vec<u8>,
    /// For the target to use as it likes.
    pub flags: u16,
}

/// A sound image, and where it is worth changing.
pub(crate) struct Base {
    image: Vec<u8>,
    /// Offsets of the dwords of headers and tables.
    spots: Vec<usize>,
    /// Manifests, which are signed again.
    manifests: Vec<usize>,
    /// Firmware volumes, whose checksums are made right again.
    volumes: Vec<usize>,
}

const CHANGE: usize = 7;
const BLOCK: usize = 64;
/// Blocks with more different bytes are code, keys or signatures.
const VARIETY: usize = 40;
const TAGS: [&[u8; 4]; 14] = [
    b"$FPT",
    b"$CPD",
    b"$MN2",
    b"$MAN",
    b"$MME",
    b"LLUT",
    b"FTPR",
    b"NFTP",
    b"MFS\0",
    b"_FVH",
    b"_FIT",
    b"\xaa\x55\0\0",
    b"\x5a\xa5\xf0\x0f",
    b"\xff\xff\xff\xff",
];

/// The image of an input, at most some 600 KiB long.
pub fn case(data: &[u8]) -> Option<Case> {
    let ([choice, low, high, sign], rest) = data.split_first_chunk()?;
    let flags = u16::from_le_bytes([*low, *high]);
    let Some(choice) = usize::from(*choice).checked_sub(1) else {
        return Some(Case { image: rest.to_vec(), flags });
    };
    let bases = bases();
    let base = bases.get(choice % bases.len())?;
    let mut image = base.image.clone();
    for change in rest.chunks_exact(CHANGE) {
        base.change(&mut image, change);
    }
    if sign & 1 == 1 {
        base.manifests.iter().for_each(|at| key().sign(&mut image, *at));
        base.volumes.iter().for_each(|at| seal(&mut image, *at));
    }
    Some(Case { image, flags })
}

/// Offsets at which two images of one size differ; blocks that are equal cost next to nothing.
pub fn differences(before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len());
    let blocks =
        before.chunks(0x400).zip(after.chunks(0x400)).enumerate().filter(|(_, (old, new))| old != new);
    let bytes = |block: usize| block * 0x400..(block * 0x400 + 0x400).min(before.len());
    blocks.flat_map(|(block, _)| bytes(block)).filter(|at| before[*at] != after[*at]).collect()
}

impl Base {
    pub(crate) fn new(mut image: Vec<u8>) -> Self {
        let mut spots = Vec::new();
        let mut before = false;
        for (block, bytes) in image.chunks(BLOCK).enumerate() {
            let mut seen = [false; 256];
            bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
            let variety = seen.iter().filter(|seen| **seen).count();
            let table = (2..=VARIETY).contains(&variety);
            // The room behind a table belongs to it: it may grow.
            if table || before {
                spots.extend((0..BLOCK / 4).map(|word| block * BLOCK + word * 4));
            }
            before = table;
        }
        let all = |tag: &[u8; 4], ahead: usize| -> Vec<usize> {
            let found = image.windows(4).enumerate().filter(|(_, it)| it == tag);
            found.filter_map(|(at, _)| at.checked_sub(ahead)).collect()
        };
        let (manifests, volumes) = (all(b"$MN2", 0x1c), all(b"_FVH", 0x28));
        manifests.iter().for_each(|at| key().sign(&mut image, *at));
        Self { image, spots, manifests, volumes }
    }

    fn change(&self, image: &mut Vec<u8>, change: &[u8]) {
        let [op, low, high, a, b, c, d] = change else { return };
        let place = usize::from(u16::from_le_bytes([*low, *high]));
        let spot = |number: usize| self.spots.get(number % self.spots.len().max(1)).copied().unwrap_or(0);
        let at = spot(place) + usize::from(op >> 6);
        let word = u32::from_le_bytes([*a, *b, *c, *d]);
        let old = image.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes);
        match op & 0xf {
            0 => put(image, at, &[*a]),
            1 => put(image, at, &[*a, *b]),
            2 => put(image, at, &word.to_le_bytes()),
            3 => put(image, at, &old.wrapping_add_signed(i32::from(a.cast_signed())).to_le_bytes()),
            4 => {
                // An entry, copied over another.
                let from = spot(usize::from(u16::from_le_bytes([*a, *b])));
                let entry = image.get(from..from + usize::from(*c)).map(<[u8]>::to_vec);
                put(image, at, &entry.unwrap_or_default());
            }
            5 => put(image, at, &(u32::from(u16::from_le_bytes([*a, *b])) << 12).to_le_bytes()),
            6 => image.truncate(image.len() * place / 0xffff),
            7 => put(image, at, &vec![*a; usize::from(u16::from_le_bytes([*b, *c]))]),
            8 => put(image, at, TAGS[usize::from(*a) % TAGS.len()]),
            9 => put(image, at, &(old ^ 1 << (a & 31)).to_le_bytes()),
            // An offset or a length that leads from one table to another.
            10 => put(image, at, &(spot(usize::from(u16::from_le_bytes([*a, *b]))) as u32).to_le_bytes()),
            _ => {}
        }
    }
}

/// Every image that the seeds know, the same in every run.
pub(crate) fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| seeds::images().into_iter().map(Base::new).collect())
}

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(Key::new)
}

/// Makes the checksum of a firmware volume's header right.
fn seal(image: &mut [u8], at: usize) {
    let Some(length) = image.get(at + 0x30).copied().map(usize::from) else { return };
    let Some(header) = image.get_mut(at..at + length).filter(|header| header.len() >= 0x38) else { return };
    header[0x32..0x34].fill(0);
    let words = header.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0_u16, u16::wrapping_add).wrapping_neg();
    header[0x32..0x34].copy_from_slice(&sum.to_le_bytes());
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = image.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}
