//! What an administrator may do once the device is provisioned, and what the mode forbids.

use sha2::{Digest, Sha256};

use super::{Amt, Ha1, control, provisioning, status};
use crate::chance::hex;
use crate::features::{CONSENT_ALL, Consent};
use crate::store::REMOTE;

impl Amt {
    /// `CommitChanges`. Before AMT 19 there is nothing to commit of the set-up itself (`reference/amt.md` 0, fact 4).
    pub fn commit(&mut self) -> u32 {
        if self.host_based.is_here() {
            return self.commit_all();
        }
        if self.provisioning_state != provisioning::POST {
            return status::WRONG_STATE;
        }
        self.store.commit();
        status::OK
    }

    /// As if somebody put both AMT_TLSSettingData and committed.
    pub fn switch_tls_off(&mut self) {
        self.store.switch_off();
    }

    /// `GenerateKeyPair`.
    ///
    /// # Errors
    /// The status, when every slot is taken.
    pub fn generate_key(&mut self) -> Result<u32, u32> {
        self.store.generate_key(self.facts.seed)
    }

    /// Whether the network side speaks cleartext.
    #[must_use]
    pub fn opens_cleartext(&self) -> bool {
        let tls = self.store.tls(REMOTE);
        !self.facts.is_tls_only() && tls.is_none_or(|(settings, _)| settings.accepts_cleartext)
    }

    /// `SetMEBxPassword`: in admin control mode only, by the rules that hold for every password.
    pub fn set_mebx_password(&mut self, password: &str) -> u32 {
        if self.control_mode != control::ADMIN && !self.is_announced() {
            return status::NOT_PERMITTED;
        }
        if !is_strong(password) {
            return status::PASSWORD;
        }
        let hash = Some(hex(&Sha256::digest(password)));
        match self.is_announced() {
            true => self.host_based.mebx_sha256 = hash,
            false => self.mebx_sha256 = hash,
        }
        status::OK
    }

    /// `SetAdminAclEntryEx`: the digest as 16 raw bytes, not as text.
    pub fn set_admin_password(&mut self, user: &str, digest: &[u8]) -> u32 {
        match Ha1::from_hex(&hex(digest)) {
            Some(ha1) if user == "admin" && (self.is_provisioned() || self.is_being_set_up()) => {
                self.ha1 = Some(ha1);
                status::OK
            }
            _ => status::PARAMETER,
        }
    }

    /// Whether the consent policy may be changed: in admin control mode.
    #[must_use]
    pub fn can_modify_consent(&self) -> bool {
        self.control_mode == control::ADMIN
    }

    /// Sets the consent policy; false when the mode forbids it.
    #[must_use]
    pub fn set_consent(&mut self, consent: Consent) -> bool {
        if self.can_modify_consent() {
            self.features.consent = consent;
        }
        self.can_modify_consent()
    }

    /// What entering a mode sets: consent for everything in client control mode, for KVM in admin control mode.
    pub(super) fn enter(&mut self, mode: u32) {
        self.control_mode = mode;
        self.provisioning_state = provisioning::POST;
        self.set_up_by = Some(super::SetUpBy::Host);
        self.chain = crate::chain::Chain::default();
        if self.facts.is_tls_only() && self.store.context().is_none() {
            self.store.begin_with_own(self.facts.seed);
        }
        self.features.consent.required = if mode == control::ADMIN { 1 } else { CONSENT_ALL };
    }
}

/// `reference/amt.md` 6: 8 to 32 of ASCII 32 to 126 without `:`, `,` and `"`; a digit, a lower and an upper case
/// letter, and one that is none of these (the underscore counts as a letter).
fn is_strong(password: &str) -> bool {
    let has = |kind: fn(char) -> bool| password.chars().any(kind);
    (8..=32).contains(&password.len())
        && password.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, ':' | ',' | '"'))
        && has(|c| c.is_ascii_digit())
        && has(|c| c.is_ascii_lowercase())
        && has(|c| c.is_ascii_uppercase())
        && has(|c| !c.is_ascii_alphanumeric() && c > ' ' && c != '_')
}
