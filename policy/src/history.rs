//! What is known besides the machine itself: its history in org state, and the circumstances of this run.

use serde::{Deserialize, Serialize};

use crate::RootKind;

/// The fold of this device's events, and its open journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Event id of the head of the longest valid chain.
    pub head: Option<String>,
    /// Highest `seq` seen; 0 when there is no event.
    pub seq: u64,
    /// More than one head: both branches' credentials are candidates.
    pub forked: bool,
    /// AMT as we last proved it to be ours; of several provisionings the one whose realm answers, where that was asked.
    pub amt: Option<AmtOurs>,
    /// Other proofs that were not undone, newest first: where stores were merged, one of them may be the live one.
    pub amt_older: Vec<AmtOurs>,
    /// The last proof from another host that this very provisioning of AMT is reachable and ours.
    #[serde(default)]
    pub amt_remote: Option<RemoteProof>,
    /// Highest credential generation seen for AMT, in events or escrow files; 0 when there is none.
    pub amt_generation: u32,
    /// A change that our own journal shows we had begun and not finished.
    pub open: Option<OpenChange>,
    /// SHA-256 (hex) of the certificate that our journal last shows on its way to AMT, whatever became of it.
    #[serde(default)]
    pub tls_pin_sent: Option<String>,
    /// The same certificate, where no proof that was ever recorded tells of it.
    #[serde(default)]
    pub tls_pin_unproven: Option<String>,
    /// AMT's wired addresses before a run of ours wrote settings, where it ended before it had compared them.
    #[serde(default)]
    pub wired_before: Option<WiredBefore>,
    /// The last firmware image we staged.
    pub staged: Option<Staged>,
    /// The realm of an AMT that our journal shows a run told to go up to admin control mode, and that did not refuse.
    #[serde(default)]
    pub upgrading: Option<String>,
    /// The realm of an AMT that our journal shows a run was unprovisioning when it ended.
    #[serde(default)]
    pub leaving: Option<String>,
    /// Escrow file of the last password that MEBx took from a run of ours; it outlives every unprovisioning but others'.
    #[serde(default)]
    pub mebx: Option<String>,
    /// Escrow file of the MEBx password that the run of the open change made, whether or not AMT took it.
    #[serde(default)]
    pub mebx_open: Option<String>,
    /// The last run of ours that switched AMT on, unless one switched it off since.
    #[serde(default)]
    pub enabled: Option<Enabled>,
    /// Our journal shows a run that told AMT's firmware to switch AMT off and was not refused, and none that used AMT since.
    #[serde(default)]
    pub switching_off: bool,
    /// The event of the last run that switched AMT off by its firmware, unless one of ours used AMT since.
    #[serde(default)]
    pub locked_down: Option<LockedDown>,
    /// Highest policy serial applied to this device, with that policy's sha256 (hex).
    pub policy: Option<(u64, String)>,
    /// Events that could not be read or whose hash or signature does not hold, by file name.
    pub rejected: Vec<String>,
}

impl History {
    /// Every proof that was not undone, the one that decisions are made from first.
    pub fn proofs(&self) -> impl Iterator<Item = &AmtOurs> {
        self.amt.iter().chain(&self.amt_older)
    }

    /// The proof of the AMT that answers with this realm. Of one provisioning the newest counts.
    #[must_use]
    pub fn proof_of(&self, realm: &str) -> Option<&AmtOurs> {
        self.proofs().find(|ours| ours.realm == realm)
    }

    /// Whether only AMT itself can tell which of several provisionings the live one is: stores were merged, or others set it
    /// up between two of ours. Generations count within one store, so those of two say nothing.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let open = self.open.as_ref().filter(|open| open.call_sent).map(|open| &open.realm);
        let known = self.amt.as_ref().map(|ours| &ours.realm);
        let mut others = self.amt_older.iter().map(|ours| &ours.realm).chain(open);
        known.is_some_and(|known| others.any(|realm| realm != known))
    }
}

