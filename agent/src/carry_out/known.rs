//! What the operator's own credential is good for: one login, then AMT that is ours is completed, given a new password, or
//! taken over (reference/org-state.md 3.4, reference/amt.md 0.7).
//!
//! Nothing secret goes to a realm that is not the one we know, and a password that is refused is not tried again: the
//! third refusal would lock the account.

use std::time::Duration;

use oob_policy::{AmtOurs, AmtSettings, Exit, OpenChange, Outcome, Step};
use oob_wsman::client::probe_realm;
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{ControlMode, GetControlMode, GetProvisioningState, ProvisioningState};
use serde_json::json;

use super::addresses::Kept;
use super::amt::Pthi;
use super::credential::Credential;
use super::failure::{Failure, WsError, described};
use super::lme::Lme;
use super::ours::{peers, pin};
use super::peer::Peer;
use super::proof::{ADMIN, prove, read_realm};
use super::record::{Held, Proven, incomplete, record_proof};
use super::rotate::change_password;
use super::setup::Session;
use super::{Run, addresses, self_made, settings};
use crate::known::Known;
use crate::secrets::Password;
use crate::state::hex;

/// Between tries of two passwords (reference/org-state.md 3.4).
const BETWEEN_TRIES: Duration = Duration::from_secs(20);

/// What a step is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Complete,
    Rotate,
    TakeOver,
}

/// `realm`: the one that our proof or journal knows; none for AMT of others.
pub(super) async fn go_on(
    run: &mut Run<'_>,
    step: &Step,
    goal: Goal,
    realm: Option<&str>,
    wanted: &AmtSettings,
) -> Outcome {
    match proceed(run, step, goal, realm, wanted).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            run.progress.end("failed");
            failure.recorded(run, step)
        }
    }
}

async fn proceed(
    run: &mut Run<'_>,
    step: &Step,
    goal: Goal,
    expected: Option<&str>,
    wanted: &AmtSettings,
) -> Result<Outcome, Failure> {
    let standing = Standing::of(run.history, expected);
    let left_open = |failure| standing.still_open(failure);

    run.progress.begin("amt: seeing which AMT answers, without a login");
    let mode = provisioned(run).await.map_err(left_open)?;
    let (mut lme, realm) = reach(run).await.map_err(left_open)?;
    if expected.is_some_and(|expected| expected != realm.as_str()) {
        return Err(other_realm(run, &realm, Some(&standing)));
    }
    run.progress.end("done");

    run.progress.begin("amt: logging in with the credential that was given");
    let known = log_in(run, &mut lme, &realm).await.map_err(left_open)?;
    run.progress.end("done");
    let mut password = Password::from_text(known.password.expose().to_owned());
    prove(run, &mut lme, &password, &realm, true).await.map_err(|failure| {
        left_open(Failure::unchanged(
            "credential-not-proven",
            format!("{}; nothing was changed", failure.text),
        ))
    })?;

    let mut held = standing.ours.map(Held::of).unwrap_or_default();
    // What AMT made for itself is what it is held to from now on (AMT 19 has no port without TLS to ask it otherwise).
    if held.tls_pin.is_none() && lme.is_tls() {
        held.tls_pin = lme.pin().map(|pin| hex(&pin));
    }
    // A run that no proof came of may have given MEBx a password all the same.
    if let Some(file) = run.history.mebx_open.as_ref().filter(|_| standing.open.is_some()) {
        held.mebx_escrow = Some(file.clone());
    }
    let shown = if mode == "acm" { ControlMode::Admin } else { ControlMode::Client };
    let stale = held.let_go(&settings::applicable(shown, wanted));
    let way = Some(lme.way());
    let mut generation = run.history.amt_generation;
    let mut live = standing.change_of(known);
    // The interrupted change is the one that was asked for, and it happened.
    let rotated =
        standing.open.is_some_and(|open| open.rotation) && live.as_ref().is_some_and(|it| it.call_sent);
    let mut bare = None;
    if goal == Goal::Complete || rotated || standing.must_settle() {
        let open = match live.take() {
            Some(open) => open,
            None => {
                generation += 1;
                seal(run, &password, &realm, generation)?
            }
        };
        if open.call_sent || !standing.is_proof_of(&open) {
            let proven = Proven { mode, held: &held, changed: false, way, ..Proven::new(&open) };
            bare = Some(record_proof(run, step, &proven)?);
        }
        live = Some(open);
    }
    let changes = goal != Goal::Complete && !rotated;
    let open = if changes {
        let (new, open) = change_password(run, &mut lme, &realm, &password, generation + 1).await?;
        password = new;
        let proven = prove(run, &mut lme, &password, &realm, true).await;
        proven.map_err(|failure| Failure::indeterminate(failure.text))?;
        let proven = Proven { mode, held: &held, way, ..Proven::new(&open) };
        bare = Some(record_proof(run, step, &proven)?);
        open
    } else {
        live.ok_or_else(|| {
            Failure::unchanged("state-changed", "there is nothing to be completed; run again")
        })?
    };

    let proven = Proven { mode, held: &held, changed: changes, way, ..Proven::new(&open) };
    if wanted.is_empty()
        && addresses::left_open(run.history, &realm).is_none()
        && !self_made::is_unknown(run, &realm)
    {
        return match bare {
            Some(bare) => Ok(bare),
            None => record_proof(run, step, &proven),
        };
    }
    // Before the first write, so that no proof tells of what was, however this run ends.
    if stale && bare.is_none() {
        bare = Some(record_proof(run, step, &proven)?);
    }
    let mut session = Session { lme, password, realm, open: open.clone(), login: None, mebx_escrow: None };
    match settings::apply(run, &mut session, shown, wanted).await {
        Ok(applied) => {
            let changed = changes || !wanted.is_empty() || applied.addresses == Some(Kept::Restored);
            record_proof(run, step, &Proven { applied: &applied, changed, ..proven })
        }
        Err(failure) => {
            let bare = match bare {
                Some(bare) => bare,
                None => record_proof(run, step, &proven)?,
            };
            Ok(incomplete(run, step, bare, &session, &failure))
        }
    }
}

