//! PTHI, the AMT host interface: requests as bytes, replies decoded with everything checked.
//!
//! One [`Command`] is one request and one reply over the MEI client [`crate::mei_clients::PTHI`]:
//!
//! ```
//! use oob_wsman::pthi::{Command, ControlMode, GetControlMode};
//! let request = GetControlMode.encode();
//! # let _ = request;
//! let reply = [1, 1, 0, 0, 0x6b, 0, 0x80, 4, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
//! assert_eq!(GetControlMode.decode(&reply), Ok(ControlMode::Admin));
//! ```
//!
//! Framing (`reference/amt.md` 2.1), little-endian: u8 major 1, u8 minor 1, u16 reserved, u32 command, u32 length of the
//! body; a reply sets bit 23 of the command and begins its body with a u32 status. Payloads may be padded, so a longer
//! one is accepted, a shorter one never.

mod commands;
mod hashes;
mod host_based;
mod posture;
mod status;
mod versions;

pub use commands::{
    ControlMode, GetControlMode, GetLanSettings, GetLocalSystemAccount, GetPkiSuffix, GetProvisioningMode,
    GetProvisioningState, GetRemoteAccessStatus, GetUuid, LanInterface, LanSettings, LocalSystemAccount,
    ProvisioningMode, ProvisioningState, RemoteAccessStatus, StopConfiguration, TunnelState, Unprovision,
};
pub use hashes::{CertificateHash, EnumerateHashes, GetHash, HashAlgorithm};
pub use host_based::{LeafHash, StartConfigurationHBased};
pub use posture::{
    DisableAndClearAmt, GetEhbcState, GetSetupAuditRecord, GetZeroTouchEnabled, SetupAuditRecord,
};
pub use status::PtStatus;
pub use versions::{CodeVersions, GetCodeVersions, Sku};

use crate::bytes::{Cursor, Truncated};

/// One PTHI command: how it is asked and how its answer is read.
pub trait Command {
    /// What the device answers.
    type Reply;
    /// Name for messages, as Intel's documentation writes it.
    const NAME: &'static str;
    /// Command word of the request.
    const CODE: u32;
    /// Whether it changes the device's state. A mutating command is never resent blindly.
    const MUTATING: bool;

    /// The request's body after the header.
    fn body(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether a reply's command word answers this command.
    fn is_answer(command: u32) -> bool {
        command == Self::CODE | RESPONSE
    }

    /// Reads the payload after the status. The rest of the payload is padding.
    fn read(&self, payload: Payload<'_>) -> Result<Self::Reply, PthiError>;

    /// The whole request, one MEI message.
    fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend([VERSION.0, VERSION.1, 0, 0]);
        message.extend(Self::CODE.to_le_bytes());
        message.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        message.extend(body);
        message
    }

    /// Checks and reads one whole reply. The order of the checks is: long enough, version, command, length, status.
    fn decode(&self, reply: &[u8]) -> Result<Self::Reply, PthiError> {
        let short = |_: Truncated| PthiError::Short { got: reply.len() };
        if reply.len() < HEADER + STATUS {
            return Err(PthiError::Short { got: reply.len() });
        }
        let mut cursor = Cursor::new(reply);
        let version = (cursor.u8().map_err(short)?, cursor.u8().map_err(short)?);
        if version != VERSION {
            return Err(PthiError::Version { major: version.0, minor: version.1 });
        }
        cursor.take(2).map_err(short)?;
        let (expected, got) = (Self::CODE | RESPONSE, cursor.u32_le().map_err(short)?);
        if !Self::is_answer(got) {
            return Err(PthiError::WrongCommand { expected, got });
        }
        let (header, actual) = (cursor.u32_le().map_err(short)?, reply.len() - HEADER);
        if usize::try_from(header) != Ok(actual) {
            return Err(PthiError::LengthMismatch { header, actual });
        }
        let status = PtStatus(cursor.u32_le().map_err(short)?);
        if status != PtStatus::SUCCESS {
            return Err(PthiError::Status(status));
        }
        self.read(Payload(cursor))
    }
}

/// What follows the status of a reply. Only this crate's commands read it.
pub struct Payload<'a>(Cursor<'a>);

/// Why a reply is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PthiError {
    /// Shorter than a header with a status.
    #[error("reading PTHI reply: {got} bytes, at least 16 expected")]
    Short {
        /// Bytes received.
        got: usize,
    },
    /// Not version 1.1 of the protocol.
    #[error("reading PTHI reply: protocol version {major}.{minor}, expected 1.1")]
    Version {
        /// Major number found.
        major: u8,
        /// Minor number found.
        minor: u8,
    },
    /// The reply answers another command: a stale message; close the MEI connection and ask again.
    #[error(
        "reading PTHI reply: command {got:#010x}, expected {expected:#010x}; close the connection and ask again"
    )]
    WrongCommand {
        /// Command word expected, bit 23 set.
        expected: u32,
        /// Command word found.
        got: u32,
    },
    /// The header's length is not the number of bytes that follow it.
    #[error("reading PTHI reply: header says {header} bytes, {actual} follow it")]
    LengthMismatch {
        /// The header's length field.
        header: u32,
        /// Bytes after the header.
        actual: usize,
    },
    /// The firmware refused.
    #[error("{0}")]
    Status(PtStatus),
    /// The payload ends early or holds an impossible value.
    #[error("reading PTHI reply: malformed payload at offset {offset:#x}")]
    Malformed {
        /// Offset in the whole reply.
        offset: usize,
    },
}

impl From<Truncated> for PthiError {
    fn from(truncated: Truncated) -> Self {
        Self::Malformed { offset: truncated.offset }
    }
}

impl<'a> Payload<'a> {
    fn u8(&mut self) -> Result<u8, PthiError> {
        Ok(self.0.u8()?)
    }

    fn u16(&mut self) -> Result<u16, PthiError> {
        Ok(self.0.u16_le()?)
    }

    fn u32(&mut self) -> Result<u32, PthiError> {
        Ok(self.0.u32_le()?)
    }

    /// An AMT_BOOLEAN: a u32.
    fn boolean(&mut self) -> Result<bool, PthiError> {
        Ok(self.u32()? != 0)
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], PthiError> {
        Ok(self.0.take(wanted)?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PthiError> {
        Ok(self.0.array()?)
    }

    /// An "ANSI string": u16 length, then the bytes, a trailing NUL included or not.
    fn ansi(&mut self) -> Result<String, PthiError> {
        let length = self.u16()?;
        Ok(crate::bytes::text_until_nul(self.take(length.into())?))
    }

    /// The error for a value that this field cannot have; `back` is the field's size.
    fn malformed(&self, back: usize) -> PthiError {
        PthiError::Malformed { offset: self.0.offset().saturating_sub(back) }
    }
}

const VERSION: (u8, u8) = (1, 1);
const HEADER: usize = 12;
const STATUS: usize = 4;
const RESPONSE: u32 = 1 << 23;
