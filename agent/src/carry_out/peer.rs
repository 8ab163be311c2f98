//! Who may be at the other end of TLS over MEI: a certificate that is pinned, AMT's own die, or what AMT made for itself.
//! Nobody else, ever (reference/amt.md 4.5, 4.7).

use std::sync::Arc;
use std::time::Duration;

use oob_policy::{Detection, shown};
use oob_wsman::mei_clients;
use oob_wsman::pthi::LeafHash;
use oob_wsman::upid::{self, decode_platform_id};
use oob_wsman::verifier::{
    INTEL_ON_DIE_ROOT, ON_DIE_ROOT, OnDie, Pinned, SelfMade, Versions, client_config, client_config_with,
};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::ResolvesClientCert;

use super::Run;
use super::amt::{Point, connect};
use super::quirks::TLS_1_2_FOR_ACTIVATION;
use crate::machine::{Machine, MeiError};
use crate::probe;

/// SHA-256 of a whole certificate.
pub(super) type Pin = [u8; 32];

/// The first AMT that has no cleartext port at all, not even for its own host (reference/amt.md 0.3).
const TLS_ONLY: u32 = 19;
const REPLY: Duration = Duration::from_secs(10);

/// Who is expected.
#[derive(Clone)]
pub(super) enum Peer {
    /// This certificate.
    Pinned(Pin),
    /// The die's own chain, before AMT is provisioned.
    OnDie { rules: OnDie, ours: Option<Ours> },
    /// What AMT shows once its provisioning has begun and nobody has told yet: its die's chain still, or the one
    /// certificate that it made itself. The first that is seen is the only one from then on.
    SelfMade { verifier: Arc<SelfMade>, ours: Option<Ours> },
}

/// The provisioning certificate, shown to AMT where it asks for one.
pub(super) type Ours = Arc<dyn ResolvesClientCert>;

impl Peer {
    /// AMT as it is when its provisioning has begun.
    pub(super) fn self_made(rules: OnDie, ours: Option<Ours>) -> Self {
        Self::SelfMade { verifier: Arc::new(SelfMade::new(rules)), ours }
    }

    /// The certificate that this peer has, as far as it is one alone.
    pub(super) fn pin(&self) -> Option<Pin> {
        match self {
            Self::Pinned(pin) => Some(*pin),
            Self::OnDie { .. } => None,
            Self::SelfMade { verifier, .. } => verifier.seen(),
        }
    }

    /// Whether this is a peer of the activation, for [`TLS_1_2_FOR_ACTIVATION`].
    pub(super) const fn is_of_activation(&self) -> bool {
        !matches!(self, Self::Pinned(_))
    }

    /// TLS with this peer alone.
    ///
    /// # Errors
    /// A sentence, where the TLS library refuses its configuration.
    pub(super) fn config(&self, versions: Versions) -> Result<ClientConfig, String> {
        let made = match self {
            Self::Pinned(pin) => client_config(Arc::new(Pinned::new(*pin)), versions),
            Self::OnDie { rules, ours: None } => client_config(Arc::new(rules.clone()), versions),
            Self::OnDie { rules, ours: Some(ours) } => {
                client_config_with(Arc::new(rules.clone()), versions, ours.clone())
            }
            Self::SelfMade { verifier, ours: None } => client_config(verifier.clone(), versions),
            Self::SelfMade { verifier, ours: Some(ours) } => {
                client_config_with(verifier.clone(), versions, ours.clone())
            }
        };
        made.map_err(|error| error.to_string())
    }
}

/// What ties a handshake to this very machine, and in which words that is told.
pub(super) struct Die {
    rules: OnDie,
    /// Whose root it ends at.
    pub(super) root: &'static str,
    /// Why the platform's id is not compared; none where it is.
    pub(super) unbound: Option<String>,
}

