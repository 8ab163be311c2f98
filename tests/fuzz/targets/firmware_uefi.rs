//! A BIOS region that anybody may have written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = oob_mecheck::uefi::walk(data);
});
