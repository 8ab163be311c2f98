//! A neutralized image differs only where the gates allow it, and neutralizing it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{
    base::{case, differences},
    bound::within,
    seeds::plant,
};
use oob_mecheck::neutralize::{Method, Options, neutralize};
use oob_mecheck::set_soft_disable;

fuzz_target!(init: plant("firmware_neutralize"), |data: &[u8]| {
    let Some(case) = case(data) else { return };
    let image = &case.image[..];
    let method = if case.flags & 1 == 0 { Method::SoftDisable } else { Method::CleanAndSoftDisable };
    let keep = (case.flags & 2 != 0).then(|| vec!["MFS".into(), "NFTP".into()]);
    let options = Options { method, keep };
    // The strap alone asks for no signature, so it stands more images than the method does.
    if let Ok(done) = within(0x4_0000 + 16 * image.len(), || set_soft_disable(image)) {
        only_bits_were_set(image, &done.image);
        let again = set_soft_disable(&done.image).expect("it was set before");
        assert!(again.changes.is_empty() && again.image == done.image);
    }
    let Ok(done) = within(0x8_0000 + 24 * image.len(), || neutralize(image, &options)) else { return };
    assert_eq!(done.image.len(), image.len());
    assert!(done.signatures.iter().all(|verdict| verdict.is_valid()));
    assert_eq!(done.changes.is_empty(), done.image == image);
    let me = done.before.descriptor.region("me").expect("what was neutralized");
    let mut outside = image.to_vec();
    outside[me.base..=me.limit].copy_from_slice(&done.image[me.base..=me.limit]);
    only_bits_were_set(&outside, &done.image);
    if method == Method::SoftDisable {
        only_bits_were_set(image, &done.image);
    }
    let again = neutralize(&done.image, &options).expect("what was made is fit to be read");
    assert!(again.changes.is_empty(), "a second run changed {:?}", again.changes);
});

/// At most two bits of the descriptor, from 0 to 1.
fn only_bits_were_set(before: &[u8], after: &[u8]) {
    let changed = differences(before, after);
    assert!(changed.len() <= 2 && changed.iter().all(|at| *at < 0x1000), "{changed:x?} changed");
    for at in changed {
        let bits = before[at] ^ after[at];
        assert!(
            bits.is_power_of_two() && after[at] & bits != 0,
            "{at:#x}: {:#x} became {:#x}",
            before[at],
            after[at]
        );
    }
}
