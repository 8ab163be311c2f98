//! Activation over MEI (reference/amt.md 5.1, 5.3; `over_tls.rs` has what is different from AMT 19 on): escrow first,
//! one-shot `Setup` or `AdminSetup`, read-back, settings.
//!
//! Whatever the call answers, the device itself is asked afterwards: it is never sent twice, and no answer of it is
//! believed alone. Client control mode is taken back over MEI where it or a setting cannot be proven. Admin control mode
//! could be taken back with its new password only, so once it is proven it stays, and what is missing is reported.

use std::time::Duration;

use oob_policy::{AmtSettings, Exit, OpenChange, Outcome, Step};
use oob_wsman::classes::ips::HostBasedSetupService;
use oob_wsman::client::{LoggedIn, Login};
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{
    Command, ControlMode, GetControlMode, GetLocalSystemAccount, GetProvisioningState, ProvisioningState,
    StartConfigurationHBased,
};
use serde_json::json;

use super::acm::{self, Announced, Armed};
use super::amt::{Point, Pthi};
use super::credential::{Credential, endpoint};
use super::failure::{Failure, answered, described};
use super::lme::Lme;
use super::ours::{ASK_EVERY, SHOWS, look, take_back};
use super::over_tls::{Entering, OverTls, Way, commit_client, enter_admin};
use super::peer::{Die, is_tls_only};
use super::proof::{ADMIN, Client, cnonce, ha1, prove};
use super::record::{Held, Proven, incomplete, record_proof};
use super::settings::{self, mebx_password};
use super::{Made, Run, self_made};
use crate::probe;
use crate::secrets::Password;
use crate::state::{Answer, JournalEntry, fold_open, hex};

/// How long a device is watched that may have taken a call whose answer was lost.
const LATE: Duration = Duration::from_secs(30);

/// What a step asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Ccm,
    Acm,
    /// Client control mode where the certificate is not accepted.
    AcmOrCcm,
}

const CLIENT_MODE: &str = "client control mode";
const ADMIN_MODE: &str = "admin control mode";

/// The mode that is activated.
enum Mode {
    Client,
    Admin(Armed),
    /// From AMT 19 on.
    AdminOverTls(Announced),
}

impl Mode {
    const fn call(&self) -> &'static str {
        match self {
            Self::Client => "IPS_HostBasedSetupService.Setup",
            Self::Admin(_) => "IPS_HostBasedSetupService.AdminSetup",
            Self::AdminOverTls(_) => StartConfigurationHBased::NAME,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Client => "ccm",
            Self::Admin(_) | Self::AdminOverTls(_) => "acm",
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Client => CLIENT_MODE,
            Self::Admin(_) | Self::AdminOverTls(_) => ADMIN_MODE,
        }
    }

    const fn shown(&self) -> ControlMode {
        match self {
            Self::Client => ControlMode::Client,
            Self::Admin(_) | Self::AdminOverTls(_) => ControlMode::Admin,
        }
    }
}

pub(super) async fn set_up(run: &mut Run<'_>, step: &Step, wish: Wish, wanted: &AmtSettings) -> Outcome {
    match activate(run, step, wish, wanted).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            run.progress.end("failed");
            failure.recorded(run, step)
        }
    }
}