impl Die {
    /// Asks the platform for its id, which the chain's ROM certificate must fit. Where there is none to be had, the chain
    /// alone must do, and that is told.
    pub(super) async fn of(machine: &Machine) -> Self {
        let (serial, unbound) = match platform_id(machine).await {
            Ok(Some(serial)) => (Some(serial), None),
            Ok(None) => (None, Some("the firmware has no platform id (UPID)".to_owned())),
            Err(why) => (None, Some(format!("the platform id (UPID) cannot be had: {}", shown(&why)))),
        };
        let simulated = machine.ports().ok().flatten().and_then(|ports| ports.on_die_root);
        let (root, root_sha256, der) = match simulated {
            Some(root) => ("the simulation's", root.sha256, root.der),
            None => ("Intel's", ON_DIE_ROOT, Some(INTEL_ON_DIE_ROOT.to_vec())),
        };
        let rules = OnDie { root_sha256, root: der, leaf_hash: None, upid_serial: serial };
        Self { rules, root, unbound }
    }

    /// AMT that is not provisioned.
    pub(super) fn peer(&self) -> Peer {
        Peer::OnDie { rules: self.rules.clone(), ours: None }
    }

    /// AMT that told over MEI which certificate it will show, and was told which one we will.
    pub(super) fn armed(&self, leaf: &LeafHash, ours: Ours) -> Peer {
        let rules = OnDie { leaf_hash: Some(leaf.bytes().to_vec()), ..self.rules.clone() };
        Peer::OnDie { rules, ours: Some(ours) }
    }

    /// AMT whose provisioning has begun.
    pub(super) fn self_made(&self, ours: Option<Ours>) -> Peer {
        Peer::self_made(self.rules.clone(), ours)
    }

    /// What was seen of it, for a proof.
    pub(super) fn evidence(&self, leaf: bool) -> String {
        let mut text = format!("TLS with an on-die certificate chain that ends at {} root", self.root);
        if leaf {
            text += ", whose leaf AMT named over MEI";
        }
        text += match self.unbound {
            None => ", bound to this platform's id (UPID)",
            Some(_) => ", not bound to a platform id",
        };
        text += "; revocation was not checked";
        text
    }
}

/// AMT's version, as it or its engine tells it.
pub(super) fn amt_version(detection: &Detection) -> Option<&str> {
    detection.known("intel.amt.version").or_else(|| detection.known("intel.me.version"))
}

pub(super) fn amt_major(detection: &Detection) -> Option<u32> {
    amt_version(detection).and_then(|version| version.split('.').next()?.parse().ok())
}

/// Whether this AMT speaks TLS alone, and leaves provisioning with `CommitChanges` only.
pub(super) fn is_tls_only(run: &Run<'_>) -> bool {
    amt_major(run.detection).is_some_and(|major| major >= TLS_ONLY)
}

/// Whether this AMT makes a certificate for itself when its provisioning begins: 16.1 is the first (reference/amt.md 4.5), and
/// which 16 it is does not matter to whoever finds out that there is one.
pub(super) fn makes_its_own(run: &Run<'_>) -> bool {
    amt_major(run.detection).is_some_and(|major| major >= 16)
}

/// The quirks that an activation over TLS reckons with, by number.
pub(super) fn quirks(run: &Run<'_>) -> Vec<String> {
    let applies =
        |quirk: &super::quirks::Quirk| amt_major(run.detection).is_some_and(|major| quirk.applies_to(major));
    let all = [TLS_1_2_FOR_ACTIVATION];
    all.iter()
        .filter(|quirk| applies(quirk))
        .map(|quirk| format!("{}: {}", quirk.id, quirk.instead))
        .collect()
}

async fn platform_id(machine: &Machine) -> Result<Option<[u8; 32]>, String> {
    let point = Point { kind: "asking", what: "UPID_PLATFORM_ID_GET" };
    let reply = exchange(machine, &point).await.map_err(|error| error.to_string())?;
    let id = decode_platform_id(&reply).map_err(|error| error.to_string())?;
    Ok(id.map(|id| id.hardware))
}

async fn exchange(machine: &Machine, point: &Point) -> Result<Vec<u8>, MeiError> {
    let mut mei = connect(machine, "upid", mei_clients::UPID.guid).await?;
    probe::before(point);
    mei.send(&upid::GET_PLATFORM_ID).await?;
    let reply = mei.recv(machine.deadline(REPLY)).await?;
    probe::after(point);
    Ok(reply)
}
