//! What a certificate leaves behind that was replaced: itself and its key, which take slots in AMT (reference/amt.md 5.9
//! item 10); and roots whose clients policy does not let in any more. Only what our own journal and proofs name is removed, and
//! only where nothing refers to it any more.

use std::collections::BTreeSet;

use oob_wsman::classes::certificates::{PUBLIC_KEY_CERTIFICATE, PublicKeyCertificate, PublicPrivateKeyPair};
use oob_wsman::classes::references::{Association, CONCRETE_DEPENDENCY, CREDENTIAL_CONTEXT};
use oob_wsman::classes::tls::TLS_CREDENTIAL_CONTEXT;
use oob_wsman::classes::{Class, Reference};
use oob_wsman::x509::{certificate_pin, public_key_from_pkcs1, spki_of};

use super::Run;
use super::failure::{Failure, WsError, described};
use super::proof::Client;
use super::settings::{log_in, marked};
use super::setup::Session;
use crate::state::{JournalEntry, hex};

/// What became of them.
#[derive(Default)]
pub(super) struct Pruned {
    /// SHA-256 (hex) of certificates that are gone.
    pub(super) removed: Vec<String>,
    /// How many of their keys are gone too: another certificate may be for the same one.
    keys: usize,
    /// How many trusted roots are gone.
    pub(super) roots: usize,
    /// Why something is left. It hurts nobody: TLS is as it should be.
    pub(super) left: Option<String>,
}

/// Removes every certificate of ours but the one that is served now. Where no handshake showed that it is (`shaken`), the one
/// before stays too: it may be the one that is served. `roots`: those of ours that AMT is to trust no longer.
pub(super) async fn prune(
    run: &Run<'_>,
    session: &mut Session<'_>,
    serving: &str,
    shaken: bool,
    roots: &BTreeSet<String>,
) -> Pruned {
    let mut ours = ours(run, serving);
    if let Some(before) = run.history.amt.as_ref().and_then(|ours| ours.tls_pin.as_ref()).filter(|_| !shaken)
    {
        ours.remove(before);
        // Nor is it known whether that one ever gave way to the one that came after it.
        if let Some(sent) = &run.history.tls_pin_sent {
            ours.remove(sent);
        }
    }
    let mut pruned = Pruned::default();
    if ours.is_empty() && roots.is_empty() {
        return pruned;
    }
    let mut admin = log_in(session).await;
    if let Err(why) = remove(&mut admin, &ours, roots, &mut pruned).await {
        pruned.left = Some(why);
    }
    pruned
}

/// Certificates that earlier runs gave this device, or were about to. What this run put there was unprovisioned before, or is
/// what is served.
fn ours(run: &Run<'_>, serving: &str) -> BTreeSet<String> {
    let journalled = run.journal.earlier().iter().filter_map(|entry| match entry {
        JournalEntry::Certificate { sha256 } => Some(sha256),
        _ => None,
    });
    let proofs =
        run.history.amt.iter().chain(&run.history.amt_older).filter_map(|ours| ours.tls_pin.as_ref());
    journalled.chain(proofs).filter(|pin| *pin != serving).cloned().collect()
}

