//! `oob-agent verify --remote`: the half of the proof that only another host can give. The device is named by its id in
//! org state, since this host's own hardware says nothing of it. Nothing is changed on the device.

use std::path::Path;

use oob_policy::{
    AmtOurs, Cleartext, Exit, History, Mutual, RemoteEnd, RemoteResult, RemoteSeen, RootKind, UNKNOWN,
    claims_tls_only, lacks_pin, verify_remote as judge,
};
use oob_wsman::verifier::ClientCertificate;
use serde_json::{Value, json};

use super::verify::unreadable;
use super::{Stop, print, print_json};
use crate::cli::Verify;
use crate::error::chain_of;
use crate::known::{Known, Sealed};
use crate::log::problem;
use crate::named::client_certificate;
use crate::remote::{Address, Visitor, cleartext, prove, reach};
use crate::report;
use crate::state::{
    Chain, DirStore, Event, Journal, Kind, Medium, OrgState, Run, Signer, StateError, Stored, fold,
    new_run_id,
};

/// What the command line names, read before anything is asked.
struct Target<'a> {
    address: Address,
    cleartext: Option<Address>,
    device_id: &'a str,
    known: Known,
    certificate: Option<ClientCertificate>,
}

pub(super) async fn verify(arguments: &Verify, remote: &str) -> Result<Exit, Stop> {
    let target = target(arguments, remote)?;
    let signer = match &arguments.signing_key {
        Some(file) => Signer::from_file(file),
        None => Signer::ephemeral(),
    }
    .map_err(|error| Stop::new(Exit::Usage, "signing-key", chain_of(&error)))?;
    let store = DirStore::at(&arguments.out);
    let (claimed, seen) = look_for(&target, Claimed::read(&store, &target)?).await?;
    let mut result = judge(&claimed.amt, &seen);
    let mut event = None;
    // What could not be seen refutes nothing, so only a proof and drift are recorded: each, for a proof is worth its age.
    if matches!(result.exit, Exit::Satisfied | Exit::Drift) {
        match record(&store, &target, &claimed, &seen, &result, signer) {
            Ok(id) => {
                if result.verified_remote {
                    result.capability.last_proof = Some(id.clone());
                }
                event = Some(id);
            }
            Err(error) => undelivered(&mut result, &error),
        }
    }
    if arguments.json {
        print_json(&document(&arguments.out, &target, &claimed, &seen, &result, event.as_deref()))
    } else {
        print(&report::remote_text(target.device_id, claimed.root, &result, event.as_deref()))
    }?;
    Ok(result.exit)
}

fn target<'a>(arguments: &'a Verify, remote: &str) -> Result<Target<'a>, Stop> {
    let usage = |cause: &str, text: String| Stop::new(Exit::Usage, cause, text);
    let address = |text: &str| Address::parse(text).map_err(|why| usage("address", why));
    // The command line requires both; a defect there must not become a panic here.
    let (Some(device_id), Some(file)) = (&arguments.device, &arguments.known_credential) else {
        return Err(usage("usage", "--remote needs --device and --known-credential".to_owned()));
    };
    let known = Known::read(file).map_err(|why| usage("known-credential", why))?;
    if known.sealed.as_ref().is_some_and(|of| of.device_id != *device_id) {
        let text = format!("{} is the credential of another device than {device_id}", file.display());
        return Err(usage("known-credential", text));
    }
    let certificate = arguments.client_certificate.as_deref().map(client_certificate).transpose();
    Ok(Target {
        certificate: certificate.map_err(|why| usage("client-certificate", why))?,
        address: address(remote)?,
        cleartext: arguments.cleartext.as_deref().map(address).transpose()?,
        device_id,
        known,
    })
}

/// What org state claims of the device.
struct Claimed {
    root: RootKind,
    history: History,
    amt: AmtOurs,
    /// Proofs that may be meant as well, of other provisionings.
    others: Vec<AmtOurs>,
    /// AMT's version, as its own machine last told it.
    version: Option<String>,
}

impl Claimed {
    /// Reading takes no lock and creates nothing.
    fn read(store: &DirStore, target: &Target<'_>) -> Result<Self, Stop> {
        let device_id = target.device_id;
        let journal = Journal::read(store, device_id).map_err(|error| unreadable(&error))?;
        let stored = store.stored(device_id).map_err(|error| unreadable(&error))?;
        let history = fold(&stored, &journal);
        let mut meant = meant(&history, target.known.sealed.as_ref()).into_iter().cloned();
        let Some(amt) = meant.next() else {
            let what = match target.known.sealed.as_ref().map(|it| it.generation) {
                Some(generation) if history.amt.is_some() => format!("credential generation {generation}"),
                _ => "AMT".to_owned(),
            };
            let text = format!(
                "org state does not claim {what} of {device_id} as ours, so there is nothing to be verified; is --device \
                 as `detect` prints it, and does --out hold the events of the run that set it up?"
            );
            return Err(Stop::new(Exit::Impossible, "not-claimed", text));
        };
        let root = stored.events.iter().find(|it| it.id == amt.event).map(|it| it.event.root);
        let root = root.ok_or_else(|| Stop::internal("the event of the claim is not in the store"))?;
        store.check_root(device_id, root).map_err(|error| unreadable(&error))?;
        let others = meant.collect();
        Ok(Self { root, version: last_version(&stored), history, amt, others })
    }
}

