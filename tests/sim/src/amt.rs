//! The state of the AMT firmware and its transitions. Everything that changes the device is a method here, and each
//! leaves the state alone when it refuses.

mod admin;
mod admin_settings;
mod host_based;
mod leaving;
mod operation;

use std::io;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde::Serialize;
use sha2::Sha256;

pub use admin::{Proof, Surroundings};
pub use host_based::{Gate, Ports};

use crate::chain::{Chain, Root, default_roots};
use crate::chance::{hex, random};
use crate::device::{Settings, scaled};
use crate::digest::{Account, Logins};
use crate::features::{Clock, Features};
use crate::habits::Habits;
use crate::profile::Facts;
use crate::store::{Store, Told};

/// Values of PTHI 0x11 and of `ProvisioningState` (`reference/amt.md` 2.2).
pub mod provisioning {
    /// Before provisioning.
    pub const PRE: u32 = 0;
    /// Between start and commit.
    pub const IN: u32 = 1;
    /// Provisioned.
    pub const POST: u32 = 2;
}

/// Values of PTHI 0x6B and of `CurrentControlMode`.
pub mod control {
    /// Not provisioned.
    pub const NONE: u32 = 0;
    /// Client control mode.
    pub const CLIENT: u32 = 1;
    /// Admin control mode.
    pub const ADMIN: u32 = 2;
}

/// Statuses and return values that this firmware uses (`reference/amt.md` 7).
pub mod status {
    /// Done.
    pub const OK: u32 = 0;
    /// Something broke inside.
    pub const INTERNAL: u32 = 1;
    /// `NOT_READY`: later.
    pub const NOT_READY: u32 = 2;
    /// `INVALID_PT_MODE`: not in this state.
    pub const WRONG_STATE: u32 = 3;
    /// `INVALID_MESSAGE_LENGTH`.
    pub const LENGTH: u32 = 4;
    /// `NOT_PERMITTED`: not in this mode.
    pub const NOT_PERMITTED: u32 = 16;
    /// `MAX_LIMIT_REACHED`.
    pub const LIMIT: u32 = 23;
    /// `INVALID_PARAMETER`.
    pub const PARAMETER: u32 = 36;
    /// `INVALID_COMMAND`.
    pub const COMMAND: u32 = 2051;
    /// `INVALID_HANDLE`.
    pub const HANDLE: u32 = 2053;
    /// `INVALID_PASSWORD`: against the rules for passwords.
    pub const PASSWORD: u32 = 2054;
    /// `UNSUPPORTED`.
    pub const UNSUPPORTED: u32 = 2066;
    /// `INVALID_PRIORITY`.
    pub const PRIORITY: u32 = 2067;
    /// `INVALID_PASSPHRASE`.
    pub const PASSPHRASE: u32 = 2070;
    /// `DATA_MISSING`: of a commit, the MEBx password.
    pub const DATA_MISSING: u32 = 2057;
    /// `DUPLICATE`.
    pub const DUPLICATE: u32 = 2058;
    /// `MISSING_KEYS`.
    pub const MISSING_KEYS: u32 = 2060;
    /// `INVALID_CERT`.
    pub const CERTIFICATE: u32 = 2063;
    /// `CERT_KEY_NOT_MATCH`.
    pub const KEY_MISMATCH: u32 = 2064;
    /// `BLOCKING_COMPONENT`: later.
    pub const BLOCKING: u32 = 2076;
    /// `IPS_HostBasedSetupService.Setup`: invalid state.
    pub const SETUP_STATE: u32 = 2;
    /// `IPS_HostBasedSetupService.Setup`: invalid parameter.
    pub const SETUP_PARAMETER: u32 = 3;
}

/// The hash that a digest login is made from, as 32 lower-case hex characters. Not to be shown or written.
#[derive(Clone)]
pub struct Ha1(String);

impl Ha1 {
    /// The hash given as text, if it is 32 lower-case hex characters.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let plain =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| Self(text.to_owned()))
    }

    /// MD5 of `user:realm:password` (RFC 7616, 3.4.2).
    #[must_use]
    pub fn of(user: &str, realm: &str, password: &str) -> Self {
        Self(hex(&Md5::digest(format!("{user}:{realm}:{password}"))))
    }

    /// The text, for computing a login only.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The AMT firmware's state.
