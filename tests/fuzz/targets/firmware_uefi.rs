//! A BIOS region that anybody may have written: its volumes, its FIT, and what kind of file it is taken for.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = oob_mecheck::uefi::walk(data, 0);
    let _ = oob_mecheck::container::identify(data);
    let _ = oob_mecheck::fit::BootGuard::find(data);
});