/// What org state and the journal know of the AMT that is expected.
pub(super) struct Standing<'a> {
    /// The newest proof of this realm.
    pub(super) ours: Option<&'a AmtOurs>,
    /// A change of ours that is newer than it and may have happened.
    open: Option<&'a OpenChange>,
}

impl<'a> Standing<'a> {
    pub(super) fn of(history: &'a oob_policy::History, realm: Option<&str>) -> Self {
        let Some(realm) = realm else { return Self { ours: None, open: None } };
        let ours = history.proof_of(realm);
        let open = history.open.as_ref().filter(|open| {
            open.realm == realm && open.call_sent && !ours.is_some_and(|ours| open.is_ended_by(ours))
        });
        Self { ours, open }
    }

    /// As long as a change of ours may have happened, no failure leaves a known state behind.
    fn still_open(&self, failure: Failure) -> Failure {
        match self.open {
            Some(_) if failure.exit == Exit::DeviceFailed => Failure::indeterminate(format!(
                "{}; a change that an earlier run began is still open, and this run changed nothing",
                failure.text
            )),
            _ => failure,
        }
    }

    /// The generation that a credential is of, where its file tells without doubt.
    pub(super) fn change_of(&self, known: &Known) -> Option<OpenChange> {
        let sealed = known.sealed.as_ref()?;
        let is = |generation: u32, run_id: &str| sealed.generation == generation && sealed.run_id == run_id;
        if let Some(open) = self.open.filter(|open| is(open.generation, &open.run_id)) {
            return Some(open.clone());
        }
        let ours = self.ours.filter(|ours| ours.sealed)?;
        ours.sealed_by.as_ref().filter(|run_id| is(ours.generation, run_id))?;
        Some(OpenChange {
            generation: ours.generation,
            realm: ours.realm.clone(),
            escrow: ours.escrow.clone(),
            call_sent: false,
            tls_pin: None,
            rotation: false,
            run_id: sealed.run_id.clone(),
            earlier: Vec::new(),
        })
    }

    fn is_proof_of(&self, live: &OpenChange) -> bool {
        self.open.is_none() && self.ours.is_some_and(|ours| ours.escrow == live.escrow)
    }

    /// A change that is open on AMT of ours is ended by the proof of the password that it has now. Of AMT that was being
    /// taken over, the password may still be its owner's, which is no end.
    fn must_settle(&self) -> bool {
        self.open.is_some_and(|open| !open.rotation || self.ours.is_some())
    }
}

