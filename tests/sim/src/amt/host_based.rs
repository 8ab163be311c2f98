//! Provisioning on firmware from 19 on (`reference/amt.md` 5.2, 5.5): TLS on the host's side from the start, secure
//! host-based configuration, and a commit without which nothing lasts and which restarts the ports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256, Sha384};

use super::{Amt, Ha1, control, provisioning, status};
use crate::chain::{Algorithm, Chain, Root, fits_domain};
use crate::device::{Settings, scaled};
use crate::host_tls::HostTls;
use crate::on_die::OnDie;
use crate::profile::Facts;
use crate::store::LOCAL;

/// What only firmware from 19 on has, and how its ports run.
pub(super) struct HostBased {
    options: HostTls,
    on_die: Option<Arc<OnDie>>,
    announced: Option<Announced>,
    /// What the uncommitted `SetMEBxPassword` set.
    pub(super) mebx_sha256: Option<String>,
    ports: Ports,
    away_until: Option<Instant>,
    /// Control mode and provisioning state before the last commit, if nothing has changed them since.
    before: Option<(u32, u32)>,
}

/// The provisioning leaf that the host announced.
#[derive(Clone)]
struct Announced {
    algorithm: Algorithm,
    leaf_hash: Vec<u8>,
}

/// How often the ports of TLS-only firmware have been closed, and how often of these by a restart that loses what is
/// under way. A connection belongs to the value under which it was opened.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    closed: u64,
    /// Restarts by a commit or of the whole ME.
    pub restarted: u64,
    /// Restarts of the whole ME.
    pub me_restarted: u64,
}

/// What a client must show while a host-based configuration is under way, judged by the rules of admin control mode.
#[derive(Clone)]
pub struct Gate {
    announced: Announced,
    roots: Vec<Root>,
    pki_suffix: String,
    dhcp_suffix: String,
    link_up: bool,
}

/// Bytes of the packed body of `StartConfigurationHBased` (`reference/amt.md` 2.4, layout A).
const BODY: usize = 390;
const LONGEST_SUFFIXES: u32 = 320;

/// How long the ports are away after a commit. The reference knows seconds to more than a minute (3.3, 5.9).
const RESTART: Duration = Duration::from_secs(5);

impl HostBased {
    pub(super) fn new(facts: &Facts, settings: &Settings) -> Self {
        let options = settings.host_tls.clone();
        let is_here = facts.is_host_tls_only();
        // Whoever began with `in_provisioning` announced a leaf that nobody knows any more.
        let forgotten = Announced { algorithm: Algorithm::Sha256, leaf_hash: vec![0; 32] };
        let begun = is_here && settings.surroundings.in_provisioning && !options.half_set_up;
        Self {
            on_die: is_here.then(|| Arc::new(OnDie::new(facts.seed, &options))),
            announced: begun.then_some(forgotten),
            mebx_sha256: None,
            ports: Ports::default(),
            away_until: None,
            before: None,
            options,
        }
    }

    /// Whether this firmware has nothing but TLS for the host.
    pub(super) fn is_here(&self) -> bool {
        self.on_die.is_some()
    }

    /// Forgets what was begun; every connection ends.
    pub(super) fn forget(&mut self) {
        (self.announced, self.mebx_sha256, self.before) = (None, None, None);
        self.ports.closed += u64::from(self.is_here());
    }
}

