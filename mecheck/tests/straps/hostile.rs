//! Images that are cut off, damaged or lie: an error or a refusal, never a panic, never another byte.

use oob_mecheck::{StrapState, inspect, set_soft_disable};
use proptest::prelude::*;

use crate::board::put32;
use crate::generated::images;

#[test]
fn truncated_at_every_length() {
    for (word, image) in images() {
        // Every length of the descriptor, and some of the rest.
        for len in (0..0x1040).chain((0x1000..image.len()).step_by(0x333)) {
            assert!(set_soft_disable(&image[..len]).is_err(), "{word} of {len:#x} bytes was changed");
            if let Ok(inspection) = inspect(&image[..len]) {
                assert_ne!(inspection.strap.state, StrapState::Set, "{word}");
            }
        }
    }
}

#[test]
fn a_descriptor_alone_is_read_and_not_written() {
    for (word, image) in images() {
        for len in [0x800, 0x1000] {
            let inspection = inspect(&image[..len]).unwrap();
            // The upper map is not needed where the older tables say enough.
            assert_eq!(inspection.descriptor.family.word(), word, "{:?}", inspection.descriptor.evidence);
            assert_eq!(inspection.strap.state, StrapState::Clear, "{word}");
            assert!(set_soft_disable(&image[..len]).is_err());
        }
    }
}

#[test]
fn regions_that_overlap_are_refused() {
    for (word, mut image) in images() {
        put32(&mut image, 0x44, 0x000f_0007); // BIOS from 7000, where ME still is
        let said = set_soft_disable(&image).unwrap_err().to_string();
        assert!(said.contains("regions bios and me overlap from 0x7000"), "{word}: {said}");
    }
}

proptest! {
    /// Whatever is damaged, what comes out differs in the located bits alone.
    #[test]
    fn nothing_but_the_located_bits_changes(
        which in 0usize..1000,
        damage in proptest::collection::vec((0usize..0x600, any::<u8>()), 0..4),
    ) {
        let images = images();
        let (_, mut image) = images[which % images.len()].clone();
        for (at, byte) in damage {
            image[at] = byte;
        }
        let Ok(inspection) = inspect(&image) else { return Ok(()) };
        let Ok(done) = set_soft_disable(&image) else { return Ok(()) };
        let mut expected = image.clone();
        for strap in &inspection.strap.straps {
            let (byte, mask) = strap.byte();
            expected[byte] |= mask;
        }
        prop_assert!(done.image == expected);
        let twice = set_soft_disable(&done.image).unwrap();
        prop_assert!(twice.changes.is_empty() && twice.image == expected);
        prop_assert_eq!(inspect(&expected).unwrap().strap.state, StrapState::Set);
    }
}
