//! A BIOS region that anybody may have written: its volumes and its FIT.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{base::case, bound::within, seeds::plant};
use oob_mecheck::{fit, uefi};

fuzz_target!(init: plant("firmware_uefi"), |data: &[u8]| {
    let Some(case) = case(data) else { return };
    let image = &case.image[..];
    let budget = uefi::budget(image.len());
    let found = within(0x8_0000 + 2 * budget + 64 * image.len(), || uefi::walk(image, 0));
    assert!(found.decompressed <= budget);
    for volume in found.volumes.iter().filter(|volume| volume.place.inside.is_none()) {
        assert!(volume.place.offset + volume.length <= image.len(), "{volume:?}");
    }
    assert_eq!(uefi::first_volume(image).is_some(), !found.volumes.is_empty());
    if let Ok(Some(table)) = within(0x1_0000 + 16 * image.len(), || fit::BootGuard::find(image)) {
        assert!(table.fit < image.len());
        assert!(table.entries.iter().filter_map(|entry| entry.offset).all(|offset| offset < image.len()));
    }
});