pub struct Amt {
    /// One of [`control`].
    pub control_mode: u32,
    /// One of [`provisioning`].
    pub provisioning_state: u32,
    /// The digest realm, `Digest:` and 32 upper-case hex characters; a new one after every unprovisioning.
    pub realm: String,
    /// AMT is switched off: by PTHI 0x88 until MEBx brings it back, and there is none here; or by MHC, until MHC does.
    pub disabled: bool,
    /// Who set the device up last; it outlives every unprovisioning.
    pub set_up_by: Option<SetUpBy>,
    /// Nonces and lockouts.
    pub logins: Logins,
    /// Enumerations that were opened and not pulled, as (context, class).
    pub enumerations: Vec<(String, String)>,
    /// The settings.
    pub features: Features,
    /// Keys, certificates, TLS.
    pub store: Store,
    /// The clock, which runs on through every unprovisioning.
    pub clock: Clock,
    /// In what this machine differs from others of its type.
    pub habits: Habits,
    pub(crate) facts: Facts,
    mebx_sha256: Option<String>,
    surroundings: Surroundings,
    roots: Vec<Root>,
    host_based: host_based::HostBased,
    chain: Chain,
    nonce: Option<[u8; 20]>,
    ha1: Option<Ha1>,
    os_admin: String,
    time_scale: f64,
    settling_until: Option<Instant>,
    messages: u64,
    operation: operation::Operation,
}

/// Who set a device up, as the setup audit record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUpBy {
    /// A program on the machine itself.
    Host,
    /// A server of this name.
    Server(String),
}

/// What `state.json` tells of the state. Never a secret: of the HA1 only a hash.
#[derive(Serialize)]
pub struct Standing {
    control_mode: u32,
    provisioning_state: u32,
    realm: String,
    ha1_sha256: Option<String>,
    locked: bool,
    cert_chain_status: u32,
    mebx_sha256: Option<String>,
    clock_ahead: i64,
    settings: Features,
    tls: Told,
    amt_disabled: bool,
    /// A host-based configuration is under way.
    announced: bool,
    /// The ports are away after a restart.
    ports_away: bool,
}

impl Amt {
    /// Firmware that nobody has provisioned, with a fresh local account for this run.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new(facts: &Facts, settings: &Settings) -> io::Result<Self> {
        let (time_scale, surroundings) = (settings.time_scale, settings.surroundings.clone());
        let mut roots = default_roots(facts.firmware.major >= 16);
        roots.extend_from_slice(&surroundings.added_roots);
        let mut amt = Self {
            control_mode: control::NONE,
            provisioning_state: match surroundings.in_provisioning {
                true => provisioning::IN,
                false => provisioning::PRE,
            },
            realm: new_realm()?,
            disabled: settings.habits.amt_disabled,
            set_up_by: match surroundings.set_up_by.as_str() {
                "" => None,
                server => Some(SetUpBy::Server(server.to_owned())),
            },
            logins: Logins::new(time_scale),
            enumerations: Vec::new(),
            features: Features::begun(facts, &settings.habits),
            store: Store::default().lingering(settings.habits.served_stale).emptied(facts.is_host_tls_only()),
            clock: Clock::default(),
            habits: settings.habits.clone(),
            facts: facts.clone(),
            mebx_sha256: None,
            surroundings,
            roots,
            host_based: host_based::HostBased::new(facts, settings),
            chain: Chain::default(),
            nonce: None,
            ha1: None,
            os_admin: hex(&random::<16>()?),
            time_scale,
            settling_until: None,
            messages: 0x2e0,
            operation: operation::Operation::default(),
        };
        amt.begin_half_set_up();
        Ok(amt)
    }

    /// Name and password of the local system account (PTHI 0x67). For that reply only.
    #[must_use]
    pub fn local_account(&self) -> (&'static str, &str) {
        (Account::OsAdmin.name(), &self.os_admin)
    }

    /// What a login of this account is checked against; `None` when there is no such account now.
    #[must_use]
    pub fn ha1(&self, account: Account) -> Option<Ha1> {
        match account {
            Account::Admin => self.ha1.clone(),
            Account::OsAdmin => Some(Ha1::of(account.name(), &self.realm, &self.os_admin)),
        }
    }

    /// Whether the network ports are open (`reference/amt.md` 5.13: closed again after unprovisioning).
    #[must_use]
    pub fn is_provisioned(&self) -> bool {
        self.provisioning_state == provisioning::POST && !self.disabled
    }

    /// The SMBIOS UUID in wire order.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.facts.wire_uuid()
    }

    /// `Setup`: enters client control mode. Gives the return value (`reference/amt.md` 7).
    pub fn set_up(&mut self, encryption_type: &str, password: &str) -> u32 {
        if self.provisioning_state != provisioning::PRE || self.control_mode != control::NONE || self.disabled
        {
            return status::SETUP_STATE;
        }
        match Ha1::from_hex(password) {
            Some(ha1) if encryption_type == "2" => {
                self.ha1 = Some(ha1);
                match self.host_based.is_here() {
                    true => self.begin_as_client(),
                    false => self.enter(control::CLIENT),
                }
                status::OK
            }
            _ => status::SETUP_PARAMETER,
        }
    }

    /// Begins the time after activation in which good logins are refused too (`reference/amt.md` 0, fact 7).
    pub fn settle(&mut self) {
        self.settling_until = Some(Instant::now() + scaled(SETTLING, self.time_scale));
    }

    /// Whether that time runs.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.settling_until.is_some_and(|until| Instant::now() < until)
    }

    /// The next message id, as AMT numbers its answers (`reference/amt.md` 4.3).
    pub fn next_message_id(&mut self) -> String {
        self.messages += 1;
        format!("uuid:00000000-8086-8086-8086-{:012X}", self.messages)
    }

    /// What `state.json` tells.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            control_mode: self.control_mode,
            provisioning_state: self.provisioning_state,
            realm: self.realm.clone(),
            ha1_sha256: self.ha1.as_ref().map(|ha1| hex(&Sha256::digest(ha1.text()))),
            locked: self.logins.any_locked() || self.is_settling(),
            cert_chain_status: self.chain_status(),
            mebx_sha256: self.mebx_sha256.clone(),
            clock_ahead: self.clock.ahead(),
            settings: self.features.clone(),
            tls: self.store.told(),
            amt_disabled: self.disabled,
            announced: self.is_announced(),
            ports_away: self.is_away(),
        }
    }
}

