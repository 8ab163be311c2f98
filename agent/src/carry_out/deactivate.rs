//! AMT that policy wants unprovisioned (reference/amt.md 5.13): seen to be ours, or logged in to; told once; then watched
//! until it shows it, whatever it answered. A firmware that says "later" is told again, one that may have acted is not.

use std::time::Duration;

use oob_policy::{Outcome, Scope, Status, Step};
use oob_wsman::classes::amt::{partial_unprovision, unprovision};
use oob_wsman::client::Login;
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{
    Command, ControlMode, GetControlMode, GetProvisioningState, ProvisioningState, PtStatus, PthiError,
    StopConfiguration, Unprovision,
};
use serde_json::json;

use super::amt::{Point, Pthi, Trouble};
use super::failure::{Failure, WsError, described};
use super::known;
use super::lme::Lme;
use super::ours::{ASK_EVERY, SHOWS, close_open, look};
use super::proof::{Client, cnonce, ha1, read_realm};
use super::{Run, outcome, with_evidence};
use crate::probe;
use crate::secrets::Password;
use crate::state::{JournalEntry, Kind, OrgState, fold, fold_leaving, fold_open};

/// Another component blocks it: it did not act, and may later (reference/amt.md 7).
const BLOCKING_COMPONENT: PtStatus = PtStatus(2076);
const NOT_READY: PtStatus = PtStatus::NOT_READY;
const LATER_TRIES: u32 = 5;
const LATER_PAUSE: Duration = Duration::from_secs(10);

/// `login`: as admin, with the credential that was given. `realm`: the one that our proof or journal knows.
pub(super) async fn deactivate(
    run: &mut Run<'_>,
    step: &Step,
    scope: Scope,
    login: bool,
    realm: Option<&str>,
) -> Outcome {
    let ended = proceed(run, step, scope, login, realm).await;
    ended.unwrap_or_else(|failure| {
        run.progress.end("failed");
        failure.recorded(run, step)
    })
}

/// Nothing to be done on the machine. Org state may still say otherwise, where a run died or others were at work.
pub(super) async fn already(run: &mut Run<'_>, step: &Step) -> Outcome {
    if run.detection.text("intel.amt.verdict") == "absent" {
        return outcome(step, Status::AlreadySo, "this machine has no AMT that could be provisioned");
    }
    run.progress.begin("amt: seeing that it is not provisioned");
    let ended = see_unprovisioned(run, step).await;
    run.progress.end(if ended.is_ok() { "done" } else { "failed" });
    ended.unwrap_or_else(|failure| failure.recorded(run, step))
}

async fn see_unprovisioned(run: &mut Run<'_>, step: &Step) -> Result<Outcome, Failure> {
    let mut pthi = Pthi::connect(run.machine).await?;
    let mode = pthi.ask(&GetControlMode).await?;
    let state = pthi.ask(&GetProvisioningState).await?;
    if (mode, state) != (ControlMode::None, ProvisioningState::Pre) {
        return Err(changed_meanwhile(mode, state));
    }
    let text = "AMT is not provisioned: no control mode, state pre";
    let claimed = run.history.amt.as_ref().map(|ours| ours.event.clone());
    let unfinished = fold_leaving(run.journal.entries());
    if claimed.is_none() && unfinished.is_none() && fold_open(run.journal.entries()).is_none() {
        return Ok(outcome(step, Status::AlreadySo, text));
    }
    let why = match (&unfinished, &claimed) {
        (Some(_), _) => "a run of ours was unprovisioning it when it ended, and it came to that".to_owned(),
        (None, Some(event)) => {
            format!("event {event} said that it was ours, and it was unprovisioned since")
        }
        (None, None) => "a change that a run of ours began did not stay".to_owned(),
    };
    let event =
        retire(run, "seen", unfinished.as_deref(), None, &["pthi control mode and provisioning state"])?;
    let text = format!("{text}; {why}, so org state does not claim it any more");
    Ok(with_evidence(outcome(step, Status::AlreadySo, text), [("event", event.into())]))
}

/// How AMT is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Mei,
    /// Out of a configuration that was begun and not ended.
    Stop,
    Admin(Scope),
}

