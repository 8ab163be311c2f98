//! A manifest and its signature: where it is valid, a change to any signed bit makes it invalid.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{bound::within, seeds::plant};
use oob_mecheck::manifest::Manifest;

fuzz_target!(init: plant("firmware_manifest"), |data: &[u8]| {
    let Some((choice, image)) = data.split_first_chunk::<4>() else { return };
    let [low, high, bit, offset] = choice.map(usize::from);
    let Ok(manifest) = within(0x2000, || Manifest::parse(image, offset & 3)) else { return };
    let verdict = within(0x1_0000 + 8 * image.len(), || manifest.verify(image));
    assert!(!verdict.to_string().is_empty());
    if !verdict.is_valid() {
        return;
    }
    // Head and body are signed; key and signature between them are not.
    let place = (low | high << 8) % manifest.size;
    if (0x80..manifest.header_len).contains(&place) {
        return;
    }
    let mut changed = image.to_vec();
    changed[manifest.offset + place] ^= 1 << (bit & 7);
    let now = Manifest::parse(&changed, manifest.offset).map(|it| it.verify(&changed));
    assert!(!now.is_ok_and(|it| it.is_valid()), "bit {bit} of byte {place:#x} is not covered");
});