/// AMT of this device, proven ours by a `verified` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmtOurs {
    pub generation: u32,
    /// `Digest:<32 hex>`; it changes when the device is provisioned again, so it tells ours from others'.
    pub realm: String,
    /// `ccm` or `acm`.
    pub control_mode: String,
    /// The event that holds the proof.
    pub event: String,
    /// Escrow file name that holds the credential.
    pub escrow: String,
    /// That file is in the store, and its content matches its name.
    pub sealed: bool,
    /// Whom it is sealed to, as `name (role) fingerprint`; empty where no event tells.
    pub recipients: Vec<String>,
    /// Settings that were written and read back since, as [`crate::AmtSettings::words`] has them.
    #[serde(default)]
    pub settings: Vec<String>,
    /// SHA-256 (hex) of the certificate that it serves, where this agent gave it one, or saw it with its own (AMT 19).
    #[serde(default)]
    pub tls_pin: Option<String>,
    /// How long that certificate lasts and who issued it, where the event tells.
    #[serde(default)]
    pub tls_leaf: Option<TlsLeaf>,
    /// SHA-256 (hex) of the certificate that AMT made for itself and serves other machines, where no run gave it one (AMT 16.1
    /// to 18): its own ports here speak no TLS, so it was read over a login and is none of `tls_pin`.
    #[serde(default)]
    pub network_pin: Option<String>,

    /// The run that sealed the credential, where an event tells.
    #[serde(default)]
    pub sealed_by: Option<String>,
    /// Escrow file of a MEBx password of this generation, whether or not AMT took it.
    #[serde(default)]
    pub mebx_escrow: Option<String>,
}

impl AmtOurs {
    /// The certificate that it serves other machines, where the proof tells.
    pub fn served_pin(&self) -> Option<&String> {
        self.tls_pin.as_ref().or(self.network_pin.as_ref())
    }
}

/// A certificate that this agent gave AMT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsLeaf {
    /// Seconds since 1970.
    pub not_after: i64,
    /// SHA-256 (hex) of the CA's certificate, the URL of a CA over HTTPS, or `nobody` for one that is pinned.
    pub issuer: String,
}

/// AMT that a run of ours switched off by its firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedDown {
    pub event: String,
    /// Escrow file of the password that MEBx took before; none where MEBx kept the one it had.
    pub mebx_escrow: Option<String>,
}

/// AMT that a run of ours told its firmware to switch on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled {
    pub event: String,
    /// The boot in which it was told; none where nothing told that.
    pub boot_id: Option<String>,
}

/// How AMT's wired interface came by its address before settings were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WiredBefore {
    /// The login realm of the AMT that it was; another one is another AMT's.
    pub realm: String,
    pub dhcp: Option<bool>,
    pub shared: Option<bool>,
    pub sync: Option<bool>,
    /// Address, mask, gateway and two name servers; none with DHCP.
    pub fixed: Option<[Option<String>; 5]>,
}

/// What another host proved of AMT over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteProof {
    /// The event that holds it.
    pub event: String,
    /// Where AMT answered, such as `192.0.2.7:16993`.
    pub address: String,
    /// RFC 3339, by that host's clock.
    pub time: String,
}

/// The open journal: which credential generation was on its way to the device when the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenChange {
    pub generation: u32,
    /// `DigestRealm` of the device just before the change.
    pub realm: String,
    /// Escrow file name that holds the candidate.
    pub escrow: String,
    /// The mutating call was about to be sent and was not refused, so it may have happened.
    pub call_sent: bool,
    /// SHA-256 (hex) of the certificate that AMT may be serving by now.
    #[serde(default)]
    pub tls_pin: Option<String>,
    /// The change replaces a password that AMT had before, so that one may still be the live one.
    #[serde(default)]
    pub rotation: bool,
    /// The run that began it.
    #[serde(default)]
    pub run_id: String,
    /// Escrow files of earlier changes of this kind whose end nobody knows either, oldest first.
    #[serde(default)]
    pub earlier: Vec<String>,
}

impl OpenChange {
    /// Whether that proof tells how this change ended: it is of the very credential, or of a later one of the same AMT. Of two
    /// new passwords with one generation, by two media, nobody knows which came last.
    #[must_use]
    pub fn is_ended_by(&self, ours: &AmtOurs) -> bool {
        let later = ours.generation > self.generation || ours.generation == self.generation && !self.rotation;
        ours.escrow == self.escrow || ours.realm == self.realm && later
    }
}

