//! A policy file that anybody may have written; its diagnostics are rendered, which indexes into the source.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::seeds::plant;
use oob_policy::{Policy, render};

fuzz_target!(init: plant("policy_file"), |data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let (policy, diagnostics) = Policy::parse(source, "policy.toml", "00");
    assert!(policy.is_some() || !diagnostics.is_empty(), "refused without a reason");
    let plain = render(&diagnostics, source, "policy.toml", false);
    let control = plain.chars().find(|it| it.is_control() && *it != '\n');
    assert_eq!(control, None, "foreign text reaches the terminal: {plain:?}");
    let _ = render(&diagnostics, source, "policy.toml", true);
});
