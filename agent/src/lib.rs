//! `oob-agent` as a library: what the program is made of, so that tests, benchmarks and fuzzers can reach it.
//!
//! `ARCHITECTURE.md` holds the map. Everything that touches a machine goes through [`machine`],
//! everything that outlives the process through [`state`], and only [`carry_out`] changes anything.

pub mod carry_out;
pub mod certificate;
pub mod cli;
pub mod commands;
pub mod detect;
pub mod enroll;
pub mod error;
pub mod escrow;
pub mod files;
pub mod firmware;
pub mod identity;

pub mod known;
pub mod leaf;
pub mod log;
pub mod machine;
pub mod named;
pub mod probe;
pub mod remote;
pub mod report;
pub mod secrets;
pub mod state;
