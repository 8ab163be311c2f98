//! TLS on AMT's ports (reference/amt.md 5.9): a key that AMT makes and keeps, a certificate for it, both served and
//! seen served.
//!
//! The certificate is issued by the org's CA where policy names one: by its key, or over HTTPS (`enroll.rs`). Otherwise
//! nobody issues it, and its SHA-256 in org state is what a client goes by.

use std::collections::BTreeSet;
use std::time::Duration;

use oob_policy::{TlsLeaf, shown};
use oob_wsman::classes::Reference;
use oob_wsman::classes::amt::{GeneralSettings, commit_changes};
use oob_wsman::classes::certificates::{
    PublicKeyCertificate, PublicPrivateKeyPair, add_certificate, generate_key_pair,
    generate_pkcs10_request_ex,
};
use oob_wsman::classes::tls::{
    LOCAL, REMOTE, TlsCredentialContext, TlsSettingData, create_credential_context, put_credential_context,
};
use oob_wsman::http::HttpError;
use oob_wsman::pthi::PtStatus;
use oob_wsman::x509::{certificate_facts, certificate_pin, is_request_of, public_key_from_pkcs1};

use super::addresses::{Addresses, Kept};
use super::failure::{Failure, WsError, described};
use super::mutual::{self, Admitted, Before, Clients};
use super::peer::{Die, Pin, is_tls_only, makes_its_own};
use super::proof::{Client, SETTLE};
use super::prune::{self, Pruned};
use super::settings::{go_on, log_in, marked, mutating, refused};
use super::setup::Session;
use super::{Run, addresses};
use crate::leaf::{self, DeviceKey};
use crate::state::{JournalEntry, hex};

const BITS: u32 = 2048;
/// The device says to wait (2061, 2082) and has not acted then.
const KEY_TRIES: u32 = 10;
const KEY_PAUSE: Duration = Duration::from_secs(3);
/// Committed settings restart the ports, which may take a minute (reference/amt.md 5.9).
const RESTART: Duration = Duration::from_secs(90);
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Between commits that were not answered: ports that restart are away for seconds to a minute.
const COMMIT_PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];
/// Not ready, generating keys, blocked by a component, in progress (reference/amt.md 7).
const NOT_NOW: [PtStatus; 4] = [PtStatus(2), PtStatus(2061), PtStatus(2076), PtStatus(2082)];

/// Nobody saw the new certificate served.
const NOT_SEEN: &str = "tls-not-seen";

/// TLS that is on.
pub(super) struct Secured {
    /// Lower-case hex: SHA-256 of the certificate that is served.
    pub(super) pin: String,
    /// It was seen in a handshake; else the settings were read alone.
    pub(super) shaken: bool,
    /// The CA over HTTPS that issued it.
    pub(super) issued_by: Option<String>,
    pub(super) addresses: Kept,
    pub(super) leaf: TlsLeaf,
    pub(super) pruned: Pruned,
    /// Who is let in by the network's port.
    pub(super) admitted: Admitted,
}

/// How TLS is to be.
pub(super) struct TlsWanted<'a> {
    /// No cleartext beside it on the network.
    pub(super) required: bool,
    /// Also on the ports that this machine itself uses, which is where a handshake can be seen from here.
    pub(super) local: bool,
    /// The wired addresses before the first write.
    pub(super) before: Option<&'a Addresses>,
    /// The network's clients must show a certificate.
    pub(super) clients: Option<Clients<'a>>,
}