/// Which proofs a credential may be of, the likeliest first: where stores were merged there are several. One that tells
/// which escrow file it was is of that one, since two stores count the same generations; one that does not may be of the
/// newest proof of each provisioning.
fn meant<'a>(history: &'a History, sealed: Option<&Sealed>) -> Vec<&'a AmtOurs> {
    let Some(sealed) = sealed else {
        let newest = |ours: &&AmtOurs| history.proof_of(&ours.realm).is_some_and(|it| it.event == ours.event);
        return history.proofs().filter(newest).collect();
    };
    let by = |run_id: Option<&str>| {
        history
            .proofs()
            .find(|ours| ours.generation == sealed.generation && ours.sealed_by.as_deref() == run_id)
    };
    // Of a store that lacks the event of the sealing, the generation must do.
    by(Some(&sealed.run_id)).or_else(|| by(None)).into_iter().collect()
}

/// Looks for the first of the claims that the device answers to. No login is sent to one that is not it; where none is, the
/// first one tells.
async fn look_for(target: &Target<'_>, mut claimed: Claimed) -> Result<(Claimed, RemoteSeen), Stop> {
    let first = look(target, &claimed).await?;
    let is_another = |seen: &RemoteSeen| seen.end.is_some() && !seen.login_sent;
    if !is_another(&first) {
        return Ok((claimed, first));
    }
    for other in std::mem::take(&mut claimed.others) {
        if lacks_pin(&other, claimed.version.as_deref()) {
            continue;
        }
        let before = std::mem::replace(&mut claimed.amt, other);
        let seen = look(target, &claimed).await?;
        if !is_another(&seen) {
            return Ok((claimed, seen));
        }
        claimed.amt = before;
    }
    Ok((claimed, first))
}

/// Facts stand in the last event of a run.
fn last_version(stored: &Stored) -> Option<String> {
    let told = |event: &Event| {
        let facts = event.body.get("facts")?.as_array()?;
        let fact = |name: &str| {
            let fact = facts.iter().find(|fact| fact.get("name").and_then(Value::as_str) == Some(name))?;
            fact.get("value")?.as_str().filter(|value| *value != UNKNOWN)
        };
        fact("intel.amt.version").or_else(|| fact("intel.me.version")).map(str::to_owned)
    };
    let observed = stored.events.iter().filter(|it| it.event.kind == Kind::Observed);
    observed.filter_map(|it| Some((it.event.seq, told(&it.event)?))).max().map(|(_, version)| version)
}

async fn look(target: &Target<'_>, claimed: &Claimed) -> Result<RemoteSeen, Stop> {
    let claim = &claimed.amt;
    if lacks_pin(claim, claimed.version.as_deref()) {
        let text = format!(
            "AMT of this version serves other machines TLS alone, and our proof ({}) does not tell with which certificate, so \
             nothing would tell it from others and no password is sent: run `apply --known-credential FILE --rotate` on the \
             machine itself, whose proof will hold it",
            claim.event
        );
        return Err(Stop::new(Exit::Impossible, "tls-not-pinned", text));
    }
    let transport = if claim.served_pin().is_some() { "16993/https-digest" } else { "16992/http-digest" };
    let mut seen = RemoteSeen {
        address: String::new(),
        transport,
        end: None,
        version: None,
        power: None,
        wrong_refused: false,
        login_sent: false,
        cleartext: Cleartext::NotJudged,
        mutual: Mutual::NotJudged,
    };
    let reached = match reach(&target.address).await {
        Ok(reached) => reached,
        Err(why) => {
            seen.address = target.address.to_string();
            return Ok(RemoteSeen { end: Some(RemoteEnd::Unreachable(why)), ..seen });
        }
    };
    seen.address = reached.address.to_string();
    // The machine's own driver or service may answer for AMT there, and that is no proof of the network.
    if claimed.root == RootKind::Live && reached.is_here {
        let text = format!(
            "{} is this host itself; verify a machine from another one, without a forwarded port between",
            reached.address
        );
        return Err(Stop::new(Exit::Usage, "not-another-host", text));
    }
    let visitor = Visitor { known: &target.known, certificate: target.certificate.as_ref() };
    let logins = prove(&reached, claim, visitor).await;
    let complete = logins.end.is_none();
    seen = RemoteSeen {
        end: logins.end,
        version: logins.version,
        power: logins.power,
        wrong_refused: logins.wrong_refused,
        login_sent: logins.login_sent,
        mutual: logins.mutual,
        ..seen
    };
    if complete && claims_tls_only(claim) {
        seen.cleartext = cleartext(&reached, target.cleartext.as_ref()).await;
    }
    Ok(seen)
}

