//! A policy file that anybody may have written; its diagnostics are rendered, which indexes into the source.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::seeds::plant;
use oob_policy::{Policy, render};

fuzz_target!(init: plant("policy_file"), |data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let (policy, diagnostics) = Policy::parse(source, "policy.toml", "00");
    assert!(policy.is_some() || !diagnostics.is_empty(), "refused without a reason");
    // Rendering takes most of the time, so each input is rendered one way.
    let colors = data.len() % 2 == 0;
    let text = render(&diagnostics, source, "policy.toml", colors);
    let control = text.chars().find(|it| it.is_control() && *it != '\n');
    assert!(colors || control.is_none(), "foreign text reaches the terminal: {text:?}");
});
