//! What tells who provisioned a machine and how it can be provisioned, and the switch that takes AMT away.
//! Layouts: `reference/amt.md` 2.2.

use super::{Command, HashAlgorithm, Payload, PthiError, RESPONSE};
use crate::bytes::text_until_nul;

/// Asks who set this device up, and how. It survives unprovisioning; a device never set up answers with a status.
#[derive(Debug, Clone, Copy)]
pub struct GetSetupAuditRecord;

/// The last setup, successful or not. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupAuditRecord {
    /// 0 certificates, 1 pre-shared key.
    pub tls_mode: u8,
    /// A DNS suffix or server name was trusted beforehand, in MEBx or by USB.
    pub secure_dns: bool,
    /// Begun by a program on this machine, not by a server.
    pub host_initiated: bool,
    /// How `hash` was made.
    pub hash_algorithm: HashAlgorithm,
    /// Hash of the root certificate that was used; all zero: none.
    pub hash: Vec<u8>,
    /// Serial numbers of the first three intermediate certificates, 16 bytes each.
    pub serials: [[u8; 16]; 3],
    /// The chain had more intermediates.
    pub more_serials: bool,
    /// The root is one that the maker shipped.
    pub is_oem_default: bool,
    /// The certificates' dates were checked against a clock that was set.
    pub is_time_valid: bool,
    /// The server's address.
    pub server_ip: String,
    /// When, as seven numbers, the year first.
    pub time: [u16; 7],
    /// The server's name, from its certificate.
    pub server_name: String,
}

impl Command for GetSetupAuditRecord {
    type Reply = SetupAuditRecord;
    const NAME: &'static str = "GetMESetupAuditRecord";
    const CODE: u32 = 0x0400_0050;
    const MUTATING: bool = false;

    fn read(&self, mut payload: Payload<'_>) -> Result<SetupAuditRecord, PthiError> {
        let tls_mode = payload.u8()?;
        let (secure_dns, host_initiated) = (payload.boolean()?, payload.boolean()?);
        let number = payload.u32()?;
        let hash: [u8; 64] = payload.array()?;
        let hash_algorithm = HashAlgorithm::of(u8::try_from(number).unwrap_or(u8::MAX), &hash);
        let serials = [payload.array()?, payload.array()?, payload.array()?];
        let (more_serials, is_oem_default) = (payload.boolean()?, payload.boolean()?);
        let is_time_valid = payload.boolean()?;
        let server_ip = text_until_nul(payload.take(SERVER_IP)?);
        let mut time = [0; 7];
        for number in &mut time {
            *number = payload.u16()?;
        }
        let server_name = payload.ansi()?;
        let hash = hash.iter().copied().take(hash_algorithm.length()).collect();
        Ok(SetupAuditRecord {
            tls_mode,
            secure_dns,
            host_initiated,
            hash_algorithm,
            hash,
            serials,
            more_serials,
            is_oem_default,
            is_time_valid,
            server_ip,
            time,
            server_name,
        })
    }
}

/// Asks whether remote configuration is allowed (zero touch).
#[derive(Debug, Clone, Copy)]
pub struct GetZeroTouchEnabled;

impl Command for GetZeroTouchEnabled {
    type Reply = bool;
    const NAME: &'static str = "GetZeroTouchEnabled";
    const CODE: u32 = 0x0400_0030;
    const MUTATING: bool = false;

    fn read(&self, mut payload: Payload<'_>) -> Result<bool, PthiError> {
        payload.boolean()
    }
}

/// Asks for the embedded host-based configuration state: `true` means that whoever is root on this machine can enter
/// admin control mode without a certificate.
#[derive(Debug, Clone, Copy)]
pub struct GetEhbcState;

impl Command for GetEhbcState {
    type Reply = bool;
    const NAME: &'static str = "GetEHBCState";
    const CODE: u32 = 0x0400_0084;
    const MUTATING: bool = false;

    fn read(&self, mut payload: Payload<'_>) -> Result<bool, PthiError> {
        payload.boolean()
    }
}

/// Disables AMT and clears it, from AMT 12.0 on and only while it is not provisioned (status 3 otherwise). Only the
/// MEBx menu undoes it.
#[derive(Debug, Clone, Copy)]
pub struct DisableAndClearAmt;

impl Command for DisableAndClearAmt {
    type Reply = ();
    const NAME: &'static str = "CFG_DisableAndClearAMT";
    const CODE: u32 = 0x0400_0088;
    const MUTATING: bool = true;

    /// Intel's documentation prints the response's command without bit 23.
    fn is_answer(command: u32) -> bool {
        command | RESPONSE == Self::CODE | RESPONSE
    }

    fn read(&self, _: Payload<'_>) -> Result<(), PthiError> {
        Ok(())
    }
}

const SERVER_IP: usize = 46;