/// Adds what was seen to the chain of events, which may have grown since it was read.
fn record(
    store: &DirStore,
    target: &Target<'_>,
    claimed: &Claimed,
    seen: &RemoteSeen,
    result: &RemoteResult,
    signer: Signer,
) -> Result<String, StateError> {
    let _lock = store.lock(target.device_id)?;
    let journal = Journal::read(store, target.device_id)?;
    let history = fold(&store.stored(target.device_id)?, &journal);
    let run = Run {
        device_id: target.device_id.to_owned(),
        run_id: new_run_id()?,
        root: claimed.root,
        policy: None,
        medium: Medium::default(),
        clock_source: "rtc".to_owned(),
    };
    // No `escrow` among the members: it is a proof of the way, and makes nothing ours that was not.
    let body = json!({
        "channel": "amt", "verified_remote": result.verified_remote, "generation": claimed.amt.generation,
        "realm": claimed.amt.realm, "claim": claimed.amt.event, "reason": result.reason,
        "exit_code": result.exit.code(), "text": result.text, "address": seen.address,
        "transport": seen.transport, "firmware": seen.version,
        "tls_pinned_sha256": claimed.amt.served_pin(), "cleartext": result.cleartext,
        "mutual_tls": result.mutual_tls,
        "power": result.power, "boot": result.boot, "console": result.console,
        "proof": if result.verified_remote { json!(proof(seen)) } else { Value::Null },
    });
    let kind = if result.verified_remote { Kind::Verified } else { Kind::Failed };
    Chain::resume(run, signer, &history).record(store, kind, body)
}

const PROOF: [&str; 4] = [
    "login from another host with a fresh nonce",
    "power state read",
    "a wrong password was refused",
    "the right password was taken again after it",
];

fn proof(seen: &RemoteSeen) -> Vec<&'static str> {
    let turned_away =
        (seen.mutual == Mutual::Demanded).then_some("a client without a certificate was turned away");
    PROOF.into_iter().chain(turned_away).collect()
}

/// What was seen was seen, but the org does not know of it.
fn undelivered(result: &mut RemoteResult, error: &StateError) {
    let why = format!("writing the result to org state: {}", chain_of(error));
    problem(&why);
    if Exit::worst([result.exit, Exit::Undelivered]) == Exit::Undelivered {
        result.exit = Exit::Undelivered;
        result.reason = "undelivered";
    }
    result.text = format!("{} But {why}; run again.", result.text);
}

fn document(
    out: &Path,
    target: &Target<'_>,
    claimed: &Claimed,
    seen: &RemoteSeen,
    result: &RemoteResult,
    event: Option<&str>,
) -> Value {
    json!({
        "schema": "oob-verify-remote/1", "root": claimed.root, "device_id": target.device_id,
        "exit_code": result.exit.code(), "reason": result.reason, "changed": event.is_some(), "text": result.text,
        "verified_remote": result.verified_remote, "address": seen.address, "transport": seen.transport,
        "firmware": seen.version, "cleartext": result.cleartext,
        "mutual_tls": result.mutual_tls,
        "power": result.power, "boot": result.boot, "console": result.console,
        "capability": result.capability,
        "claimed": {
            "event": claimed.amt.event, "generation": claimed.amt.generation,
            "control_mode": claimed.amt.control_mode, "settings": claimed.amt.settings,
            "tls_certificate_sha256": claimed.amt.served_pin(), "unfinished": claimed.history.open.is_some(),
        },
        "event": event, "out": out.display().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(event: &str, generation: u32, realm: &str, sealed_by: Option<&str>) -> AmtOurs {
        AmtOurs {
            generation,
            realm: realm.to_owned(),
            control_mode: "ccm".to_owned(),
            event: event.to_owned(),
            escrow: format!("amt.{generation}.{event}.age"),
            sealed: true,
            recipients: Vec::new(),
            settings: Vec::new(),
            tls_pin: None,
            network_pin: None,
            tls_leaf: None,
            sealed_by: sealed_by.map(str::to_owned),
            mebx_escrow: None,
        }
    }

    #[test]
    fn a_credential_is_of_the_proof_whose_run_sealed_it() {
        let history = History {
            amt: Some(proof("b3", 3, "B", Some("run-b3"))),
            amt_older: vec![
                proof("b1", 1, "B", Some("run-b1")),
                proof("a1", 1, "A", Some("run-a1")),
                proof("c2", 2, "C", None),
            ],
            ..History::default()
        };
        let of = |known: Option<(u32, &str)>| -> Vec<&str> {
            let sealed = known.map(|(generation, run_id)| Sealed {
                device_id: "d1-x".to_owned(),
                generation,
                run_id: run_id.to_owned(),
            });
            meant(&history, sealed.as_ref()).into_iter().map(|ours| ours.event.as_str()).collect()
        };
        for (known, expected) in [
            (Some((1, "run-a1")), &["a1"][..]),
            (Some((1, "run-b1")), &["b1"]),
            (Some((3, "run-b3")), &["b3"]),
            (Some((2, "run-c2")), &["c2"]),
            // Of a store that was not merged.
            (Some((1, "run-d1")), &[]),
            (Some((9, "run-a1")), &[]),
            // A bare password: the newest of each provisioning.
            (None, &["b3", "a1", "c2"]),
        ] {
            assert_eq!(of(known), expected, "{known:?}");
        }
    }
}