/// Gives AMT a key and a certificate, switches TLS on and sees it served.
pub(super) async fn secure(
    run: &mut Run<'_>,
    session: &mut Session<'_>,
    wanted: &TlsWanted<'_>,
) -> Result<Secured, Failure> {
    let TlsWanted { required, local, before, clients } = *wanted;
    let old = session.lme.pin();
    run.progress.begin("amt: giving AMT a key and a certificate of its own");
    let mut admin = go_on(session);
    let key = make_key(run, &mut admin).await?;
    let key_id = named(&key, "key")?;
    let pair = admin.get_with::<PublicPrivateKeyPair>(&[("InstanceID", &key_id)]).await;
    let pair = pair.map_err(|error| refused("TLS key", &error))?;
    let public = pair.der_key.unwrap_or_default();
    let (Some(spki), Some(device_key)) = (public_key_from_pkcs1(&public), DeviceKey::from_base64(&public))
    else {
        return Err(Failure::unchanged(
            "no-public-key",
            "AMT's new key pair has no public key that can be read",
        ));
    };
    let name = leaf::name_of(run.detection);
    let broken = |why: String| Failure::unchanged("certificate-not-made", why);
    let request = match run.enrollment {
        Some(_) => leaf::request_in_full(&name, &device_key),
        None => leaf::request(&name, &device_key),
    };
    let request = request.map_err(broken)?;
    let signed = mutating("PKCS10", admin.invoke(&generate_pkcs10_request_ex(&key_id, &request))).await?;
    if !is_request_of(&signed, &spki) {
        return Err(Failure::unchanged(
            "key-not-proven",
            "AMT's signed request is not of the key that it just made, so no certificate was issued for it",
        ));
    }
    let der = match run.enrollment {
        None => leaf::issue(&name, &device_key, run.issuer).map_err(broken)?,
        Some(ca) => {
            let issued = ca.issue(run.machine, &signed, &spki).await;
            // Minutes may have gone by; what comes next is never sent twice, so its login must be fresh and proven.
            drop(admin);
            admin = log_in(session).await;
            match issued {
                Ok(der) => {
                    admin.get::<GeneralSettings>().await.map_err(|error| refused("TLS", &error))?;
                    der
                }
                Err(unissued) => {
                    // A key that nothing will use takes one of few places.
                    let key: [(&str, &str); 1] = [("InstanceID", &key_id)];
                    let removed = marked("TLS key", admin.delete::<PublicPrivateKeyPair>(&key)).await;
                    if let Err(error) = removed {
                        tracing::warn!(error = %described(&error), "the key that was made stays in AMT");
                    }
                    return Err(unissued.into());
                }
            }
        }
    };
    let pin = certificate_pin(&der);
    let sha256 = hex(&pin);
    let leaf = leaf_of(run, &der)?;
    // A run that dies behind this line leaves a device that speaks TLS with this certificate alone.
    run.journal
        .append(JournalEntry::Certificate { sha256: sha256.clone() })
        .map_err(|error| Failure::not_recorded("AMT made a key", &error))?;
    let added = mutating("certificate", admin.invoke(&add_certificate(&der))).await?;
    let certificate = named(&added, "certificate")?;
    if let Some(clients) = clients {
        mutual::trust(run, &mut admin, clients).await?;
    }
    serve(&mut admin, &certificate, is_tls_only(run)).await?;
    run.progress.end("done");

    run.progress.begin("amt: switching TLS on and seeing the certificate served");
    let asked = switch_on(&mut admin, REMOTE, Some(!required), clients).await?;
    if local {
        switch_on(&mut admin, LOCAL, None, None).await?;
    }
    session.login = admin.into_login();
    let committed = commit(run, session, local).await?;
    if local {
        session.lme.pin_to(pin);
    }
    let served = Served { certificate, der, required, local, clients, asked };
    let mut seen = read_back(run, session, &served, before, committed).await;
    if let Err(failure) = &seen
        && failure.cause == NOT_SEEN
        && let Some(old) = one_before(run, session, old, local).await
    {
        let why = failure.text.clone();
        if put_again(run, session, &served, old).await? {
            session.lme.pin_to(pin);
            seen = read_back(run, session, &served, before, true).await;
        }
        // Where neither answers, `seen` says so, and client control mode is taken back.
        if seen.is_err() && answers_with(session, old).await {
            return Err(prune::stale(&why));
        }
    }
    let mut seen = seen?;
    let stale = stale_roots(run, clients, &seen.beside);
    let pruned = prune::prune(run, session, &sha256, local, &stale).await;
    if pruned.roots > 0 {
        match without_roots(run, session, &served, before).await {
            Ok(now) if now.addresses == Kept::AsBefore => seen.beside = now.beside,
            Ok(now) => seen = now,
            // Then they count as trusted still.
            Err(failure) => tracing::warn!(error = %failure.text, "AMT's trusted roots were not seen anew"),
        }
    }
    run.progress.end("done");
    let issued_by = run.enrollment.map(ToString::to_string);
    let admitted = match clients {
        Some(_) => Admitted::Wished { beside: seen.beside },
        None => Admitted::Left(served.asked),
    };
    Ok(Secured { pin: sha256, shaken: local, issued_by, addresses: seen.addresses, leaf, pruned, admitted })
}