async fn activate(
    run: &mut Run<'_>,
    step: &Step,
    wish: Wish,
    wanted: &AmtSettings,
) -> Result<Outcome, Failure> {
    let machine = run.machine;
    run.progress.begin("amt: asking for the firmware's local account");
    let mut pthi = Pthi::connect(machine).await?;
    require_unprovisioned(&mut pthi).await?;
    let trust = match wish {
        Wish::Ccm => None,
        Wish::Acm | Wish::AcmOrCcm => Some(acm::trust(&mut pthi).await?),
    };
    let account = pthi.ask(&GetLocalSystemAccount).await?;
    run.progress.end("done");

    run.progress.begin("amt: logging in locally");
    let die = if is_tls_only(run) { Some(Die::of(machine).await) } else { None };
    let mut lme = Lme::with(machine, die.as_ref().map(Die::peer)).await?;
    let login = Login::Password { user: account.user, password: account.password };
    let mut local = Client::new(&mut lme, login, cnonce);
    let (realm, service) = require_unused(&mut local).await?;
    run.progress.end("done");

    let mut instead = None;
    let mode = match trust {
        None => Mode::Client,
        Some(trust) => {
            run.progress.begin("amt: judging and handing over the provisioning certificate");
            // Asked before anything is handed over.
            let armed = match require_allowed(&service, ControlMode::Admin) {
                Ok(()) if die.is_some() => {
                    acm::prepare(run, &mut local, &trust).await.map(Mode::AdminOverTls)
                }
                Ok(()) => acm::arm(run, &mut local, &service, trust).await.map(Mode::Admin),
                Err(refused) => Err(refused),
            };
            match armed {
                Ok(armed) => armed,
                // Nothing was provisioned, and policy names what to do then.
                Err(refused) if wish == Wish::AcmOrCcm && refused.exit == Exit::Impossible => {
                    instead = Some(refused.text);
                    Mode::Client
                }
                Err(refused) => return Err(refused),
            }
        }
    };
    if matches!(mode, Mode::Client) {
        require_allowed(&service, ControlMode::Client)?;
    }
    if !matches!(mode, Mode::Client) || instead.is_some() {
        run.progress.end(if instead.is_some() { "not accepted" } else { "done" });
    }

    run.progress.begin("amt: escrowing a new admin password");
    let (password, open) = escrow(run, &realm, &mode)?;
    run.progress.end("done");

    let mut entered = Entered { realm, open, held: Held::default(), over_tls: None };
    match (&mode, &die) {
        (Mode::AdminOverTls(announced), Some(die)) => {
            drop(local);
            let mut way = Way { pthi: &mut pthi, lme: &mut lme, die };
            enter_over_tls(run, &mut way, announced, &password, &mut entered).await?;
        }
        _ => enter(run, &mut pthi, local, &mode, &password, &entered).await?,
    }
    if let (Mode::Client, Some(die)) = (&mode, &die) {
        let mut way = Way { pthi: &mut pthi, lme: &mut lme, die };
        match commit_client(run, &mut way, &password, &entered.realm).await {
            Ok(seen) => entered.keep(seen),
            Err(failure) => return Err(take_back(run, &mut pthi, &mut lme, &entered.open, failure).await),
        }
    }
    let Entered { realm, open, held, over_tls } = entered;

    let way = Some(lme.way());
    let mebx_escrow = held.mebx_escrow.clone();
    let mut session = Session { lme, password, realm, open, login: None, mebx_escrow };
    // What entering the mode has set is not set again.
    let wanted = &wanted.beyond(&held.settings);
    let again = settings::applicable(mode.shown(), wanted).is_empty();
    let proven = match prove(run, &mut session.lme, &session.password, &session.realm, again).await {
        Ok(()) => Ok(()),
        Err(failure) => {
            run.progress.end("failed");
            Err(failure)
        }
    };
    match (&mode, proven) {
        (Mode::Client, proven) => {
            let applied = match proven {
                Ok(()) => settings::apply(run, &mut session, mode.shown(), wanted).await,
                Err(failure) => Err(failure),
            };
            let applied = match applied {
                Ok(applied) => applied,
                Err(failure) => {
                    let Session { lme, open, .. } = &mut session;
                    return Err(take_back(run, &mut pthi, lme, open, failure).await);
                }
            };
            let activated = Proven {
                instead: instead.as_deref(),
                way,
                ..told(&mode, &session.open, &held, over_tls.as_ref())
            };
            record_proof(run, step, &Proven { applied: &applied, ..activated })
        }
        (_, Err(failure)) => Err(failure.kept_by_password().naming_mebx(held.mebx_escrow.as_deref())),
        (_, Ok(())) => {
            // Proven and escrowed, so what comes next can only be missing, not lost.
            let password = Password::from_text(session.password.expose().to_owned());
            run.made = Some(Made { realm: session.realm.clone(), password });
            let open = session.open.clone();
            let activated = Proven { way, ..told(&mode, &open, &held, over_tls.as_ref()) };
            let bare = record_proof(run, step, &activated)?;
            if wanted.is_empty() && !self_made::is_unknown(run, &session.realm) {
                return Ok(bare);
            }
            match settings::apply(run, &mut session, mode.shown(), wanted).await {
                Ok(applied) => match record_proof(run, step, &Proven { applied: &applied, ..activated }) {
                    Ok(whole) => Ok(whole),
                    // The password's own proof stands; what was set besides is not on record, so a later run will miss it.
                    Err(failure) => Ok(incomplete(run, step, bare, &session, &failure)),
                },
                Err(failure) => Ok(incomplete(run, step, bare, &session, &failure)),
            }
        }
    }
}

/// AMT as this run enters its mode.
struct Entered {
    realm: Realm,
    open: OpenChange,
    /// What is set by entering the mode.
    held: Held,
    over_tls: Option<OverTls>,
}

impl Entered {
    fn keep(&mut self, seen: OverTls) {
        let pin = hex(&seen.pin);
        self.held.tls_pin = Some(pin.clone());
        self.open.tls_pin = Some(pin);
        self.over_tls = Some(seen);
    }
}

