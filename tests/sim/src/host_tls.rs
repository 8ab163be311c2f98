//! How firmware from 19 on is to behave, where the references leave it open or a test wants it wrong. Part of the
//! simulator's interface: each field is an option of `oob-sim machine`.

use clap::{Args, ValueEnum};

/// The options of TLS-only firmware.
#[derive(Clone, Debug, Default, Args)]
pub struct HostTls {
    /// TLS 1.2 at most (firmware from 16.1 on speaks 1.3 too).
    #[arg(long)]
    pub tls12_only: bool,
    /// From 19 on: a request over TLS 1.3 is dropped as long as the device is not provisioned, as AMT 21 does.
    #[arg(long)]
    pub tls13_drops: bool,
    /// Close each connection after one answer, without saying so, as if every WS-Man call had its own session.
    #[arg(long)]
    pub close_each: bool,
    /// From 19 on: CommitChanges is answered before the ports restart; otherwise the restart loses the answer.
    #[arg(long)]
    pub commit_answers: bool,
    /// From 19 on: until the ports are back, MEI tells the mode and state from before the commit.
    #[arg(long)]
    pub slow_commit: bool,
    /// From 19 on: a session that showed the announced certificate is the administrator's without a digest login.
    #[arg(long)]
    pub no_challenge: bool,
    /// From 19 on: which certificates of the on-die chain are sent.
    #[arg(long, value_enum, default_value_t, value_name = "SHAPE")]
    pub on_die_chain: Shape,
    /// From 19 on: the on-die leaf has no extKeyUsage.
    #[arg(long)]
    pub no_server_auth: bool,
    /// From 19 on: the answer to StartConfigurationHBased has the SHA-256 in ASCII hex.
    #[arg(long)]
    pub hash_as_text: bool,
    /// From 19 on: that answer has the hash of another certificate.
    #[arg(long)]
    pub wrong_leaf_hash: bool,
    /// From 19 on: the on-die chain ends at another root than ports.json names.
    #[arg(long)]
    pub wrong_on_die_root: bool,
    /// From 19 on: the UPID is that of another machine.
    #[arg(long)]
    pub foreign_upid: bool,
    /// From 19 on: nobody has provisioned the UPID.
    #[arg(long)]
    pub upid_unset: bool,
    /// From 19 on: there is no UPID client.
    #[arg(long)]
    pub no_upid: bool,
    /// From 19 on: begin in client control mode, set up by somebody who did not commit; the password is unknown.
    #[arg(long)]
    pub half_set_up: bool,
}

/// Which certificates of the on-die chain the firmware sends (`reference/amt.md` 4.7 knows chains of 4 and of 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Six, from the leaf to the root.
    #[default]
    #[value(name = "6")]
    Six,
    /// Six, and the root, which is the seventh, is left out.
    #[value(name = "6-rootless")]
    SixRootless,
    /// Four, up to the ROM's, which the root issued; the root is left out.
    #[value(name = "4")]
    Four,
    /// One, which signed itself, as of a device that has left pre-provisioning, or of somebody in between.
    #[value(name = "1")]
    One,
}
