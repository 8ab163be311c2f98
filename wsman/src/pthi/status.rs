//! The status numbers of PTHI, which are also the `ReturnValue`s of most AMT classes: names, and what to do.

use std::fmt;

/// A PT status (`reference/amt.md` 7). One numbering serves PTHI and the AMT classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PtStatus(pub u32);

impl PtStatus {
    /// The command was carried out.
    pub const SUCCESS: Self = Self(0);
    /// A firmware error.
    pub const INTERNAL_ERROR: Self = Self(1);
    /// The firmware is still starting, or a needed service is.
    pub const NOT_READY: Self = Self(2);
    /// Not allowed in the present provisioning state.
    pub const INVALID_PT_MODE: Self = Self(3);
    /// The request's length is not what this firmware expects.
    pub const INVALID_MESSAGE_LENGTH: Self = Self(4);
    /// The flash may not be written again now.
    pub const FLASH_WRITE_LIMIT_EXCEEDED: Self = Self(38);
    /// Something that must come first was not sent.
    pub const DATA_MISSING: Self = Self(2057);
    /// What was to be added is there already.
    pub const DUPLICATE: Self = Self(2058);

    /// The name, where the tables have one.
    pub fn name(self) -> Option<&'static str> {
        Some(self.row()?.1)
    }

    /// What a person or the caller should do next, where the tables say.
    pub fn advice(self) -> Option<&'static str> {
        self.row().map(|row| row.2).filter(|advice| !advice.is_empty())
    }

    /// Whether the same read-only call may succeed if asked again after some seconds.
    pub fn is_transient(self) -> bool {
        matches!(self.0, 1 | 2 | 47 | 48 | 49 | 2061 | 2076 | 2082)
    }

    fn row(self) -> Option<&'static (u32, &'static str, &'static str)> {
        TABLE.iter().find(|row| row.0 == self.0)
    }
}

impl fmt::Display for PtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.0)?;
        if let Some(name) = self.name() {
            write!(f, " ({name})")?;
        }
        if let Some(advice) = self.advice() {
            write!(f, ": {advice}")?;
        }
        Ok(())
    }
}

const TABLE: &[(u32, &str, &str)] = &[
    (0, "SUCCESS", ""),
    (1, "INTERNAL_ERROR", "ask once more, then give up"),
    (2, "NOT_READY", "wait 4 seconds and ask again"),
    (3, "INVALID_PT_MODE", "not allowed in the present provisioning state; read the state again"),
    (
        4,
        "INVALID_MESSAGE_LENGTH",
        "this firmware uses another layout for the message; report it with its version",
    ),
    (16, "NOT_PERMITTED", "this account or mode may not do that; do not ask again"),
    (23, "MAX_LIMIT_REACHED", "all slots are taken; remove unreferenced entries first"),
    (24, "INVALID_AUTH_TYPE", ""),
    (25, "AUTHENTICATION_FAILED", "do not repeat with the same credentials"),
    (26, "INVALID_DHCP_MODE", ""),
    (27, "INVALID_IP_ADDRESS", ""),
    (28, "INVALID_DOMAIN_NAME", ""),
    (30, "REQUEST_UNEXPECTED", ""),
    (32, "INVALID_PROVISIONING_STATE", "read the provisioning state again"),
    (34, "INVALID_TIME", "set the device's clock first"),
    (35, "INVALID_INDEX", ""),
    (36, "INVALID_PARAMETER", ""),
    (37, "INVALID_NETMASK", ""),
    (38, "FLASH_WRITE_LIMIT_EXCEEDED", "stop now and leave the device alone for some hours"),
    (45, "CONNECTION_FAILED", ""),
    (46, "CONNECTION_TOO_MANY", ""),
    (47, "RNG_GENERATION_IN_PROGRESS", "wait and ask again"),
    (48, "RNG_NOT_READY", "wait and ask again"),
    (49, "CERTIFICATE_NOT_READY", "wait and ask again"),
    (1024, "DISABLED_BY_POLICY", ""),
    (2049, "OEM_NUMBER", ""),
    (2050, "UNSUPPORTED_BOOT_OPTION", ""),
    (2051, "INVALID_COMMAND", ""),
    (2053, "INVALID_HANDLE", ""),
    (2054, "INVALID_PASSWORD", "the password breaks the device's password rules"),
    (2055, "INVALID_REALM", ""),
    (2056, "ACL_ENTRY_IN_USE", ""),
    (2057, "DATA_MISSING", "set the MEBx password before committing"),
    (2058, "DUPLICATE", "it exists already: compare it"),
    (2059, "LOG_FROZEN", ""),
    (2060, "MISSING_KEYS", ""),
    (2061, "GENERATING_KEYS", "wait and ask again"),
    (2062, "INVALID_KEY", ""),
    (2063, "INVALID_CERTIFICATE", ""),
    (2064, "CERTIFICATE_KEY_NOT_MATCH", ""),
    (2065, "INVALID_KERBEROS", ""),
    (2066, "UNSUPPORTED", "this firmware does not have it"),
    (2067, "INVALID_PRIORITY", ""),
    (2068, "NOT_FOUND", ""),
    (2069, "INVALID_CREDENTIALS", ""),
    (2070, "INVALID_PASSPHRASE", ""),
    (2072, "NO_ASSOCIATION", ""),
    (2075, "AUDIT_FAIL", "the audit log refuses; its auditor must unlock it"),
    (2076, "BLOCKING_COMPONENT", "another component blocks it now; ask again later"),
    (2081, "USER_CONSENT_REQUIRED", "a person at the machine must give the consent code"),
    (2082, "OPERATION_IN_PROGRESS", "wait and ask again"),
];