/// Of the roots that AMT trusts besides the one that policy names, those that are ours to remove. What others trust stays, and
/// is told.
fn stale_roots(run: &Run<'_>, clients: Option<Clients<'_>>, beside: &[String]) -> BTreeSet<String> {
    if clients.is_none() || beside.is_empty() {
        return BTreeSet::new();
    }
    let proofs = run.history.amt.iter().chain(&run.history.amt_older);
    let ours = mutual::ours(run.journal.earlier(), proofs);
    beside.iter().filter(|root| ours.contains(*root)).cloned().collect()
}

/// Nothing says whether a root that is gone is out of force before the next commit, so there is one, which AMT must answer: no
/// handshake from here shows which clients it takes.
async fn without_roots(
    run: &Run<'_>,
    session: &mut Session<'_>,
    served: &Served<'_>,
    before: Option<&Addresses>,
) -> Result<Seen, Failure> {
    commit(run, session, false).await?;
    read_back(run, session, served, before, true).await
}

/// The certificate that AMT may go on serving. From 16.1 on it made one for itself when it was set up, which nobody saw.
async fn one_before(run: &Run<'_>, session: &mut Session<'_>, old: Option<Pin>, local: bool) -> Option<Pin> {
    if old.is_some() || !local || !makes_its_own(run) {
        return old.filter(|_| local);
    }
    session.lme.trust(Die::of(run.machine).await.self_made(None)).await;
    session.lme.reach().await.ok()?;
    session.lme.pin()
}

/// Some firmware goes on serving a certificate until the one that replaces it is put a second time. False where the old
/// one is not served either.
async fn put_again(
    run: &Run<'_>,
    session: &mut Session<'_>,
    served: &Served<'_>,
    old: Pin,
) -> Result<bool, Failure> {
    if !answers_with(session, old).await {
        return Ok(false);
    }
    let mut admin = log_in(session).await;
    mutating("TLS certificate", admin.send(&put_credential_context(&served.certificate))).await?;
    session.login = admin.into_login();
    commit(run, session, served.local).await?;
    Ok(true)
}

/// Whether AMT answers with this certificate. From now on it is the one that is expected.
async fn answers_with(session: &mut Session<'_>, pin: Pin) -> bool {
    session.lme.pin_to(pin);
    log_in(session).await.get_with::<TlsSettingData>(&[("InstanceID", LOCAL)]).await.is_ok()
}

fn leaf_of(run: &Run<'_>, der: &[u8]) -> Result<TlsLeaf, Failure> {
    let facts = certificate_facts(der).ok_or_else(|| {
        Failure::unchanged("certificate-not-made", "the certificate that was made for AMT cannot be read")
    })?;
    let ca = run.issuer.and_then(|issuer| issuer.chain.first());
    let issuer = match (run.enrollment, ca) {
        (Some(service), _) => service.to_string(),
        (None, Some(ca)) => hex(&certificate_pin(ca)),
        (None, None) => "nobody".to_owned(),
    };
    Ok(TlsLeaf { not_after: facts.not_after, issuer })
}

async fn make_key(run: &Run<'_>, admin: &mut Client<'_, '_>) -> Result<Reference, Failure> {
    let mut tries = KEY_TRIES;
    loop {
        tries -= 1;
        match marked("GenerateKeyPair", admin.invoke(&generate_key_pair(BITS))).await {
            Err(error) if is_busy(&error) && tries > 0 => run.machine.pause(KEY_PAUSE).await,
            Err(WsError::ReturnValue(error)) if error.status() == PtStatus(23) => {
                return Err(Failure::impossible(
                    "no-key-slot",
                    "AMT has no room for another key: remove those that nothing uses (MEBx, or full unprovisioning)",
                ));
            }
            made => return made.map_err(|error| refused("TLS key", &error)),
        }
    }
}

/// The device is making a key, or something else: it did not act.
fn is_busy(error: &WsError) -> bool {
    matches!(error, WsError::ReturnValue(error) if [2061, 2082].contains(&error.status().0))
}

