//! In what this one machine differs from others of its type: what somebody set before, what stands beside it, and
//! what its firmware was seen to do. Each is an option of `oob-sim machine`.

use clap::Args;

use crate::addresses::StaticAddress;

/// The options, all off by default.
#[derive(Args, Clone, Debug, Default)]
pub struct Habits {
    /// Refuse the first N Unprovision and PartialUnprovision with 2076: a component blocks it for now.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub blocking: u32,
    /// Somebody switched AMT off, its maker or in BIOS setup; the host may switch it on over MHC from 16.1 on.
    #[arg(long)]
    pub amt_disabled: bool,
    /// Switched off, AMT has no PTHI and no LME client either, as without AMT; switched on, it has them at the next start.
    #[arg(long, requires = "amt_disabled")]
    pub amt_hidden: bool,
    /// Switched on, AMT stays off until this machine is started again in the same directory.
    #[arg(long, requires = "amt_disabled")]
    pub enable_needs_reboot: bool,
    /// BIOS setup keeps the switch of MHC to itself: the host may not switch AMT on or off.
    #[arg(long)]
    pub switch_locked: bool,
    /// DHCP takes four times as long to answer once AMT was switched on.
    #[arg(long, requires = "amt_disabled")]
    pub slow_lease: bool,
    /// LMS runs on the machine: it serves `lms:16992` and `lms:16993` of ports.json, and holds the LME client (EBUSY).
    #[arg(long)]
    pub lms: bool,
    /// LMS runs and is restarting: its first N connections are closed at once.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub lms_restarting: u32,
    /// The wired port has this static address and not DHCP: A.B.C.D/LENGTH,GATEWAY[,DNS].
    #[arg(long, value_name = "ADDRESS")]
    pub static_address: Option<StaticAddress>,
    /// With a static address: IpSyncEnabled.
    #[arg(long, requires = "static_address")]
    pub ip_sync: bool,
    /// With a static address: SharedStaticIp.
    #[arg(long, requires = "static_address")]
    pub shared_static: bool,
    /// A Put of AMT_GeneralSettings or AMT_TLSSettingData loses the static address.
    #[arg(long, requires = "static_address")]
    pub loses_address: bool,
    /// The machine has a Wi-Fi radio that AMT can use, beside its wired port.
    #[arg(long)]
    pub wifi: bool,
    /// TLS goes on with its certificate until the credential context, changed and committed already, is put once more.
    #[arg(long)]
    pub served_stale: bool,
    /// The actions of methods' answers end in `Response`: recorded of some firmware and not of other.
    #[arg(long)]
    pub response_suffix: bool,
}

impl Habits {
    /// Whether switching AMT on takes effect at the next start only.
    #[must_use]
    pub fn starts_anew(&self) -> bool {
        self.enable_needs_reboot || self.amt_hidden
    }

    /// Whether LMS runs on the machine, restarting or not.
    #[must_use]
    pub fn has_lms(&self) -> bool {
        self.lms || self.lms_restarting > 0
    }
}
