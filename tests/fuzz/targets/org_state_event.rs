//! A file that lies in org state under an event's name: a DSSE envelope by anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_agent::state::SignedEvent;

fuzz_target!(|data: &[u8]| {
    let _ = SignedEvent::open(data);
});