impl Way {
    const fn call(self) -> &'static str {
        match self {
            Self::Mei => Unprovision::NAME,
            Self::Stop => StopConfiguration::NAME,
            Self::Admin(Scope::Full) => "AMT_SetupAndConfigurationService.Unprovision",
            Self::Admin(Scope::Partial) => "AMT_SetupAndConfigurationService.PartialUnprovision",
        }
    }
}

/// What AMT answered.
enum Told {
    Accepted,
    Refused(String),
    /// It did not act, and may if told again.
    Later(String),
    Unknown(String),
}

/// AMT that is about to be left, with what it takes.
struct Leaving<'m> {
    pthi: Pthi<'m>,
    lme: Lme<'m>,
    realm: Realm,
    password: Option<Password>,
    /// What it was in when we came.
    mode: ControlMode,
}

async fn proceed(
    run: &mut Run<'_>,
    step: &Step,
    scope: Scope,
    login: bool,
    expected: Option<&str>,
) -> Result<Outcome, Failure> {
    // What a step before set up is the one that is meant, and needs no other password.
    let made = run.made.take();
    let expected = expected.or(made.as_ref().map(|made| made.realm.as_str()));
    run.progress.begin("amt: seeing which AMT answers, without a login");
    let mut pthi = Pthi::connect(run.machine).await?;
    let mode = pthi.ask(&GetControlMode).await?;
    let state = pthi.ask(&GetProvisioningState).await?;
    let way = match (mode, state) {
        (ControlMode::Client, ProvisioningState::Post) if scope == Scope::Full => Way::Mei,
        (ControlMode::Client | ControlMode::Admin, ProvisioningState::Post) => Way::Admin(scope),
        // Only what our journal names is stopped.
        (ControlMode::None, ProvisioningState::In) if expected.is_some() => Way::Stop,
        _ => return Err(changed_meanwhile(mode, state)),
    };
    if matches!(way, Way::Admin(_)) && !login {
        return Err(changed_meanwhile(mode, state));
    }
    let (mut lme, realm) = known::reach(run).await?;
    if expected.is_some_and(|expected| expected != realm.as_str()) {
        return Err(known::other_realm(run, &realm, None));
    }
    run.progress.end("done");
    let mut password = None;
    if login {
        run.progress.begin("amt: logging in as admin");
        password = Some(match &made {
            // The step before has logged in with it, twice.
            Some(made) if made.realm == realm => Password::from_text(made.password.expose().to_owned()),
            _ => {
                let known = known::log_in(run, &mut lme, &realm).await?;
                Password::from_text(known.password.expose().to_owned())
            }
        });
        run.progress.end("done");
    }

    run.progress.begin("amt: unprovisioning it");
    let mut leaving = Leaving { pthi, lme, realm, password, mode };
    let told = tell(run, &mut leaving, way).await?;
    settle(run, &mut leaving, way, told).await?;
    run.progress.end("done");

    run.progress.begin("amt: seeing the login of before gone");
    let Leaving { lme, realm, password, .. } = leaving;
    drop(lme);
    let login = login_now(run, scope, &realm, password.as_ref()).await?;
    run.progress.end("done");
    let proof = ["pthi control mode and provisioning state", login.proof];
    let seen = if login.proof.is_empty() { &proof[..1] } else { &proof[..] };
    let event = retire(run, scope.word(), Some(realm.as_str()), Some(way.call()), seen)?;
    let text = format!(
        "AMT is unprovisioned ({}): no control mode, state pre; {}. Its escrow files stay, and org state does not claim it any \
         more",
        way.call(),
        login.text
    );
    let done = Outcome { changed: true, ..outcome(step, Status::Done, text) };
    Ok(with_evidence(
        done,
        [
            ("proof", "read-back".into()),
            ("call", way.call().into()),
            ("unprovisioned", scope.word().into()),
            ("login", login.word.into()),
            ("realm", realm.as_str().into()),
            ("event", event.into()),
        ],
    ))
}

fn changed_meanwhile(mode: ControlMode, state: ProvisioningState) -> Failure {
    let text =
        format!("AMT is in control mode {mode:?}, state {state:?} now; nothing was changed, run again");
    Failure::unchanged("state-changed", text)
}

