//! The agent as a process against simulated machines as processes.

mod architecture;
mod bad_input;
mod canary;
mod crash;
mod first_command;
mod neutralize;
mod order;
mod release;
mod use_ccm;