impl Amt {
    /// PTHI 0x8B: from pre-provisioned to in-provisioning. Gives the hash of the on-die leaf.
    ///
    /// # Errors
    /// The status; then nothing has changed.
    pub fn start_host_based(&mut self, body: &[u8]) -> Result<Vec<u8>, u32> {
        let on_die = self.host_based.on_die.clone().ok_or(status::COMMAND)?;
        let body: &[u8; BODY] = body.try_into().map_err(|_| status::LENGTH)?;
        let [algorithm, rest @ ..] = body;
        let (hash, rest) = rest.split_at(64);
        let (algorithm, length) = match algorithm {
            2 => (Algorithm::Sha256, 32),
            3 => (Algorithm::Sha384, 48),
            _ => return Err(status::PARAMETER),
        };
        // Whether the host has a VPN, the length of its suffix list, the list: not used here, and must be well-formed.
        let suffixes = rest.get(1..5).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
        let well_formed = matches!(rest, [0..=1, ..])
            && suffixes.is_some_and(|length| length <= LONGEST_SUFFIXES)
            && hash[length..].iter().all(|byte| *byte == 0);
        if !well_formed {
            return Err(status::PARAMETER);
        }
        let unused = self.provisioning_state == provisioning::PRE && self.control_mode == control::NONE;
        if !unused || self.disabled {
            return Err(status::WRONG_STATE);
        }
        if self.surroundings.client_only {
            return Err(status::NOT_PERMITTED);
        }
        self.begin();
        self.host_based.announced = Some(Announced { algorithm, leaf_hash: hash[..length].to_vec() });
        self.host_based.ports.closed += 1;
        Ok(self.leaf_hash(&on_die, algorithm))
    }

    /// The algorithm and 64 bytes: the hash, or its text where it fits.
    fn leaf_hash(&self, on_die: &OnDie, algorithm: Algorithm) -> Vec<u8> {
        let options = &self.host_based.options;
        let shown = on_die.sent.get(usize::from(options.wrong_leaf_hash)).map_or(&[][..], Vec::as_slice);
        let (number, mut hash) = match algorithm {
            _ if options.hash_as_text => (2, crate::chance::hex(&Sha256::digest(shown)).into_bytes()),
            Algorithm::Sha256 => (2, Sha256::digest(shown).to_vec()),
            Algorithm::Sha384 => (3, Sha384::digest(shown).to_vec()),
        };
        hash.resize(64, 0);
        [vec![number], hash].concat()
    }

    /// The chain that the host is shown until the device is provisioned, and what it must show while a host-based
    /// configuration is under way.
    #[must_use]
    pub fn on_die(&self) -> Option<(Arc<OnDie>, Option<Gate>)> {
        let on_die = self.host_based.on_die.clone()?;
        let gate = self.host_based.announced.clone().map(|announced| Gate {
            announced,
            roots: self.roots.clone(),
            pki_suffix: self.pki_suffix().to_owned(),
            dhcp_suffix: self.dhcp_suffix().to_owned(),
            link_up: self.link_up(),
        });
        (self.provisioning_state != provisioning::POST && !self.disabled).then_some((on_die, gate))
    }

    /// Whether TLS is spoken on this side.
    #[must_use]
    pub fn speaks_tls(&self, side: usize) -> bool {
        self.tls(side).is_some() || side == LOCAL && self.on_die().is_some()
    }

    /// The chain, whatever the state: the directory names its root, and the UPID its ROM.
    #[must_use]
    pub fn on_die_chain(&self) -> Option<&OnDie> {
        self.host_based.on_die.as_deref()
    }

    /// Whether a client has shown the announced certificate, and no administrator has a password yet: then any will do
    /// (`reference/amt-calls.md` 6 does not know whether one is asked for).
    #[must_use]
    pub fn takes_any_password(&self) -> bool {
        self.host_based.announced.is_some() && self.ha1.is_none()
    }

    /// Whether an administrator sets up what is not committed yet.
    #[must_use]
    pub fn is_being_set_up(&self) -> bool {
        self.host_based.is_here()
            && !self.disabled
            && self.provisioning_state == provisioning::IN
            && (self.control_mode == control::CLIENT || self.is_announced())
    }