async fn remove(
    admin: &mut Client<'_, '_>,
    ours: &BTreeSet<String>,
    roots: &BTreeSet<String>,
    pruned: &mut Pruned,
) -> Result<(), String> {
    let certificates = all::<PublicKeyCertificate>(admin).await?;
    let pin = |it: &PublicKeyCertificate| it.der().map(|der| hex(&certificate_pin(&der)));
    let is_root = |it: &PublicKeyCertificate| it.trusted_root_certificate == Some(true);
    let old = certificates.iter().filter(|it| {
        let named = if is_root(it) { roots } else { ours };
        it.read_only_certificate != Some(true) && pin(it).is_some_and(|pin| named.contains(&pin))
    });
    let old: Vec<&PublicKeyCertificate> = old.collect();
    if old.is_empty() {
        return Ok(());
    }
    let mut contexts = associations(admin, TLS_CREDENTIAL_CONTEXT).await?;
    contexts.extend(associations(admin, CREDENTIAL_CONTEXT).await?);
    let dependencies = associations(admin, CONCRETE_DEPENDENCY).await?;
    let pairs = all::<PublicPrivateKeyPair>(admin).await?;
    for certificate in old {
        let (Some(id), Some(der)) = (certificate.instance_id.as_deref(), certificate.der()) else { continue };
        let is_used = contexts.iter().any(|context| context.names(PUBLIC_KEY_CERTIFICATE, id));
        if is_root(certificate) {
            // One that something refers to stays trusted, which is told by whoever reads the roots next.
            if !is_used && !dependencies.iter().any(|it| it.names(PUBLIC_KEY_CERTIFICATE, id)) {
                match delete::<PublicKeyCertificate>(admin, id).await {
                    Ok(()) => pruned.roots += 1,
                    Err(why) => tracing::warn!(why, "a trusted root stays in AMT"),
                }
            }
            continue;
        }
        if is_used {
            return Err(format!("{} is still referred to", oob_policy::shown(id)));
        }
        delete::<PublicKeyCertificate>(admin, id).await?;
        pruned.removed.extend(pin(certificate));
        let spki = spki_of(&der);
        let is_its = |pair: &&PublicPrivateKeyPair| {
            spki.is_some() && pair.der_key.as_deref().and_then(public_key_from_pkcs1) == spki
        };
        let Some(key) = pairs.iter().find(is_its).and_then(|pair| pair.instance_id.as_deref()) else {
            continue;
        };
        // Another certificate may be for the same key; an association names it, or its own key does.
        let others = certificates.iter().filter(|it| it.instance_id.as_deref() != Some(id));
        let shared = others.clone().any(|it| it.der().and_then(|der| spki_of(&der)) == spki);
        let mut beside = dependencies
            .iter()
            .flat_map(|it| it.beside(PublicPrivateKeyPair::RESOURCE, key))
            .filter_map(Reference::instance_id);
        if shared || beside.any(|other| other != id) {
            continue;
        }
        delete::<PublicPrivateKeyPair>(admin, key).await?;
        pruned.keys += 1;
    }
    Ok(())
}

async fn all<C: Class>(admin: &mut Client<'_, '_>) -> Result<Vec<C>, String> {
    admin.enumerate::<C>().await.map_err(|error| why(C::NAME, &error))
}

/// Associations that this firmware does not have name nothing.
async fn associations(admin: &mut Client<'_, '_>, resource: &str) -> Result<Vec<Association>, String> {
    match admin.associations(resource).await {
        Err(error) if error.is_absent() => Ok(Vec::new()),
        read => read.map_err(|error| why(resource, &error)),
    }
}

async fn delete<C: Class>(admin: &mut Client<'_, '_>, id: &str) -> Result<(), String> {
    let deleted = marked("Delete", admin.delete::<C>(&[("InstanceID", id)])).await;
    deleted.map_err(|error| why(C::NAME, &error))
}

fn why(class: &str, error: &WsError) -> String {
    format!("{class}: {}", described(error))
}

impl Pruned {
    /// As a clause; none where there was nothing to remove.
    pub(super) fn sentence(&self) -> Option<String> {
        match &self.left {
            Some(why) => {
                Some(format!("the certificate before or its key may still be stored in AMT, unused ({why})"))
            }
            None if self.removed.is_empty() => None,
            None if self.keys < self.removed.len() => {
                Some("the certificate before was removed from AMT".to_owned())
            }
            None => Some("the certificate before was removed from AMT with its key".to_owned()),
        }
    }
}

/// The old certificate is still served, though another was put in its place.
pub(super) fn stale(error: &str) -> Failure {
    Failure::unchanged(
        "certificate-not-served",
        format!(
            "AMT took a new certificate and goes on serving the one before ({error}); both are known to org state, so \
             nobody is locked out; run again with `--rotate`"
        ),
    )
}
