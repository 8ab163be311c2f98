//! The agent as a process against simulated machines as processes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod acm_refused;
mod architecture;
mod bad_input;
mod canary;
mod clean;
mod crash;
mod deactivate;
mod deaths;
mod enable;
mod faults;
mod first_command;
mod flash;
mod foreign;
mod honesty;
mod inspect;
#[cfg(feature = "legacy-tls")]
mod legacy_tls;
mod lockdown;
mod lockdown_whole;

mod known;
mod known_faults;
mod merged;
mod mutual;
mod neutralize;
mod neutralize_file;
mod order;
mod posture;
mod release;
mod remote;
mod rotate_tls;
mod staging;
mod strangers;
mod unfinished;
mod upgrade;
mod use_acm;
mod use_amt19;
mod use_ccm;
mod use_est;
mod use_lms;
mod use_network;
mod use_tls;
mod verify;
mod verify_file;
mod wanted;