/// A staged firmware image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// sha256 (hex) of the image that was given.
    pub original_sha256: String,
    /// sha256 (hex) of the image that was staged.
    pub result_sha256: String,
    pub method: String,
    /// sha256 (hex) of the manifest that was staged with it.
    #[serde(default)]
    pub manifest_sha256: Option<String>,
    pub event: String,
}

/// The circumstances of this run, told by the operator and by the medium, never by the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub root: RootKind,
    pub site: Option<String>,
    pub role: Option<String>,
    /// Seconds since 1970 by this machine's clock.
    pub now: i64,
    /// False for a clock that nothing vouches for; then dates only warn.
    pub clock_trusted: bool,
    pub trust: PolicyTrust,
    /// Where the device id comes from a seed in `--out` and not from the hardware.
    pub weak_id: bool,
    /// Why escrow would not be durable in `--out`; none where it is.
    pub escrow_not_durable: Option<String>,
    /// The image given with `--firmware-image`, or else read from the chip.
    pub firmware: Option<Firmware>,
    /// Why the chip could not be read, where that was tried.
    pub flash_unread: Option<String>,
    /// The provisioning certificate that the rule names: whom it is of, or why it cannot be used. None where no rule
    /// that applies names one.
    #[serde(default)]
    pub certificate: Option<Result<String, String>>,
    /// Why the CA that the rule names for AMT's TLS certificate cannot be used; none where it can, or none is named.
    #[serde(default)]
    pub tls_ca_unusable: Option<String>,
    /// What files of AMT's network turned out to be that the rule names.
    #[serde(default)]
    pub named: NamedFiles,
    /// The operator gave a credential that may be AMT's.
    #[serde(default)]
    pub known_credential: bool,
    /// The operator asks for a new password in place of the one that was given.
    #[serde(default)]
    pub rotate: bool,
}

/// What the files hold that a rule names for AMT's network. A hash is a fact; a secret is never here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFiles {
    /// SHA-256 (hex) of the certificate of the CA that issues AMT's TLS certificate.
    #[serde(default)]
    pub tls_ca_sha256: Option<String>,
    /// SHA-256 (hex) of the certificate of the CA of AMT's clients, or why it cannot be used.
    #[serde(default)]
    pub mutual_ca: Option<Result<String, String>>,
    /// Why the passphrase of the Wi-Fi profile cannot be used.
    #[serde(default)]
    pub wifi_passphrase_unusable: Option<String>,
}

/// Who vouches for the policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyTrust {
    /// No valid signature, and nothing that permits that.
    Unsigned,
    /// No valid signature; the operator said `--allow-unsigned`.
    UnsignedAllowed,
}

/// What a firmware image turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    pub source: ImageSource,
    pub sha256: String,
    pub size: u64,
    /// `major.minor.hotfix.build`.
    pub me_version: Option<String>,
    /// By the layout of the image, for people.
    pub generation: Option<String>,
    /// PCH family by the descriptor, such as `sunrise-point-lp`; none where the descriptor does not tell.
    pub pch: Option<String>,
    pub soft_disable: SoftDisable,
    pub clean: CleanVerdict,
    /// Partitions that code removal keeps on this generation unless policy says otherwise.
    pub keep: Vec<String>,
    /// The Boot Guard manifests in the image, which fuses may enforce; none where there are none.
    pub boot_guard: Option<String>,
    /// What a person should know before such an image is flashed.
    pub warnings: Vec<String>,
    /// And what besides where its code was removed.
    pub clean_warnings: Vec<String>,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// A file that the operator named.
    Given,
    /// This machine's own chip, read twice by this run.
    Chip,
}

/// Whether the soft-disable strap of an image can be set by this build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SoftDisable {
    Possible,
    AlreadySet,
    Refused(String),
}

/// Whether code can be removed from the ME region of an image by this build, Boot Guard left aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanVerdict {
    Possible,
    /// The image holds no code that could be removed.
    AlreadyClean,
    Refused(String),
}