pub(super) async fn provisioned(run: &Run<'_>) -> Result<&'static str, Failure> {
    let mut pthi = Pthi::connect(run.machine).await?;
    let mode = pthi.ask(&GetControlMode).await?;
    let state = pthi.ask(&GetProvisioningState).await?;
    let mode = match (mode, state) {
        (ControlMode::Client, ProvisioningState::Post) => "ccm",
        (ControlMode::Admin, ProvisioningState::Post) => "acm",
        _ => {
            let text = format!("AMT is in control mode {mode:?}, state {state:?} now; run again");
            return Err(Failure::unchanged("state-changed", text));
        }
    };
    match run.detection.text("intel.amt.control_mode") {
        seen if seen == mode || seen == oob_policy::UNKNOWN => Ok(mode),
        seen => {
            let text = format!(
                "AMT was in control mode {seen} when it was detected and is now in {mode}; run again"
            );
            Err(Failure::unchanged("state-changed", text))
        }
    }
}

/// A way to AMT's WS-Man, and the realm that answers there. A run that died may have left either certificate served.
pub(super) async fn reach<'m>(run: &Run<'m>) -> Result<(Lme<'m>, Realm), Failure> {
    let history = run.history;
    let known = [
        history.open.as_ref().and_then(|open| open.tls_pin.as_deref()),
        history.tls_pin_sent.as_deref(),
        history.amt.as_ref().and_then(|ours| ours.tls_pin.as_deref()),
    ];
    let mut last = None;
    for peer in peers(run, known).await {
        match answering(run, peer).await {
            Ok(reached) => return Ok(reached),
            Err(failure) => last = Some(failure),
        }
    }
    // Of merged stores, or of several certificates of one, an older proof may know the one that is served.
    let older = history.proofs().map(|ours| ours.tls_pin.as_deref()).filter(|pin| !known.contains(pin));
    for pin in older.flatten().filter_map(pin) {
        if !last.as_ref().is_some_and(Failure::is_of_the_peer) {
            break;
        }
        match answering(run, Some(Peer::Pinned(pin))).await {
            Ok(reached) => return Ok(reached),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::unchanged("lme", "AMT was not asked")))
}

async fn answering<'m>(run: &Run<'m>, peer: Option<Peer>) -> Result<(Lme<'m>, Realm), Failure> {
    let mut lme = Lme::with(run.machine, peer).await?;
    let realm = probe_realm(&mut lme).await?.realm;
    Ok((lme, realm))
}

/// AMT that answers with another realm than the plan says.
pub(super) fn other_realm(run: &Run<'_>, realm: &Realm, standing: Option<&Standing<'_>>) -> Failure {
    if let Some(ours) = run.history.proof_of(realm.as_str()) {
        return Failure::unchanged(
            "state-changed",
            format!(
                "AMT answers with the login realm of event {}, which is another proof of ours than the one that was planned \
                 for; no login was sent, and it was not touched; run again",
                ours.event
            ),
        );
    }
    let what = "AMT answers with another login realm than the one that we know, so others set it up again; no login was \
                sent, and it was not touched";
    match standing.and_then(|standing| standing.open) {
        Some(_) => Failure::others(what),
        None => Failure { exit: Exit::Drift, cause: "realm-changed", text: what.to_owned() },
    }
}

/// Each credential once. The one that logs in.
pub(super) async fn log_in<'a, 'm>(
    run: &Run<'m>,
    lme: &mut Lme<'m>,
    realm: &Realm,
) -> Result<&'m Known, Failure>
where
    'm: 'a,
{
    let mut refused = None;
    for (index, known) in run.known.iter().enumerate() {
        if index > 0 {
            run.machine.pause(BETWEEN_TRIES).await;
        }
        match read_realm(lme, &known.password, realm).await {
            Ok(Some(named)) if named == realm.as_str() => return Ok(known),
            Ok(_) => {
                return Err(Failure::unchanged(
                    "realm-mismatch",
                    "AMT's login realm is not the DigestRealm of its general settings; nothing was changed",
                ));
            }
            Err(error @ WsError::Unauthorized { .. }) => refused = Some(error),
            Err(error) => {
                let text = format!(
                    "logging in to AMT: {}; whether the credential is right is not known, and nothing was changed; run \
                     again",
                    described(&error)
                );
                return Err(Failure::unchanged("login-unanswered", text));
            }
        }
    }
    let why = refused.map_or_else(|| "none was given".to_owned(), |error| described(&error));
    Err(Failure::unchanged(
        "credential-refused",
        format!("AMT does not take the credential that was given ({why}); nothing was changed"),
    ))
}

/// The password that AMT was just seen to take, as an escrow file of its own: nobody else can tell which file holds it.
pub(super) fn seal(
    run: &mut Run<'_>,
    password: &Password,
    realm: &Realm,
    generation: u32,
) -> Result<OpenChange, Failure> {
    let credential = Credential {
        channel: "amt",
        generation,
        username: ADMIN,
        endpoint: super::credential::endpoint(run, realm),
        notes: "log in as admin with HTTP digest; sealed anew from a password that an operator gave and AMT took",
    };
    let file = credential.seal(run, password, json!({ "realm": realm.as_str() }))?;
    Ok(OpenChange {
        generation,
        realm: realm.as_str().to_owned(),
        escrow: file,
        call_sent: false,
        tls_pin: None,
        rotation: false,
        run_id: run.chain.run().run_id.clone(),
        earlier: Vec::new(),
    })
}
