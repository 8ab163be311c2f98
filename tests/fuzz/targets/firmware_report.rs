//! `firmware inspect` of anything: the page for people holds no control characters, and no path panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_agent::firmware::{inspect::inspect, inspection_text};
use oob_fuzz::{base::case, bound::within, seeds::plant};
use oob_mecheck::uefi::budget;

fuzz_target!(init: plant("firmware_report"), |data: &[u8]| {
    let Some(case) = case(data) else { return };
    let image = &case.image[..];
    within(0x20_0000 + 2 * budget(image.len()) + 64 * image.len(), || {
        let found = inspect(image);
        let _ = (found.exit(), found.reason());
        let text = inspection_text(&found, case.flags & 1 == 1);
        let control = text.chars().find(|it| it.is_control() && *it != '\n');
        assert_eq!(control, None, "foreign text reaches the terminal: {text:?}");
        assert!(found.json().is_object());
    });
});
