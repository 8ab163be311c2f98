//! The agent as a process against simulated machines as processes.

mod architecture;