/// The one-shot call, and whether AMT shows that it took it.
async fn enter<'m>(
    run: &mut Run<'m>,
    pthi: &mut Pthi<'m>,
    mut local: Client<'_, 'm>,
    mode: &Mode,
    password: &Password,
    entered: &Entered,
) -> Result<(), Failure> {
    run.progress.begin(&format!("amt: activating {}", mode.name()));
    run.journal
        .append(JournalEntry::Sending { call: mode.call().into() })
        .map_err(|error| Failure::not_stored(&error))?;
    let point = Point { kind: "mutating", what: mode.call() };
    probe::before(&point);
    let new_admin = ha1(&entered.realm, password);
    let said = match mode {
        Mode::Admin(armed) => local.admin_setup(&new_admin, armed.proof()).await,
        _ => local.setup(&new_admin).await,
    };
    probe::after(&point);
    drop(local);
    let answer = answered(&said);
    // Best effort: the journal already says that the call was sent.
    let noted = run.journal.append(JournalEntry::Sent { call: mode.call().into(), answer });
    if !became_ours(pthi, run, answer, mode).await? {
        // What is not written now, the next run sees on the device.
        let _ = noted
            .and_then(|()| run.journal.append(JournalEntry::Undone { generation: entered.open.generation }));
        let why = said.err().map_or_else(|| "it answered success".into(), |error| described(&error));
        let hint = if let Mode::Admin(armed) = mode { armed.hint() } else { String::new() };
        return Err(Failure::unchanged(
            "setup-refused",
            format!(
                "activating {}: {why}; AMT is still unprovisioned, so nothing changed{hint}",
                mode.name()
            ),
        ));
    }
    run.progress.end("done");
    Ok(())
}

/// Admin control mode of AMT 19 and newer. MEBx gets its password there, since AMT does not commit without one.
async fn enter_over_tls<'m>(
    run: &mut Run<'m>,
    way: &mut Way<'_, 'm>,
    announced: &Announced,
    password: &Password,
    entered: &mut Entered,
) -> Result<(), Failure> {
    run.progress.begin("amt: escrowing a new MEBx password");
    let (mebx, file) = mebx_password(run, entered.open.generation)?;
    run.progress.end("done");
    match enter_admin(run, way, announced, (password, &mebx), &entered.realm).await {
        Ok((realm, seen)) => {
            entered.open.realm = realm.as_str().to_owned();
            entered.realm = realm;
            entered.held.settings = vec!["mebx = true".to_owned()];
            entered.held.mebx_escrow = Some(file);
            entered.keep(seen);
            Ok(())
        }
        Err(Entering::Refused(failure)) => {
            // What is not written now, the next run sees on the device.
            let _ = run.journal.append(JournalEntry::Undone { generation: entered.open.generation });
            Err(failure)
        }
        Err(Entering::Begun(failure)) => {
            run.progress.end("failed");
            let failure = take_back(run, way.pthi, way.lme, &entered.open, failure).await;
            Err(failure.naming_mebx(Some(&file)))
        }
        Err(Entering::Committed(failure)) => Err(failure.kept_by_password().naming_mebx(Some(&file))),
    }
}

/// AMT that this run activated, with what it takes to go on.
pub(super) struct Session<'m> {
    pub(super) lme: Lme<'m>,
    pub(super) password: Password,
    pub(super) realm: Realm,
    pub(super) open: OpenChange,
    /// The login that stands on the channel that is open.
    pub(super) login: Option<LoggedIn>,
    /// Escrow file of a MEBx password that was made: AMT may have taken it.
    pub(super) mebx_escrow: Option<String>,
}

fn told<'a>(mode: &Mode, open: &'a OpenChange, held: &'a Held, over_tls: Option<&'a OverTls>) -> Proven<'a> {
    Proven { mode: mode.word(), held, over_tls, ..Proven::new(open) }
}

/// Precondition, read again just before anything is changed.
async fn require_unprovisioned(pthi: &mut Pthi<'_>) -> Result<(), Failure> {
    let state = pthi.ask(&GetProvisioningState).await?;
    let mode = pthi.ask(&GetControlMode).await?;
    if (state, mode) == (ProvisioningState::Pre, ControlMode::None) {
        return Ok(());
    }
    Err(Failure::unchanged(
        "state-changed",
        format!(
            "AMT was unprovisioned when it was detected and is now {state:?}, control mode {mode:?}; run again"
        ),
    ))
}

/// The device's realm, once its own word for it and its login agree, and its setup service, which must be unused.
async fn require_unused(local: &mut Client<'_, '_>) -> Result<(Realm, HostBasedSetupService), Failure> {
    let general = local.get_general_settings().await?;
    let named = general.digest_realm.as_deref().and_then(Realm::new);
    let Some(realm) = named.filter(|named| local.realm() == Some(named)) else {
        return Err(Failure::unchanged(
            "realm-mismatch",
            "AMT's login realm is not the DigestRealm of its general settings; a password made for one would not work \
             for the other",
        ));
    };
    let service = local.get_host_based_setup_service().await?;
    if service.current_control_mode.unwrap_or(0) != 0 {
        return Err(Failure::unchanged(
            "state-changed",
            "AMT's host based setup service says it is set up already; run again",
        ));
    }
    Ok((realm, service))
}

