//! The run-once agent: what it may look at, what it found, what it does about it.

pub mod detect;
pub mod identity;
pub mod machine;
