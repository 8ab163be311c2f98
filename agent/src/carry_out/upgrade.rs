//! From client to admin control mode without deactivation (reference/amt.md 5.4): as admin, with the provisioning
//! certificate, by one call that is sent once. The password stays, so AMT is ours whatever becomes of it; which mode it is
//! in is asked over PTHI, not taken from the answer.

use std::time::Duration;

use oob_policy::{AmtSettings, Exit, Outcome, Step};
use oob_wsman::classes::ips::upgrade_client_to_admin;
use oob_wsman::client::Login;
use oob_wsman::pthi::{ControlMode, ProvisioningState};

use super::acm::{self, Armed};
use super::amt::{Point, Pthi};
use super::failure::{Failure, WsError, answered, described};
use super::known::{self, Goal, Standing};
use super::lme::Lme;
use super::ours::{ASK_EVERY, SHOWS, look};
use super::proof::{Client, cnonce, ha1, prove};
use super::record::{Held, Proven, incomplete, record_proof};
use super::setup::Session;
use super::{Run, settings, with_evidence};
use crate::probe;
use crate::secrets::Password;
use crate::state::{Answer, JournalEntry};

const CALL: &str = "IPS_HostBasedSetupService.UpgradeClientToAdmin";
/// How long a device is watched that may have taken the call though its answer was lost.
const LATE: Duration = Duration::from_secs(30);
/// `CurrentControlMode` of client control mode.
const CLIENT: u32 = 1;
/// Admin control mode in `AllowedControlModes`.
const ADMIN_ALLOWED: u32 = 2;

pub(super) async fn upgrade(
    run: &mut Run<'_>,
    step: &Step,
    realm: &str,
    or_ccm: bool,
    wanted: &AmtSettings,
) -> Outcome {
    match proceed(run, step, realm, wanted).await {
        Ok(outcome) => outcome,
        // The certificate is not one that AMT takes; nothing was changed, and policy is content with the mode it has.
        Err(failure) if or_ccm && failure.exit == Exit::Impossible => {
            run.progress.end("not accepted");
            stay(run, step, realm, wanted, &failure.text).await
        }
        Err(failure) => {
            run.progress.end("failed");
            failure.recorded(run, step)
        }
    }
}

/// AMT as it is, with what its mode can have.
async fn stay(run: &mut Run<'_>, step: &Step, realm: &str, wanted: &AmtSettings, why: &str) -> Outcome {
    let mut ended = known::go_on(run, step, Goal::Complete, Some(realm), &wanted.in_client_mode()).await;
    ended.text.push_str(&format!(". It stays in client control mode: {why}"));
    with_evidence(ended, [("instead_of_acm", why.into())])
}

