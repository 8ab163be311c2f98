//! Into admin control mode with a provisioning certificate (`reference/amt.md` 5.3, 5.4).

use super::{Amt, Ha1, control, provisioning, status};
use crate::chain::{Root, fits_domain};
use crate::chance::random;
use crate::x509::oid;

/// What the firmware was given by its maker, by MEBx and by the network it hangs on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Roots that somebody added to the maker's.
    pub added_roots: Vec<Root>,
    /// The PKI DNS suffix set in MEBx; empty: none.
    pub pki_suffix: String,
    /// DHCP option 15 as AMT sees it; empty: none.
    pub dhcp_suffix: String,
    /// Whether the wired link is up.
    pub link_up: bool,
    /// Whether somebody began a configuration and did not end it (`reference/amt.md` 5.0).
    pub in_provisioning: bool,

    /// Whether the maker allows client control mode only (`AllowedControlModes`).
    pub client_only: bool,

    /// Embedded host-based configuration: the host may enter admin control mode without a certificate.
    pub ehbc: bool,
    /// The management presence server that AMT has a tunnel to; empty: none.
    pub mps_host: String,
    /// The server that set this machine up once, as the setup audit record names it; empty: nobody ever did.
    pub set_up_by: String,
}

impl Default for Surroundings {
    fn default() -> Self {
        let dhcp_suffix = "example.com".to_owned();
        Self {
            added_roots: Vec::new(),
            pki_suffix: String::new(),
            dhcp_suffix,
            link_up: true,
            in_provisioning: false,

            client_only: false,

            ehbc: false,
            mps_host: String::new(),
            set_up_by: String::new(),
        }
    }
}

/// Return values of `AdminSetup` and `UpgradeClientToAdmin`, all but internal error (`reference/amt.md` 7).
mod refusal {
    pub(super) const STATE: u32 = 2;
    pub(super) const PARAMETER: u32 = 3;
    /// The signature is not the leaf's over both nonces, or the wired link is down.
    pub(super) const AUTHENTICATION: u32 = 4;
    /// What the field reports for a domain that does not fit.
    pub(super) const DOMAIN: u32 = 5;
}

/// What the caller brings to prove that it holds the leaf's key.
pub struct Proof<'a> {
    /// 20 bytes of the caller's.
    pub nonce: &'a [u8],
    /// 2: RSA with SHA-256.
    pub algorithm: &'a str,
    /// Over `ConfigurationNonce` and `nonce`.
    pub signature: &'a [u8],
}

impl Amt {
    /// A new `ConfigurationNonce`. Only the last one that was handed out counts, and once.
    pub fn hand_out_nonce(&mut self) {
        self.nonce = random().ok();
    }

    /// The nonce that was handed out; zeros when there is none.
    #[must_use]
    pub fn nonce(&self) -> [u8; 20] {
        self.nonce.unwrap_or_default()
    }

    /// `CertChainStatus`.
    #[must_use]
    pub fn chain_status(&self) -> u32 {
        self.chain.status()
    }

    /// `AddNextCertInChain`: before provisioning, or in client control mode to leave it upwards.
    pub fn add_to_chain(&mut self, der: &[u8], is_leaf: bool, is_root: bool) -> u32 {
        // From 19 on a chain leads from client to admin control mode only (`reference/amt.md` 4.5).
        let gone = self.host_based.is_here() && self.control_mode == control::NONE;
        if self.control_mode == control::ADMIN
            || self.provisioning_state == provisioning::IN
            || self.disabled
            || gone
        {
            return crate::chain::refusal::STATE;
        }
        self.chain.add(der, is_leaf, is_root, &self.roots)
    }

    /// `AdminSetup`: from pre-provisioned to admin control mode.
    pub fn set_up_as_admin(&mut self, encryption_type: &str, password: &str, proof: &Proof<'_>) -> u32 {
        let unused = self.provisioning_state == provisioning::PRE && self.control_mode == control::NONE;
        if !unused || self.disabled || self.surroundings.client_only || self.host_based.is_here() {
            return refusal::STATE;
        }
        let Some(ha1) = Ha1::from_hex(password).filter(|_| encryption_type == "2") else {
            return refusal::PARAMETER;
        };
        self.prove(proof, |amt| amt.ha1 = Some(ha1))
    }

    /// `UpgradeClientToAdmin`: from client to admin control mode, with the password that is there.
    pub fn upgrade_to_admin(&mut self, proof: &Proof<'_>) -> u32 {
        if self.control_mode != control::CLIENT || self.provisioning_state != provisioning::POST {
            return refusal::STATE;
        }
        self.prove(proof, |_| {})
    }

    fn prove(&mut self, proof: &Proof<'_>, change: impl FnOnce(&mut Self)) -> u32 {
        if proof.nonce.len() != 20 || proof.algorithm != "2" {
            return refusal::PARAMETER;
        }
        let Some(leaf) = self.chain.leaf() else { return refusal::STATE };
        let (fits, link_up) = (fits_domain(leaf, self.pki_suffix(), self.dhcp_suffix()), self.link_up());
        let nonce = self.nonce.take().unwrap_or_default();
        let message = [&nonce, proof.nonce].concat();
        // A nonce of zeros is none that was handed out.
        let proven = nonce != [0; 20] && leaf.key.verifies(oid::RSA_SHA256, &message, proof.signature);
        if !proven || !link_up {
            return refusal::AUTHENTICATION;
        }
        if !fits {
            return refusal::DOMAIN;
        }
        change(self);
        self.enter(control::ADMIN);
        status::OK
    }

    /// The trusted roots.
    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// `AllowedControlModes`.
    #[must_use]
    pub fn allowed_modes(&self) -> &'static [&'static str] {
        if self.surroundings.client_only { &["1"] } else { &["2", "1"] }
    }

    /// The suffix set in MEBx; empty: none.
    #[must_use]
    pub fn pki_suffix(&self) -> &str {
        &self.surroundings.pki_suffix
    }

    /// Whether the host may enter admin control mode without a certificate.
    #[must_use]
    pub fn ehbc(&self) -> bool {
        self.surroundings.ehbc
    }

    /// The management presence server that AMT has a tunnel to; empty: none.
    #[must_use]
    pub fn mps_host(&self) -> &str {
        &self.surroundings.mps_host
    }

    /// Whether the wired link is up.
    #[must_use]
    pub fn link_up(&self) -> bool {
        self.surroundings.link_up && self.facts.has_wired()
    }
}
