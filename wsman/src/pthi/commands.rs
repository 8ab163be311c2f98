//! The commands that read state or change it, one short block each. Layouts: `reference/amt.md` 2.2.

use super::{Command, Payload, PthiError};
use crate::{Secret, bytes::text_until_nul, mei_clients::mixed_endian_text};

/// A command without body: its type, code, and how its reply is read.
macro_rules! query {
    ($(#[$doc:meta])* $type:ident, $code:literal, $mutating:literal, $name:literal, $reply:ty, $read:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $type;

        impl Command for $type {
            type Reply = $reply;
            const NAME: &'static str = $name;
            const CODE: u32 = $code;
            const MUTATING: bool = $mutating;

            fn read(&self, payload: Payload<'_>) -> Result<$reply, PthiError> {
                let read: fn(Payload<'_>) -> Result<$reply, PthiError> = $read;
                read(payload)
            }
        }
    };
}

query!(
    /// Asks in which control mode AMT is. Provisioned means this *and* [`GetProvisioningState`].
    GetControlMode, 0x0400_006b, false, "GetControlMode", ControlMode,
    |mut payload| Ok(payload.u32()?.into())
);

query!(
    /// Asks whether AMT is unprovisioned, being provisioned, or provisioned.
    GetProvisioningState, 0x0400_0011, false, "GetProvisioningState", ProvisioningState,
    |mut payload| Ok(payload.u32()?.into())
);

query!(
    /// Asks for the legacy provisioning mode.
    GetProvisioningMode, 0x0400_0008, false, "GetProvisioningMode", ProvisioningMode,
    |mut payload| Ok(ProvisioningMode { mode: payload.u32()?, legacy: payload.u32()? != 0 })
);

query!(
    /// Asks for the system's UUID, as canonical lower-case text.
    GetUuid, 0x0400_005c, false, "GetUUID", String,
    |mut payload| Ok(mixed_endian_text(&payload.array()?))
);

query!(
    /// Asks for the provisioning DNS suffix that somebody trusted in MEBx or by USB. Empty: none.
    GetPkiSuffix, 0x0400_0036, false, "GetPKIFQDNSuffix", String,
    |mut payload| payload.ansi()
);

query!(
    /// Asks whether AMT has a tunnel to a management presence server (CIRA).
    GetRemoteAccessStatus, 0x0400_0046, false, "GetRemoteAccessConnectionStatus", RemoteAccessStatus,
    |mut payload| Ok(RemoteAccessStatus {
        network: payload.u32()?,
        tunnel: payload.u32()?.into(),
        trigger: payload.u32()?,
        mps_host: payload.ansi()?,
    })
);

query!(
    /// Leaves "in provisioning" for "pre-provisioning": undoes a setup that was begun and not committed.
    StopConfiguration, 0x0400_005e, true, "StopConfiguration", (), |_| Ok(())
);

/// Takes AMT back to factory mode. Works in client control mode only; in admin control mode it is status 3.
#[derive(Debug, Clone, Copy)]
pub struct Unprovision;

impl Command for Unprovision {
    type Reply = ();
    const NAME: &'static str = "CFG_Unprovision";
    const CODE: u32 = 0x0400_0010;
    const MUTATING: bool = true;

    fn body(&self) -> Vec<u8> {
        0u32.to_le_bytes().to_vec() // the mode, which the firmware ignores
    }

    fn read(&self, _: Payload<'_>) -> Result<(), PthiError> {
        Ok(())
    }
}

/// Asks for the local system account, which may configure an unprovisioned AMT over its local port.
/// The request and the reply's buffer are the caller's to wipe: the reply holds the password.
#[derive(Debug, Clone, Copy)]
pub struct GetLocalSystemAccount;

/// `$$OsAdmin` and its password of this boot. No `Debug`: it is a login.
pub struct LocalSystemAccount {
    /// The user name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Command for GetLocalSystemAccount {
    type Reply = LocalSystemAccount;
    const NAME: &'static str = "GetLocalSystemAccount";
    const CODE: u32 = 0x0400_0067;
    const MUTATING: bool = false;

    fn body(&self) -> Vec<u8> {
        vec![0; 40]
    }

    fn read(&self, mut payload: Payload<'_>) -> Result<LocalSystemAccount, PthiError> {
        let user = text_until_nul(payload.take(ACCOUNT_TEXT)?);
        let password = Secret::new(text_until_nul(payload.take(ACCOUNT_TEXT)?));
        if user.is_empty() || password.expose().is_empty() {
            return Err(payload.malformed(2 * ACCOUNT_TEXT));
        }
        Ok(LocalSystemAccount { user, password })
    }
}

/// Asks for the settings of one of AMT's two network interfaces.
#[derive(Debug, Clone, Copy)]
pub struct GetLanSettings {
    /// Which.
    pub interface: LanInterface,
}

/// AMT's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanInterface {
    /// 0
    Wired,
    /// 1
    Wireless,
}

/// What AMT has on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanSettings {
    /// The interface is used by AMT.
    pub enabled: bool,
    /// IPv4 address, most significant byte first; all zero: none.
    pub ipv4: [u8; 4],
    /// DHCP is on.
    pub dhcp: bool,
    /// 1 active (AMT asks), 2 passive (AMT listens to the host).
    pub dhcp_mode: u8,
    /// The link is up.
    pub link_up: bool,
    /// The MAC address.
    pub mac: [u8; 6],
}