async fn proceed(
    run: &mut Run<'_>,
    step: &Step,
    expected: &str,
    wanted: &AmtSettings,
) -> Result<Outcome, Failure> {
    let history = run.history;
    let standing = Standing::of(history, Some(expected));
    run.progress.begin("amt: seeing which AMT answers, without a login");
    if known::provisioned(run).await? != "ccm" {
        let text = "AMT is not in client control mode any more; nothing was changed, run again";
        return Err(Failure::unchanged("state-changed", text));
    }
    let mut pthi = Pthi::connect(run.machine).await?;
    let trust = acm::trust(&mut pthi).await?;
    let (mut lme, realm) = known::reach(run).await?;
    if realm.as_str() != expected {
        return Err(known::other_realm(run, &realm, Some(&standing)));
    }
    run.progress.end("done");

    run.progress.begin("amt: logging in with the credential that was given");
    let given = known::log_in(run, &mut lme, &realm).await?;
    let password = Password::from_text(given.password.expose().to_owned());
    run.progress.end("done");

    run.progress.begin("amt: judging and handing over the provisioning certificate");
    lme.start_over().await;
    let login = Login::Ha1(ha1(&realm, &password));
    let mut admin = Client::new(&mut lme, login, cnonce).expect_realm(realm.clone());
    let service = admin.get_host_based_setup_service().await?;
    if service.current_control_mode != Some(CLIENT) {
        let text = "AMT's host based setup service does not say that it is in client control mode; nothing was changed, run \
                    again";
        return Err(Failure::unchanged("state-changed", text));
    }
    if !service.allowed_control_modes.contains(&ADMIN_ALLOWED) {
        let text = format!(
            "AMT allows control modes {:?} only, not admin control mode (2); the firmware setup may permit it",
            service.allowed_control_modes
        );
        return Err(Failure::impossible("acm-not-allowed", text));
    }
    let armed = acm::arm(run, &mut admin, &service, trust).await?;
    run.progress.end("done");

    // Of a password that came alone nobody can tell which escrow file holds it.
    let open = match standing.change_of(given) {
        Some(open) => open,
        None => {
            let generation = history.amt_generation + 1;
            known::seal(run, &password, &realm, generation)?
        }
    };

    run.progress.begin("amt: going up to admin control mode");
    let sending = JournalEntry::Upgrading { realm: realm.as_str().to_owned(), call: CALL.to_owned() };
    run.journal.append(sending).map_err(|error| Failure::not_stored(&error))?;
    let point = Point { kind: "mutating", what: CALL };
    probe::before(&point);
    let said = admin.invoke(&upgrade_client_to_admin(armed.proof())).await;
    probe::after(&point);
    drop(admin);
    settle(run, &mut pthi, &said, &armed).await?;
    run.progress.end("done");

    let mut session = Session { lme, password, realm, open: open.clone(), mebx_escrow: None, login: None };
    prove_it(run, &mut session, wanted.is_empty()).await?;
    let mut held = standing.ours.map(Held::of).unwrap_or_default();
    held.let_go(wanted);
    let proven = Proven { mode: "acm", held: &held, changed: true, ..Proven::new(&open) };
    // Proven and escrowed, so what comes next can only be missing, not lost.
    let bare = record_proof(run, step, &proven)?;
    if wanted.is_empty() {
        return Ok(bare);
    }
    match settings::apply(run, &mut session, ControlMode::Admin, wanted).await {
        Ok(applied) => record_proof(run, step, &Proven { applied: &applied, ..proven }),
        Err(failure) => Ok(incomplete(run, step, bare, &session, &failure)),
    }
}

/// In admin control mode the password is the one of before, or nobody knows it.
async fn prove_it<'m>(run: &mut Run<'m>, session: &mut Session<'m>, again: bool) -> Result<(), Failure> {
    let lme: &mut Lme<'m> = &mut session.lme;
    prove(run, lme, &session.password, &session.realm, again).await.map_err(|failure| {
        Failure::indeterminate(format!(
            "{}; AMT went up to admin control mode, which keeps the password: {} holds it, run again with \
             `--known-credential FILE`",
            failure.text, session.open.escrow
        ))
    })
}

/// Which mode it came to, whatever was answered. The call is not sent again.
async fn settle<'m>(
    run: &mut Run<'m>,
    pthi: &mut Pthi<'m>,
    said: &Result<(), WsError>,
    armed: &Armed,
) -> Result<(), Failure> {
    let answer = answered(said);
    let until = run.machine.until(if answer == Answer::Accepted { SHOWS } else { LATE });
    loop {
        match (look(pthi, run).await, until.is_over()) {
            (Ok((ControlMode::Admin, ProvisioningState::Post)), _) => {
                // Best effort: the journal already says that the call was sent.
                let answer = if answer == Answer::Refused { Answer::Unknown } else { answer };
                let _ = run.journal.append(JournalEntry::Upgraded { answer });
                return Ok(());
            }
            (Ok((ControlMode::Client, ProvisioningState::Post)), over)
                if over || answer == Answer::Refused =>
            {
                // What is not written now, the next run sees on the device.
                let _ = run.journal.append(JournalEntry::Upgraded { answer: Answer::Refused });
                let why = match said {
                    Ok(()) => "it answered success".to_owned(),
                    Err(error) => described(error),
                };
                let cause = if answer == Answer::Unknown { "upgrade-lost" } else { "upgrade-refused" };
                return Err(Failure::unchanged(
                    cause,
                    format!(
                        "going up to admin control mode: {why}; AMT is still in client control mode with its credential, so \
                         nothing changed{}",
                        armed.hint()
                    ),
                ));
            }
            (seen, true) => {
                let seen = match seen {
                    Ok((mode, state)) => format!("AMT shows control mode {mode:?} in state {state:?}"),
                    Err(trouble) => format!("AMT cannot be asked which mode it is in ({trouble})"),
                };
                return Err(Failure::indeterminate(format!(
                    "{CALL} was sent, and {seen}; its password is the one of before, and a next run goes on from here"
                )));
            }
            _ => run.machine.pause(ASK_EVERY).await,
        }
    }
}
