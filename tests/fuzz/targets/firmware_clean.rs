//! `firmware clean` with any flags on anything: an error, or an image in which only what may change has changed, and which
//! a second cleaning leaves as it is.
#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{
    base::{case, differences},
    bound::within,
    seeds::plant,
};
use oob_mecheck::clean::{Cleaned, Options, clean};

fuzz_target!(init: plant("firmware_clean"), |data: &[u8]| {
    let Some(case) = case(data) else { return };
    let options = options(case.flags);
    let image = &case.image[..];
    let Ok(done) = within(0x8_0000 + 8 * image.len(), || clean(image, &options)) else { return };
    assert_eq!(done.changed, done.image != image);
    if done.full {
        compare(image, &done, &options);
    } else {
        assert!(done.image.len() == image.len() || options.truncate);
        assert!(done.image.len() <= image.len() + 0x5000);
    }
    let again = match clean(&done.image, &options) {
        Ok(again) => again,
        // Ignition firmware is erased as a whole, and an empty region is refused: it may as well have never been read.
        Err(error) if error.cause() == "me-region-empty" => return,
        Err(error) => panic!("{options:?}, a second time: {error}"),
    };
    assert!(!again.changed, "{options:?}, a second time: not the same");
    // -t gives the BIOS region the place of ME 1 to 5; afterwards nothing tells where that was.
    if !(options.truncate && done.generation.starts_with("generation 1")) {
        assert!(again.descriptor == done.descriptor && again.me == done.me, "{options:?}: other -D or -M");
    }
});

fn options(flags: u16) -> Options {
    let flag = |bit: u16| flags >> bit & 1 == 1;
    Options {
        soft_disable: flag(0),
        relocate: flag(1),
        truncate: flag(2),
        keep_modules: flag(3),
        lock_descriptor: flag(4),
        whitelist: flag(5).then(|| vec!["MFS".into()]),
        extract_descriptor: flag(6),
        extract_me: flag(7),
        soft_disable_only: flag(8),
        blacklist: flag(9).then(|| vec!["NFTP".into()]),
        check: flag(10),
        spare_kept: flag(11),
    }
}

/// A full dump keeps its size, and differs only in the ME region and in the descriptor.
fn compare(before: &[u8], done: &Cleaned, options: &Options) {
    let me = me_region(before).unwrap_or_default();
    let straps = options.soft_disable || options.soft_disable_only;
    for at in differences(before, &done.image) {
        let (old, new) = (before[at], done.image[at]);
        assert!(!options.check, "-c changed {at:#x}");
        if me.contains(&at) {
            assert!(!options.soft_disable_only, "-s changed {at:#x} of the ME region");
            // The table and its checksum; relocated code is written anew.
            let table = at < me.start + 0x1000;
            assert!(new == 0xff || table || options.relocate, "{at:#x} became {new:#x}");
        } else {
            assert!(
                at < 0x1000,
                "{at:#x} is neither descriptor nor ME region ({me:x?}): {old:#x} became {new:#x}"
            );
            let strap = done.straps.iter().any(|strap| (strap.offset..strap.offset + 4).contains(&at));
            let removed = done.generation.starts_with("generation 1");
            assert!(
                straps && strap || options.lock_descriptor || removed,
                "{at:#x} of the descriptor changed"
            );
        }
    }
}

/// Region 2 by the descriptor's first map, and nothing else of it: cleaning takes descriptors that are odd elsewhere.
fn me_region(image: &[u8]) -> Option<Range<usize>> {
    let word = |at: usize| image.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let map = [0x10, 0].into_iter().find(|at| word(*at) == Some(0x0ff0_a55a))? + 4;
    let region = word((word(map)? >> 12 & 0xff0) as usize + 8)? as usize;
    let (base, limit) = ((region & 0x7fff) << 12, (region >> 16 & 0x7fff) << 12 | 0xfff);
    Some(base..(limit + 1).max(base))
}
