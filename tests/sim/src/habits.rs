//! In what this one machine differs from others of its type: what somebody set before, what stands beside it, and
//! what its firmware was seen to do. Each is an option of `oob-sim machine`.

use clap::Args;

/// The options, all off by default.
#[derive(Args, Clone, Debug, Default)]
pub struct Habits {
    /// Refuse the first N Unprovision and PartialUnprovision with 2076: a component blocks it for now.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub blocking: u32,
    /// The actions of methods' answers end in `Response`: recorded of some firmware and not of other.
    #[arg(long)]
    pub response_suffix: bool,
}
