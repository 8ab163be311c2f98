//! Any file as a firmware image: what kind of file, descriptor, ME region, signatures, straps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{base::case, bound::within, seeds::plant};
use oob_mecheck::{Descriptor, MeImage, SoftDisable, container, gates, inspect};

fuzz_target!(init: plant("firmware_inspect"), |data: &[u8]| {
    let Some(case) = case(data) else { return };
    let image = &case.image[..];
    within(0x4_0000 + 16 * image.len(), || {
        let kind = container::identify(image);
        assert!(!kind.what.contains(char::is_control), "{kind:?}");
        if let Ok(found) = inspect(image) {
            let again = Descriptor::parse(image).expect("it was parsed before");
            assert_eq!(again.regions, found.descriptor.regions);
            if let SoftDisable::Possible { straps } | SoftDisable::AlreadySet { straps } = &found.soft_disable {
                assert!(straps.iter().all(|strap| strap.offset + 4 <= 0x1000 && strap.bit < 32));
            }
            if let Ok(me) = &found.me {
                check(me, image.len());
            }
            if let Some(region) = found.descriptor.region("me") {
                let _ = gates::partition_table(image, (region.base, region.limit + 1));
            }
        }
        if let Ok(me) = MeImage::parse(image) {
            check(&me, image.len());
        }
    });
});

/// What is said to be there lies in the image.
fn check(me: &MeImage, size: usize) {
    assert!(me.manifest_offset < size);
    for signed in me.manifests.iter().filter(|signed| signed.verdict.is_valid()) {
        let manifest = signed.manifest.as_ref().expect("only what was read can be valid");
        assert!(manifest.offset + manifest.size <= size);
    }
}
