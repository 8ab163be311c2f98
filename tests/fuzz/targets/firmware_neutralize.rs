//! A neutralized image differs only where the gates allow it, and neutralizing it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_mecheck::neutralize::{Method, Options, neutralize};

fuzz_target!(|data: &[u8]| {
    let Some((flags, image)) = data.split_first() else { return };
    let method = if flags & 1 == 0 { Method::SoftDisable } else { Method::CleanAndSoftDisable };
    let options = Options { method, keep: None };
    let Ok(done) = neutralize(image, &options) else { return };
    assert_eq!(done.image.len(), image.len());
    let again = neutralize(&done.image, &options).expect("what was made is fit to be read");
    assert!(again.changes.is_empty(), "a second run changed {:?}", again.changes);
});
