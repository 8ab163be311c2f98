//! MHC, the manageability commands on the watchdog's MEI client: may AMT be enabled, is it, is local TLS enforced.
//!
//! Source: `reference/amt.md` 2.2 (end) and 2.3. Four bytes of framing: command 05, byte count, subcommand, version 10h.

/// The request `IsChangeToAMTEnabled`, for the client [`crate::mei_clients::WATCHDOG`].
pub const IS_CHANGE_TO_AMT_ENABLED: [u8; 4] = [0x05, 0x02, 0x51, 0x10];

/// The answer to [`IS_CHANGE_TO_AMT_ENABLED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmtSwitch {
    /// The first byte as it came.
    pub raw: u8,
    /// AMT may be switched on or off by the host.
    pub transition_allowed: bool,
    /// AMT is switched on; `None` from firmware before 16.1, which does not say.
    pub amt_enabled: Option<bool>,
    /// The local ports want TLS; `None` from firmware before 16.1.
    pub local_tls_enforced: Option<bool>,
}

/// An answer that is neither the old nor the new form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reading MHC reply: {got} bytes, expected 1 or 4")]
pub struct MhcError {
    /// Bytes received.
    pub got: usize,
}

/// The request `SetAmtOperationalState`, disabled: firmware from 16.1 on, and before provisioning only.
pub const SET_AMT_DISABLED: [u8; 5] = [0x05, 0x03, 0x53, 0x10, 0x00];

/// The same, enabled: AMT is there again at once, or after the machine's next start.
pub const SET_AMT_ENABLED: [u8; 5] = [0x05, 0x03, 0x53, 0x10, 0x01];

/// Why AMT was not switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The firmware refused: 3 in the wrong state, 0x88 not ready, 0x89 not supported.
    #[error("MHC refused with status {0:#x}")]
    Status(u32),
    /// No answer of either form.
    #[error("reading MHC reply: {got} bytes, expected 4 or 8")]
    Length {
        /// Bytes received.
        got: usize,
    },
}

/// Reads the answer to [`SET_AMT_DISABLED`] and [`SET_AMT_ENABLED`]: the status alone, or the request's header echoed and then the status.
///
/// # Errors
/// [`SwitchError::Status`] is the firmware's no; anything else leaves open what it did.
pub fn decode_set_amt_operational_state(reply: &[u8]) -> Result<(), SwitchError> {
    let ([a, b, c, d] | [_, _, _, _, a, b, c, d]) = reply else {
        return Err(SwitchError::Length { got: reply.len() });
    };
    match u32::from_le_bytes([*a, *b, *c, *d]) {
        0 => Ok(()),
        status => Err(SwitchError::Status(status)),
    }
}

/// Reads the answer: one byte of flags, or the old u32 boolean whose first byte has the same bit 0.
pub fn decode_is_change_to_amt_enabled(reply: &[u8]) -> Result<AmtSwitch, MhcError> {
    let ([raw] | [raw, _, _, _]) = reply else {
        return Err(MhcError { got: reply.len() });
    };
    let bit = |number: u8| raw >> number & 1 == 1;
    let new_interface = bit(7);
    Ok(AmtSwitch {
        raw: *raw,
        transition_allowed: bit(0),
        amt_enabled: new_interface.then(|| bit(1)),
        local_tls_enforced: new_interface.then(|| bit(6)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: if this fails, revert your change.
    #[test]
    fn switching_off_is_answered_in_two_forms() {
        assert_eq!(SET_AMT_DISABLED, [0x05, 0x03, 0x53, 0x10, 0x00]);
        assert_eq!(SET_AMT_ENABLED, [0x05, 0x03, 0x53, 0x10, 0x01]);
        let read = decode_set_amt_operational_state;
        assert_eq!(read(&[0; 4]), Ok(()));
        assert_eq!(read(&[5, 3, 0x53, 0x10, 0, 0, 0, 0]), Ok(()));
        assert_eq!(read(&[5, 3, 0x53, 0x10, 3, 0, 0, 0]), Err(SwitchError::Status(3)));
        assert_eq!(read(&[0x89, 0, 0, 0]), Err(SwitchError::Status(0x89)));
        for length in [0, 1, 3, 5, 7, 9] {
            assert_eq!(read(&vec![0; length]), Err(SwitchError::Length { got: length }));
        }
    }

    #[test]
    fn only_the_new_interface_tells_the_state() {
        let old = decode_is_change_to_amt_enabled(&[1, 0, 0, 0]).unwrap();
        assert_eq!((old.transition_allowed, old.amt_enabled, old.local_tls_enforced), (true, None, None));
        let new = decode_is_change_to_amt_enabled(&[0b1100_0010]).unwrap();
        assert_eq!(
            (new.transition_allowed, new.amt_enabled, new.local_tls_enforced),
            (false, Some(true), Some(true))
        );
        let off = decode_is_change_to_amt_enabled(&[0b1000_0001]).unwrap();
        assert_eq!(
            (off.transition_allowed, off.amt_enabled, off.local_tls_enforced),
            (true, Some(false), Some(false))
        );
        for length in [0, 2, 3, 5] {
            assert_eq!(decode_is_change_to_amt_enabled(&vec![1; length]), Err(MhcError { got: length }));
        }
    }
}
