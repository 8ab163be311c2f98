//! Any file as a firmware image: descriptor, ME region, signatures, straps, FIT.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_mecheck::{Descriptor, MeImage};

fuzz_target!(|data: &[u8]| {
    let _ = oob_mecheck::inspect(data);
    let _ = Descriptor::parse(data);
    let _ = MeImage::parse(data);
});
