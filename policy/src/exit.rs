//! The exit codes, stable (DESIGN section 6). Causes go into `reason`, not into more codes.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// The machine is as policy asks.
    Satisfied,
    /// Wrong command line.
    Usage,
    /// The policy was refused: missing, malformed, ambiguous, unsigned, expired, rolled back.
    PolicyRefused,
    /// Escrow would not be durable, or `--out` is not writable; the device is untouched.
    EscrowNotDurable,
    /// The device or image refused or failed; it is unchanged or rolled back.
    DeviceFailed,
    /// The device's state could not be determined; escrow holds the candidates.
    Indeterminate,
    /// Done, but a required sink has not taken the record yet.
    Undelivered,
    /// Policy asks what this hardware, image or build cannot do.
    Impossible,
    /// Drift from what org state claims.
    Drift,
    /// Done; a reboot, power cycle or flashing is needed.
    Pending,
    /// A defect of the agent.
    Internal,
}

impl Exit {
    /// Where several apply, the first of this order wins.
    const ORDER: [Self; 11] = [
        Self::Internal,
        Self::Usage,
        Self::PolicyRefused,
        Self::EscrowNotDurable,
        Self::Indeterminate,
        Self::DeviceFailed,
        Self::Impossible,
        Self::Undelivered,
        Self::Pending,
        Self::Drift,
        Self::Satisfied,
    ];

    pub const fn code(self) -> u8 {
        match self {
            Self::Satisfied => 0,
            Self::Usage => 2,
            Self::PolicyRefused => 3,
            Self::EscrowNotDurable => 4,
            Self::DeviceFailed => 5,
            Self::Indeterminate => 6,
            Self::Undelivered => 7,
            Self::Impossible => 8,
            Self::Drift => 9,
            Self::Pending => 10,
            Self::Internal => 70,
        }
    }

    /// The one that wins among `exits`; nothing to report is [`Exit::Satisfied`].
    pub fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: Self| Self::ORDER.iter().position(|known| *known == exit).unwrap_or(0);
        exits.into_iter().min_by_key(|exit| rank(*exit)).unwrap_or(Self::Satisfied)
    }
}