/// RPS waits 12 s, rpc-go settles 3 s and tries 4 times 3 s apart (`reference/amt.md` 0 fact 7, 5.1).
const SETTLING: Duration = Duration::from_secs(10);

fn new_realm() -> io::Result<String> {
    Ok(format!("Digest:{}", hex(&random::<16>()?).to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    const HA1: &str = "0123456789abcdef0123456789abcdef";

    fn amt() -> Amt {
        Amt::new(&Profile::VproDesktopAmt16.facts(1), &Settings::default()).unwrap()
    }

    fn told(amt: &Amt) -> serde_json::Value {
        serde_json::to_value(amt.standing()).unwrap()
    }

    #[test]
    fn set_up_happens_once() {
        let mut amt = amt();
        assert_eq!(amt.set_up("2", HA1), 0);
        let before = told(&amt);
        assert_eq!(amt.set_up("2", "ffffffffffffffffffffffffffffffff"), 2);
        assert_eq!(told(&amt), before);
        assert_eq!(before["control_mode"], 1);
        assert_eq!(before["ha1_sha256"], hex(&Sha256::digest(HA1)));
    }

    #[test]
    fn a_bad_parameter_changes_nothing() {
        let mut amt = amt();
        let before = told(&amt);
        for (kind, password) in
            [("1", HA1), ("2", ""), ("2", &HA1[1..]), ("2", &HA1.to_uppercase()), ("", HA1)]
        {
            assert_eq!(amt.set_up(kind, password), 3, "{kind:?}");
        }
        assert_eq!(told(&amt), before);
    }

    #[test]
    fn unprovisioning_is_for_client_control_mode_and_renews_the_realm() {
        let mut amt = amt();
        assert_eq!(amt.unprovision_locally(), 3);
        amt.set_up("2", HA1);
        let realm = amt.realm.clone();
        amt.control_mode = control::ADMIN;
        assert_eq!(amt.unprovision_locally(), 3);
        assert_eq!((amt.realm.as_str(), amt.provisioning_state), (realm.as_str(), 2));
        amt.control_mode = control::CLIENT;
        assert_eq!(amt.unprovision_locally(), 0);
        assert_ne!(amt.realm, realm);
        assert_eq!((amt.control_mode, amt.provisioning_state, amt.ha1.is_none()), (0, 0, true));
    }

    #[test]
    fn only_configuration_in_progress_can_be_stopped_and_only_before_it_amt_is_disabled() {
        let mut amt = amt();
        assert_eq!(amt.stop_configuration(), 3);
        amt.provisioning_state = provisioning::IN;
        assert_eq!(amt.disable_and_clear(), 3);
        assert_eq!(amt.stop_configuration(), 0);
        assert_eq!(amt.disable_and_clear(), 0);
        assert_eq!(amt.set_up("2", HA1), 2);
        assert_eq!(amt.switch(true), 3);
        assert!(amt.disabled);
    }

    #[test]
    fn amt_before_12_knows_no_such_command() {
        let mut amt = Amt::new(&Profile::VproDesktopAmt11.facts(1), &Settings::default()).unwrap();
        assert_eq!((amt.disable_and_clear(), amt.disabled), (status::COMMAND, false));
    }

    #[test]
    fn the_host_switches_amt_before_provisioning_only() {
        let mut amt = amt();
        assert_eq!((amt.switch(false), amt.disabled), (0, true));
        assert_eq!((amt.switch(true), amt.disabled), (0, false));
        assert_eq!(amt.set_up("2", HA1), 0);
        assert_eq!((amt.switch(false), amt.disabled), (3, false));
    }
}