/// Whether the firmware permits the mode at all.
fn require_allowed(service: &HostBasedSetupService, mode: ControlMode) -> Result<(), Failure> {
    let (number, cause, name) = match mode {
        ControlMode::Admin => (2, "acm-not-allowed", ADMIN_MODE),
        _ => (1, "ccm-not-allowed", CLIENT_MODE),
    };
    if service.allowed_control_modes.contains(&number) {
        return Ok(());
    }
    Err(Failure::impossible(
        cause,
        format!(
            "AMT allows control modes {:?} only, not {} ({number}); the firmware setup may permit it",
            service.allowed_control_modes, name
        ),
    ))
}

/// Makes the password and sees it sealed and durable. No device has heard of it before this returns.
fn escrow(run: &mut Run<'_>, realm: &Realm, mode: &Mode) -> Result<(Password, OpenChange), Failure> {
    let not_stored = |error| Failure::not_stored(&error);
    // The device was just seen unprovisioned, so what an earlier run sent did not stay.
    if let Some(earlier) = fold_open(run.journal.entries()) {
        run.journal.append(JournalEntry::Undone { generation: earlier.generation }).map_err(not_stored)?;
    }
    let generation = run.history.amt_generation + 1;
    let notes = match mode {
        Mode::Client => {
            "log in as admin with HTTP digest; client control mode can be undone over MEI without it"
        }
        Mode::Admin(_) | Mode::AdminOverTls(_) => {
            "log in as admin with HTTP digest; admin control mode can be undone with it, or at the keyboard only"
        }
    };
    let endpoint = endpoint(run, realm);
    let credential = Credential { channel: "amt", generation, username: ADMIN, endpoint, notes };
    let (password, file) = credential.escrow(run, json!({ "realm": realm.as_str() }))?;
    let run_id = run.chain.run().run_id.clone();
    let realm = realm.as_str().to_owned();
    run.journal
        .append(JournalEntry::Begin {
            run_id: run_id.clone(),
            generation,
            realm: realm.clone(),
            escrow: file.clone(),
            rotation: false,
        })
        .map_err(not_stored)?;
    let open = OpenChange {
        generation,
        realm,
        escrow: file,
        call_sent: true,
        tls_pin: None,
        rotation: false,
        run_id,
        earlier: Vec::new(),
    };
    Ok((password, open))
}

/// Whether the device is in that control mode by our call. Asked until it shows the change, or long enough to be sure
/// that a call whose answer was lost did not arrive.
async fn became_ours<'a>(
    pthi: &mut Pthi<'a>,
    run: &Run<'a>,
    answer: Answer,
    mode: &Mode,
) -> Result<bool, Failure> {
    let call = mode.call();
    let is_committed = !is_tls_only(run);
    let until = run.machine.until(if answer == Answer::Accepted { SHOWS } else { LATE });
    loop {
        let seen = look(pthi, run).await;
        match (&seen, answer) {
            (Ok((seen, ProvisioningState::Post)), Answer::Accepted | Answer::Unknown)
                if *seen == mode.shown() =>
            {
                return Ok(true);
            }
            // From AMT 19 on it is not done before the commit, and what it shows until then is not told.
            (Ok((seen, ProvisioningState::In)), Answer::Accepted | Answer::Unknown)
                if !is_committed && [mode.shown(), ControlMode::None].contains(seen) =>
            {
                return Ok(true);
            }
            // Our call was refused, so this is not our doing, and not ours to undo.
            (Ok((mode @ (ControlMode::Client | ControlMode::Admin), _)), Answer::Refused) => {
                return Err(Failure::others(format!(
                    "AMT refused {call} and is now in control mode {mode:?}: others set it up meanwhile; it was not \
                     touched"
                )));
            }
            (Ok((ControlMode::None, ProvisioningState::Pre)), Answer::Refused) => return Ok(false),
            (Ok((ControlMode::None, ProvisioningState::Pre)), _) if until.is_over() => return Ok(false),
            (Ok((mode, state)), _) if until.is_over() => {
                return Err(Failure::indeterminate(format!(
                    "AMT shows control mode {mode:?} in provisioning state {state:?} after {call}; escrow holds the \
                     candidate password, and a next run goes on from here"
                )));
            }
            (Err(trouble), _) if until.is_over() => {
                return Err(Failure::indeterminate(format!(
                    "AMT cannot be asked what became of {call} ({trouble}); escrow holds the candidate password, and a \
                     next run goes on from here"
                )));
            }
            _ => run.machine.pause(ASK_EVERY).await,
        }
    }
}