/// AMT goes on serving an old certificate unless the one it has is replaced (reference/amt.md 5.9 item 6). `has_one`: it made
/// one itself, so there is something to replace; else it is seen to.
async fn serve(admin: &mut Client<'_, '_>, certificate: &str, has_one: bool) -> Result<(), Failure> {
    const WHAT: &str = "TLS certificate";
    let first = match has_one {
        true => marked(WHAT, admin.send(&put_credential_context(certificate))).await,
        false => marked(WHAT, admin.send(&create_credential_context(certificate))).await,
    };
    match first {
        Err(error) if has_one && error.is_absent() => {
            mutating(WHAT, admin.send(&create_credential_context(certificate))).await
        }
        Err(error) if error.already_exists() => {
            mutating(WHAT, admin.send(&put_credential_context(certificate))).await
        }
        done => done.map_err(|error| refused(WHAT, &error)),
    }
}

async fn switch_on(
    admin: &mut Client<'_, '_>,
    instance: &str,
    cleartext: Option<bool>,
    clients: Option<Clients<'_>>,
) -> Result<Before, Failure> {
    let settings = admin.get_to_edit::<TlsSettingData>(&[("InstanceID", instance)]).await;
    let mut settings = settings.map_err(|error| refused("TLS", &error))?;
    settings.set_bool("Enabled", true);
    let asked = mutual::demand(&mut settings, clients);
    if let Some(cleartext) = cleartext {
        // From AMT 16.1 on there is none, and asking for it is an error.
        let possible = settings.non_secure_connections_supported != Some(false);
        settings.set_bool("AcceptNonSecureConnections", cleartext && possible);
    }
    mutating("TLS", admin.put(&settings)).await?;
    Ok(asked)
}

/// The ports restart while AMT answers, so its answer may be lost, and what was put reads as put whether it came into force
/// or not (reference/amt.md 5.9 item 8). Where a handshake will show what came of it, a lost answer is none (false);
/// elsewhere only AMT's word counts, and it is asked again: the second time nothing is left that restarts.
async fn commit(run: &Run<'_>, session: &mut Session<'_>, shown: bool) -> Result<bool, Failure> {
    let mut pauses = COMMIT_PAUSES.iter();
    let mut admin = go_on(session);
    loop {
        let lost = match marked("CommitChanges", admin.invoke(&commit_changes())).await {
            Ok(()) => return Ok(true),
            Err(error) if is_no_answer(&error) => error,
            Err(error) => return Err(refused("TLS", &error)),
        };
        if shown {
            return Ok(false);
        }
        let Some(pause) = pauses.next() else {
            let text = format!("AMT does not say that it committed TLS: {}", described(&lost));
            return Err(Failure::unchanged("tls-not-committed", text));
        };
        run.machine.pause(*pause).await;
        admin = log_in(session).await;
    }
}

/// It says nothing of whether AMT did it: a number that the call does not have is no refusal, and not ready or busy is none
/// of a commit that may have been the one before.
fn is_no_answer(error: &WsError) -> bool {
    match error {
        WsError::OutcomeUnknown { .. } | WsError::Transport(_) => true,
        WsError::ReturnValue(error) => !error.is_known() || NOT_NOW.contains(&error.status()),
        _ => false,
    }
}

/// What should be served.
struct Served<'a> {
    /// InstanceID of the certificate.
    certificate: String,
    der: Vec<u8>,
    required: bool,
    local: bool,
    clients: Option<Clients<'a>>,
    /// What the network's port asked of clients before.
    asked: Before,
}

/// What was read back besides.
struct Seen {
    addresses: Kept,
    /// SHA-256 (hex) of roots that AMT trusts besides the one that policy names.
    beside: Vec<String>,
}