/// Tells AMT, and again as long as it asks for that.
async fn tell<'m>(run: &mut Run<'m>, leaving: &mut Leaving<'m>, way: Way) -> Result<Told, Failure> {
    let mut tries = LATER_TRIES;
    loop {
        tries -= 1;
        begin(run, leaving, way)?;
        match send(run, leaving, way).await {
            Told::Later(why) if tries > 0 => {
                tracing::info!(why, "AMT asks to be told later");
                run.machine.pause(LATER_PAUSE).await;
            }
            told => return Ok(told),
        }
    }
}

fn begin(run: &mut Run<'_>, leaving: &Leaving<'_>, way: Way) -> Result<(), Failure> {
    let entry =
        JournalEntry::Leaving { realm: leaving.realm.as_str().to_owned(), call: way.call().to_owned() };
    run.journal.append(entry).map_err(|error| Failure {
        text: format!("writing the journal: {error}; AMT was not told {}", way.call()),
        ..Failure::not_stored(&error)
    })
}

async fn send<'m>(run: &Run<'m>, leaving: &mut Leaving<'m>, way: Way) -> Told {
    let said = match way {
        Way::Mei => leaving.pthi.ask(&Unprovision).await,
        Way::Stop => leaving.pthi.ask(&StopConfiguration).await,
        Way::Admin(scope) => return send_as_admin(leaving, way, scope).await,
    };
    let told = match said {
        Ok(()) => Told::Accepted,
        Err(Trouble::Pthi(PthiError::Status(BLOCKING_COMPONENT | NOT_READY))) => {
            Told::Later("it says that it is not ready".to_owned())
        }
        Err(trouble) if trouble.is_answer() => Told::Refused(trouble.to_string()),
        Err(trouble) => Told::Unknown(trouble.to_string()),
    };
    // On a connection that owes an answer, the next one may be that one.
    if matches!(told, Told::Unknown(_))
        && let Ok(anew) = Pthi::connect(run.machine).await
    {
        leaving.pthi = anew;
    }
    told
}

async fn send_as_admin(leaving: &mut Leaving<'_>, way: Way, scope: Scope) -> Told {
    let Some(password) = &leaving.password else {
        return Told::Refused("no credential was given".to_owned());
    };
    leaving.lme.start_over().await;
    let login = Login::Ha1(ha1(&leaving.realm, password));
    let mut admin = Client::new(&mut leaving.lme, login, cnonce).expect_realm(leaving.realm.clone());
    let point = Point { kind: "mutating", what: way.call() };
    probe::before(&point);
    let said = match scope {
        Scope::Full => admin.invoke(&unprovision()).await,
        Scope::Partial => admin.invoke(&partial_unprovision()).await,
    };
    probe::after(&point);
    match said {
        Ok(()) => Told::Accepted,
        Err(WsError::ReturnValue(error)) if [BLOCKING_COMPONENT, NOT_READY].contains(&error.status()) => {
            Told::Later(error.to_string())
        }
        Err(error @ WsError::OutcomeUnknown { .. }) => Told::Unknown(described(&error)),
        Err(WsError::ReturnValue(error)) if !error.is_known() => Told::Unknown(error.to_string()),
        Err(error) => Told::Refused(described(&error)),
    }
}

/// Watches until AMT shows that it is unprovisioned. What is stuck on the way is stopped, once.
async fn settle<'m>(
    run: &mut Run<'m>,
    leaving: &mut Leaving<'m>,
    way: Way,
    told: Told,
) -> Result<(), Failure> {
    let mut stopped = way == Way::Stop;
    let mut until = run.machine.until(SHOWS);
    loop {
        let as_before = (leaving.mode, ProvisioningState::Post);
        match (look(&mut leaving.pthi, run).await, &told, until.is_over()) {
            (Ok((ControlMode::None, ProvisioningState::Pre)), ..) => return Ok(()),
            (Ok(seen), Told::Refused(why) | Told::Later(why), _) if seen == as_before => {
                return Err(unchanged(
                    run,
                    "unprovision-refused",
                    &format!("AMT refused {}: {why}", way.call()),
                ));
            }
            (Ok(seen), Told::Unknown(why), true) if seen == as_before => {
                let text = format!("the answer to {} was lost ({why})", way.call());
                return Err(unchanged(run, "unprovision-lost", &text));
            }
            (Ok((ControlMode::None, ProvisioningState::In)), _, true) if !stopped => {
                stopped = true;
                begin(run, leaving, Way::Stop).map_err(|failure| {
                    let text =
                        format!("{} was sent and AMT is in provisioning; {}", way.call(), failure.text);
                    Failure::indeterminate(text)
                })?;
                // What comes of it is seen.
                let _ = send(run, leaving, Way::Stop).await;
                until = run.machine.until(SHOWS);
            }
            (seen, _, true) => {
                let seen = match seen {
                    Ok((mode, state)) => format!("AMT shows control mode {mode:?} in state {state:?}"),
                    Err(trouble) => format!("AMT cannot be asked what it is now ({trouble})"),
                };
                return Err(Failure::indeterminate(format!(
                    "{} was sent, and {seen}; its escrow files stay, and a next run goes on from here",
                    way.call()
                )));
            }
            _ => run.machine.pause(ASK_EVERY).await,
        }
    }
}