impl Command for GetLanSettings {
    type Reply = LanSettings;
    const NAME: &'static str = "GetLANInterfaceSettings";
    const CODE: u32 = 0x0400_0048;
    const MUTATING: bool = false;

    fn body(&self) -> Vec<u8> {
        let index: u32 = match self.interface {
            LanInterface::Wired => 0,
            LanInterface::Wireless => 1,
        };
        index.to_le_bytes().to_vec()
    }

    fn read(&self, mut payload: Payload<'_>) -> Result<LanSettings, PthiError> {
        Ok(LanSettings {
            enabled: payload.u32()? != 0,
            ipv4: payload.u32()?.to_be_bytes(),
            dhcp: payload.u32()? != 0,
            dhcp_mode: payload.u8()?,
            link_up: payload.u8()? != 0,
            mac: payload.array()?,
        })
    }
}

/// A wire number as an enum that keeps what it does not know, so that no unknown value reads as a known one.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $type:ident { $($(#[$item:meta])* $number:literal => $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$item])* $variant,)*
            /// A number that the reference does not name.
            Other(u32),
        }

        impl From<u32> for $type {
            fn from(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }
    };
}

wire_enum!(
    /// How far AMT is provisioned to obey.
    ControlMode {
        /// Not provisioned.
        0 => None,
        /// Client control mode: consent needed for redirection.
        1 => Client,
        /// Admin control mode.
        2 => Admin,
    }
);

wire_enum!(
    /// Where AMT is in provisioning.
    ProvisioningState {
        /// Factory mode.
        0 => Pre,
        /// Begun, not committed: a run died, or is running.
        1 => In,
        /// Done.
        2 => Post,
    }
);

wire_enum!(
    /// The CIRA tunnel.
    TunnelState {
        /// None.
        0 => NotConnected,
        /// Being built.
        1 => Connecting,
        /// Up.
        2 => Connected,
    }
);

/// The legacy provisioning mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisioningMode {
    /// 0 none, 1 enterprise, 2 small business, 3 remote assistance.
    pub mode: u32,
    /// Legacy (PID/PPS) provisioning.
    pub legacy: bool,
}

/// Whether somebody's management presence server reaches this AMT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAccessStatus {
    /// 0 direct, 1 VPN, 2 outside the enterprise, 3 unknown.
    pub network: u32,
    /// The tunnel.
    pub tunnel: TunnelState,
    /// 0 user, 1 alert, 2 provisioning, 3 periodic.
    pub trigger: u32,
    /// The server's host name; foreign text.
    pub mps_host: String,
}

const ACCOUNT_TEXT: usize = 33;
