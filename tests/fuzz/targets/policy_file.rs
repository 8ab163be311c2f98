//! A policy file that anybody may have written; its diagnostics are rendered, which indexes into the source.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_policy::{Policy, render};

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let (policy, diagnostics) = Policy::parse(source, "policy.toml", "00");
    assert!(policy.is_some() || !diagnostics.is_empty(), "refused without a reason");
    let _ = render(&diagnostics, source, "policy.toml", data.len() % 2 == 0);
});
