//! UPID, the platform's own id, on its MEI client ([`crate::mei_clients::UPID`]): which die this is, told without TLS.
//!
//! Source: `reference/amt.md` 2.5 (end) and 4.7. Four bytes of framing, little-endian: u8 feature, u8 command, u16 length.

use crate::bytes::{Cursor, Truncated};

/// The request for the platform's id.
pub const GET_PLATFORM_ID: [u8; 4] = [0, 5, 0, 0];

/// The platform's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformId {
    /// The hardware's serial; its first 20 bytes are those of the SHA-256 of the on-die ROM certificate.
    pub hardware: [u8; 32],
}

/// Why there is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpidError {
    /// The firmware refused.
    #[error("the firmware's UPID client answered status {0}")]
    Status(u32),
    /// The answer is to something else.
    #[error("reading UPID reply: feature {feature}, command {command}, expected 0 and 5")]
    Other {
        /// Feature found.
        feature: u8,
        /// Command found.
        command: u8,
    },
    /// No answer of any form.
    #[error("reading UPID reply: {got} bytes, at least 8 expected")]
    Short {
        /// Bytes received.
        got: usize,
    },
}

/// Reads the answer to [`GET_PLATFORM_ID`]. None: the firmware has none, which it says with success and nothing more.
///
/// # Errors
/// [`UpidError`]
pub fn decode_platform_id(reply: &[u8]) -> Result<Option<PlatformId>, UpidError> {
    let short = |_: Truncated| UpidError::Short { got: reply.len() };
    let mut cursor = Cursor::new(reply);
    let (feature, command) = (cursor.u8().map_err(short)?, cursor.u8().map_err(short)?);
    if (feature, command) != (0, 5) {
        return Err(UpidError::Other { feature, command });
    }
    cursor.take(2).map_err(short)?;
    let status = cursor.u32_le().map_err(short)?;
    if status != 0 {
        return Err(UpidError::Status(status));
    }
    // Type of the maker's id, that id, and then the hardware's.
    let hardware = cursor.take(4 + 32).and_then(|_| cursor.array());
    Ok(hardware.ok().filter(|id| id.iter().any(|byte| *byte != 0)).map(|hardware| PlatformId { hardware }))
}