/// AMT is as it was, and the journal says so as far as it can be written.
fn unchanged(run: &mut Run<'_>, cause: &'static str, why: &str) -> Failure {
    // What is not written now, the next run sees on the device.
    let _ = run.journal.append(JournalEntry::Left);
    Failure::unchanged(
        cause,
        format!("{why}; AMT is as it was, and its credential is as good as before; run again"),
    )
}

/// What became of the login of before.
struct LoginNow {
    word: &'static str,
    proof: &'static str,
    text: &'static str,
}

/// A realm of its own comes with every provisioning, so the one of before is gone with it; where it is not, the password
/// tells. What cannot be seen is said, and is no failure: AMT itself showed that it is unprovisioned.
async fn login_now(
    run: &Run<'_>,
    scope: Scope,
    realm: &Realm,
    password: Option<&Password>,
) -> Result<LoginNow, Failure> {
    let unseen = LoginNow {
        word: "not-seen",
        proof: "",
        text: "whether the login of before is gone could not be seen",
    };
    let Ok((mut lme, now)) = known::reach(run).await else { return Ok(unseen) };
    if now != *realm {
        let text = "its login realm is another one, so the password of before is of no use";
        return Ok(LoginNow { word: "realm-changed", proof: "another login realm", text });
    }
    if scope == Scope::Partial {
        let text = "partially: the admin account and what TLS needs stay in it";
        return Ok(LoginNow { word: "kept", proof: "", text });
    }
    let Some(password) = password else { return Ok(unseen) };
    match read_realm(&mut lme, password, realm).await {
        Err(WsError::Unauthorized { .. }) => Ok(LoginNow {
            word: "refused",
            proof: "the password of before was refused",
            text: "the password of before is refused",
        }),
        Ok(_) => Err(Failure::indeterminate(
            "AMT says that it is unprovisioned, and still takes the password of before; power-cycle the machine and run \
             again",
        )),
        Err(_) => Ok(unseen),
    }
}

/// Ends every proof and every open change of this AMT in org state. The escrow files stay.
fn retire(
    run: &mut Run<'_>,
    how: &str,
    realm: Option<&str>,
    call: Option<&str>,
    proof: &[&str],
) -> Result<String, Failure> {
    let late = |error| Failure::not_recorded("AMT is unprovisioned", &error);
    // Read anew: a step before this one may have proven what is ended here.
    let stored = run.store.stored(&run.chain.run().device_id).map_err(late)?;
    let history = fold(&stored, run.journal.entries());
    let proofs = history.amt.iter().chain(&history.amt_older).map(|ours| ours.escrow.clone());
    let open = fold_open(run.journal.entries());
    let begun = open.iter().flat_map(|open| open.earlier.iter().chain([&open.escrow])).cloned();
    let mut ended: Vec<String> = proofs.chain(begun).collect();
    ended.sort();
    ended.dedup();
    let body = json!({
        "channel": "amt", "unprovisioned": how, "realm": realm, "call": call, "ended": ended, "proof": proof,
    });
    let event = run.chain.record(run.store, Kind::Retired, body).map_err(late)?;
    close_open(run).map_err(late)?;
    if fold_leaving(run.journal.entries()).is_some() {
        run.journal.append(JournalEntry::Left).map_err(late)?;
    }
    Ok(event)
}