    /// Whether a host-based configuration is under way.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.host_based.announced.is_some()
    }

    /// Under which run of the ports a connection is opened.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.host_based.ports
    }

    /// Control mode and provisioning state as MEI tells them now.
    #[must_use]
    pub fn told_over_mei(&self) -> (u32, u32) {
        let slow = self.host_based.options.slow_commit && self.is_away();
        self.host_based.before.filter(|_| slow).unwrap_or((self.control_mode, self.provisioning_state))
    }

    /// Whether the ports are away after a restart.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.host_based.away_until.is_some_and(|until| Instant::now() < until)
    }

    /// The whole ME restarts: what was not committed is lost. In-provisioning is lost as a whole.
    pub fn restart_me(&mut self) {
        self.host_based.ports.me_restarted += 1;
        if self.host_based.is_here() {
            if self.provisioning_state == provisioning::IN {
                self.reset();
            }
            self.store.forget_uncommitted();
            self.host_based.before = None;
            self.restart_ports();
        }
    }

    fn restart_ports(&mut self) {
        self.host_based.ports.closed += 1;
        self.host_based.ports.restarted += 1;
        self.host_based.away_until = Some(Instant::now() + scaled(RESTART, self.time_scale));
        self.enumerations.clear();
        self.logins.forget_nonces();
    }

    /// `Setup` begins here what the commit ends.
    pub(super) fn begin_as_client(&mut self) {
        self.control_mode = control::CLIENT;
        self.begin();
    }

    /// The firmware's own certificate comes with the beginning (`reference/amt.md` 4.5) and is served after the commit.
    fn begin(&mut self) {
        self.provisioning_state = provisioning::IN;
        if self.store.context().is_none() {
            self.store.begin_with_own(self.facts.seed);
        }
    }

    /// `CommitChanges` of this firmware.
    pub(super) fn commit_all(&mut self) -> u32 {
        let before = (self.control_mode, self.provisioning_state);
        if self.provisioning_state == provisioning::POST {
            self.store.commit();
        } else if self.is_being_set_up() {
            let mode = if self.is_announced() { control::ADMIN } else { control::CLIENT };
            let has_mebx = self.mebx_sha256.is_some() || self.host_based.mebx_sha256.is_some();
            if mode == control::ADMIN && (self.ha1.is_none() || !has_mebx) {
                return status::DATA_MISSING;
            }
            self.mebx_sha256 = self.host_based.mebx_sha256.take().or(self.mebx_sha256.take());
            self.host_based.announced = None;
            self.store.commit();
            self.enter(mode);
        } else {
            return status::WRONG_STATE;
        }
        self.host_based.before = Some(before);
        self.restart_ports();
        status::OK
    }

    /// As if somebody had begun client control mode and not committed it; what the password is nobody knows.
    pub(super) fn begin_half_set_up(&mut self) {
        if self.host_based.is_here() && self.host_based.options.half_set_up {
            self.ha1 = Ha1::from_hex(&self.os_admin);
            self.begin_as_client();
        }
    }
}

impl Gate {
    /// Whether this chain, leaf first, is the announced one and leads to an active root of the list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, chain: &[&[u8]]) -> Result<(), &'static str> {
        let Announced { algorithm, leaf_hash } = &self.announced;
        let leaf = chain.first().copied().unwrap_or_default();
        let hash = match algorithm {
            Algorithm::Sha256 => Sha256::digest(leaf).to_vec(),
            Algorithm::Sha384 => Sha384::digest(leaf).to_vec(),
        };
        if hash != *leaf_hash {
            return Err("another leaf than the announced one");
        }
        let mut judged = Chain::default();
        for (at, der) in chain.iter().enumerate() {
            if judged.add(der, at == 0, at + 1 == chain.len(), &self.roots) != 0 {
                return Err("a chain that does not lead to an active root");
            }
        }
        match judged.leaf() {
            _ if !self.link_up => Err("the wired link is down"),
            Some(leaf) if fits_domain(leaf, &self.pki_suffix, &self.dhcp_suffix) => Ok(()),
            Some(_) => Err("a name outside of the domain"),
            None => Err("a chain without an end"),
        }
    }
}
