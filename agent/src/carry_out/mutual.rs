//! Clients of AMT's network port must show a certificate (reference/amt.md 5.9). The local ports ask for none: whoever is
//! on the machine is let in by password, so that a later run is not locked out.

use std::collections::BTreeSet;

use oob_policy::{AmtOurs, MutualWish, mutual_ca};
use oob_wsman::classes::Editable;
use oob_wsman::classes::certificates::{PublicKeyCertificate, add_trusted_root_certificate};
use oob_wsman::classes::tls::{REMOTE, TlsSettingData};
use oob_wsman::x509::certificate_pin;

use super::Run;
use super::failure::Failure;
use super::proof::Client;
use super::settings::{marked, refused};
use crate::state::{JournalEntry, hex};

const WHAT: &str = "trusted root";

/// What clients must have.
#[derive(Clone, Copy)]
pub(super) struct Clients<'a> {
    pub(super) wish: &'a MutualWish,
    /// The CA's certificate, DER.
    pub(super) ca: &'a [u8],
}

/// What the network's port asked of clients before TLS was written: their names where it asked for certificates. Where policy
/// does not mention them, that is how it stays (DESIGN 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before(pub(super) Option<Vec<String>>);

impl Before {
    fn of(settings: &TlsSettingData) -> Self {
        Self((settings.mutual_authentication == Some(true)).then(|| sorted(&settings.trusted_cn)))
    }
}

/// Who may speak TLS to the network's port, as it was read back.
pub(super) enum Admitted {
    /// As policy wishes: clients of its CA, and of these other roots (SHA-256, hex), which AMT trusts as well.
    Wished { beside: Vec<String> },
    /// Policy does not mention it.
    Left(Before),
}

/// Stores the CA's certificate. One that is there already is as good.
pub(super) async fn trust(
    run: &mut Run<'_>,
    admin: &mut Client<'_, '_>,
    clients: Clients<'_>,
) -> Result<(), Failure> {
    // So that a later run knows it as ours, whatever becomes of this one.
    run.journal
        .append(JournalEntry::TrustedRoot { sha256: hex(&certificate_pin(clients.ca)) })
        .map_err(|error| Failure::not_recorded("AMT was given a certificate", &error))?;
    match marked("AddTrustedRootCertificate", admin.invoke(&add_trusted_root_certificate(clients.ca))).await {
        Ok(_) => Ok(()),
        Err(error) if error.already_exists() => Ok(()),
        Err(error) => Err(refused(WHAT, &error)),
    }
}

/// Into the settings of one side, before they are put. What the network's port asked before.
pub(super) fn demand(settings: &mut Editable<TlsSettingData>, clients: Option<Clients<'_>>) -> Before {
    let before = Before::of(settings);
    let is_network = settings.text("InstanceID") == Some(REMOTE);
    if clients.is_none() && is_network {
        return before;
    }
    settings.set_bool("MutualAuthentication", clients.is_some());
    // Names stand beside the demand only, or firmware refuses the whole.
    let names = clients.map_or(&[][..], |clients| &clients.wish.names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    settings.set_all("TrustedCN", &names);
    before
}

/// Whether what was read back of the network's port is what was demanded, or what was there before.
pub(super) fn is_demanded(seen: &TlsSettingData, clients: Option<Clients<'_>>, before: &Before) -> bool {
    match clients {
        Some(clients) => Before::of(seen) == Before(Some(sorted(&clients.wish.names))),
        None => Before::of(seen) == *before,
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// The roots (SHA-256, hex) that AMT trusts besides the CA's; none where the CA's is not among them, and a demand without it
/// would let nobody in.
pub(super) async fn others(
    admin: &mut Client<'_, '_>,
    clients: Clients<'_>,
) -> Result<Option<Vec<String>>, Failure> {
    let held = admin.enumerate::<PublicKeyCertificate>().await.map_err(|error| refused(WHAT, &error))?;
    let roots = held.iter().filter(|it| it.trusted_root_certificate == Some(true));
    // One that cannot be read is some root all the same.
    let pins =
        roots.map(|it| it.der().map_or_else(|| "unreadable".to_owned(), |der| hex(&certificate_pin(&der))));
    let ca = hex(&certificate_pin(clients.ca));
    let (ours, others): (Vec<String>, Vec<String>) = pins.partition(|pin| *pin == ca);
    Ok((!ours.is_empty()).then_some(others))
}

/// Roots that earlier runs gave this device, or were about to, by the journal and the proofs.
pub(super) fn ours<'a>(
    journal: &[JournalEntry],
    proofs: impl IntoIterator<Item = &'a AmtOurs>,
) -> BTreeSet<String> {
    let journalled = journal.iter().filter_map(|entry| match entry {
        JournalEntry::TrustedRoot { sha256 } => Some(sha256.as_str()),
        _ => None,
    });
    let proven = proofs.into_iter().filter_map(|ours| mutual_ca(&ours.settings));
    journalled.chain(proven).map(str::to_owned).collect()
}
