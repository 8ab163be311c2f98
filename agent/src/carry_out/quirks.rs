//! What firmware is known to do wrong, by number, and for which releases this agent therefore behaves differently. An
//! outcome cites the numbers that were applied.

/// One defect.
pub(super) struct Quirk {
    pub(super) id: &'static str,
    /// AMT's major version from which on it is reckoned with.
    since: u32,
    /// What is done about it, for people.
    pub(super) instead: &'static str,
}

impl Quirk {
    pub(super) const fn applies_to(&self, major: u32) -> bool {
        major >= self.since
    }
}

/// AMT 21 completes a handshake of TLS 1.3 and drops the first WS-Man request of an activation; with TLS 1.2 it does not
/// (reference/crates.md 3, rpc-go#1381). Applied wherever activation goes over TLS, since the firmware's releases before
/// it are not known to be free of it and all of them speak TLS 1.2.
pub(super) const TLS_1_2_FOR_ACTIVATION: Quirk =
    Quirk { id: "Q-AMT-0001", since: 19, instead: "TLS 1.2 alone during activation" };