/// Over a login of its own, once the ports are up again. Cleartext that still answers is no end: TLS comes later, or with
/// the commit that was lost (`committed`: it was not).
async fn read_back(
    run: &Run<'_>,
    session: &mut Session<'_>,
    served: &Served<'_>,
    before: Option<&Addresses>,
    committed: bool,
) -> Result<Seen, Failure> {
    let until = run.machine.until(RESTART);
    let (mut committed, mut refused_once) = (committed, false);
    loop {
        let mut admin = log_in(session).await;
        let remote = admin.get_with::<TlsSettingData>(&[("InstanceID", REMOTE)]).await;
        session.login = admin.into_login();
        // A handshake with the pinned certificate is what the TLS ports alone can give.
        let in_force = !served.local || session.lme.is_tls();
        if let (false, Some(pin)) = (in_force, session.lme.pin()) {
            session.lme.pin_to(pin); // looks for them anew
        }
        match remote {
            Ok(remote) if in_force => {
                let mut admin = go_on(session);
                let beside = check(&mut admin, served, remote).await?;
                let addresses = addresses::keep(&mut admin, before).await?;
                return Ok(Seen { addresses, beside });
            }
            Ok(_) if until.is_over() => return Err(differs("its local ports", "TLS", "cleartext")),
            // Once: what it restarts takes its time again.
            Ok(_) if !committed => {
                commit(run, session, true).await?;
                committed = true;
            }
            Ok(_) => {}
            // Right after a restart AMT may call the right password wrong for some seconds (reference/amt.md 0.7).
            Err(WsError::Unauthorized { .. }) if !refused_once => {
                refused_once = true;
                run.machine.pause(SETTLE).await;
            }
            // An answer of WS-Man is one.
            Err(error)
                if !matches!(error, WsError::Transport(_) | WsError::Http(HttpError::Status { .. })) =>
            {
                return Err(refused("TLS", &error));
            }
            Err(error) if until.is_over() => {
                let text = format!("AMT does not answer with its new certificate ({})", described(&error));
                return Err(Failure::unchanged(NOT_SEEN, text));
            }
            Err(_) => {}
        }
        run.machine.pause(ASK_EVERY).await;
    }
}

async fn check(
    admin: &mut Client<'_, '_>,
    served: &Served<'_>,
    remote: TlsSettingData,
) -> Result<Vec<String>, Failure> {
    let mut read = vec![(REMOTE, remote)];
    if served.local {
        let local = admin.get_with::<TlsSettingData>(&[("InstanceID", LOCAL)]).await;
        read.push((LOCAL, local.map_err(|error| refused("TLS", &error))?));
    }
    for (instance, seen) in read {
        if seen.enabled != Some(true) {
            return Err(differs(instance, "Enabled = true", &format!("{:?}", seen.enabled)));
        }
        // Never on the local ports.
        let (clients, asked) = match instance {
            REMOTE => (served.clients, &served.asked),
            _ => (None, &Before(None)),
        };
        if !mutual::is_demanded(&seen, clients, asked) {
            let wanted = match clients {
                Some(_) => "MutualAuthentication = true with policy's names".to_owned(),
                None => format!("MutualAuthentication = {} with the names before", asked.0.is_some()),
            };
            return Err(differs(instance, &wanted, &format!("{:?}", seen.mutual_authentication)));
        }
        if instance == REMOTE && served.required && seen.accept_non_secure_connections != Some(false) {
            let seen = format!("{:?}", seen.accept_non_secure_connections);
            return Err(differs(instance, "AcceptNonSecureConnections = false", &seen));
        }
    }
    let beside = match served.clients {
        Some(clients) => mutual::others(admin, clients)
            .await?
            .ok_or_else(|| differs("its trusted roots", "the CA of its clients among them", "others"))?,
        None => Vec::new(),
    };
    let contexts = admin.enumerate::<TlsCredentialContext>().await.map_err(|error| refused("TLS", &error))?;
    if !contexts.iter().any(|context| context.certificate() == Some(&served.certificate)) {
        return Err(differs("the certificate of its TLS", &served.certificate, "another"));
    }
    // Where no handshake shows it, what AMT has under that name is read.
    if !served.local {
        let held = admin.get_with::<PublicKeyCertificate>(&[("InstanceID", &served.certificate)]).await;
        let held = held.map_err(|error| refused("TLS certificate", &error))?;
        if held.der().as_deref() != Some(&served.der) {
            return Err(differs("its certificate", "the one issued", "another"));
        }
    }
    Ok(beside)
}

fn differs(what: &str, wanted: &str, seen: &str) -> Failure {
    let text = format!("AMT accepted TLS, and {what} reads {} instead of {wanted}", shown(seen));
    Failure::unchanged("setting-not-kept", text)
}

fn named(reference: &Reference, what: &str) -> Result<String, Failure> {
    reference.instance_id().map(str::to_owned).ok_or_else(|| {
        Failure::unchanged("no-reference", format!("AMT's answer does not name the {what} that it made"))
    })
}
