//! AMT that its maker or BIOS setup switched off, switched on over MHC (reference/amt.md 2.3): once, and believed only
//! when it answers. Some firmware does so at once, some after the machine's next start, which is said and not waited for.

use std::time::Duration;

use oob_policy::{Exit, Outcome, Status, Step};
use oob_wsman::classes::amt::SetupAndConfigurationService;
use oob_wsman::client::Login;
use oob_wsman::pthi::{ControlMode, GetCodeVersions, GetControlMode, GetLocalSystemAccount, GetPkiSuffix};
use serde_json::json;

use super::amt::Pthi;
use super::failure::Failure;
use super::lme::Lme;
use super::mhc::{self, NotSwitched};
use super::ours::{ASK_EVERY, SHOWS};
use super::peer::{Die, is_tls_only};
use super::proof::{Client, cnonce};
use super::{Run, outcome, with_evidence};
use crate::state::{Answer, JournalEntry, Kind};

const CALL: &str = "SetAmtOperationalState";
/// How long a DHCP lease may take, without which AMT knows no DNS suffix.
const LEASE: Duration = Duration::from_secs(60);
/// What is to be done where the host may not switch it.
const BY_HAND: &str = "enable it in BIOS setup or MEBx";

/// `told`: the event of a run that told the firmware in this boot already. `suffix`: wait for AMT's DNS suffix.
pub(super) async fn enable(run: &mut Run<'_>, step: &Step, told: Option<&str>, suffix: bool) -> Outcome {
    run.progress.begin("amt: switching it on");
    let ended = switch_on(run, step, told).await;
    run.progress.end(match &ended {
        Ok(ended) if ended.exit == Exit::Satisfied => "done",
        Ok(_) => "not yet",
        Err(_) => "failed",
    });
    match ended {
        Ok(ended) if suffix && ended.exit == Exit::Satisfied => {
            run.progress.begin("amt: waiting for its DNS suffix");
            let seen = wait_for_suffix(run).await;
            run.progress.end(if seen { "done" } else { "not there" });
            ended
        }
        Ok(ended) => ended,
        Err(failure) => failure.recorded(run, step),
    }
}

/// What the firmware answered to the call, if it was sent.
enum Told {
    Accepted,
    Unknown(String),
    /// By an earlier run.
    Before(String),
    /// It says that it is on already.
    Nothing,
}

async fn switch_on(run: &mut Run<'_>, step: &Step, told: Option<&str>) -> Result<Outcome, Failure> {
    let machine = run.machine;
    let switch = mhc::state(machine).await.map_err(|why| unreadable(run, &why))?;
    let told = match (switch.amt_enabled, told) {
        (Some(true), _) => Told::Nothing,
        (None, _) => {
            let text = format!("this firmware's AMT cannot be switched by the host: {BY_HAND}");
            return Err(Failure::impossible("amt-not-switchable", text));
        }
        (Some(false), Some(event)) => Told::Before(event.to_owned()),
        (Some(false), None) if !switch.transition_allowed => {
            let text =
                format!("the firmware does not let the host switch AMT on ({:#04x}): {BY_HAND}", switch.raw);
            return Err(Failure::impossible("amt-not-switchable", text));
        }
        (Some(false), None) => send(run).await?,
    };
    let sent = matches!(told, Told::Accepted | Told::Unknown(_));
    let until = machine.until(SHOWS);
    let enabled = loop {
        if answers(run).await {
            break None;
        }
        if until.is_over() {
            break Some(mhc::state(machine).await.ok().and_then(|switch| switch.amt_enabled));
        }
        machine.pause(ASK_EVERY).await;
    };
    let Some(enabled) = enabled else {
        let event = if sent { Some(record(run, true)?) } else { None };
        let how = match (&told, sent) {
            (Told::Before(event), _) => format!("was switched on by event {event}"),
            (_, true) => "was switched on over MHC".to_owned(),
            (_, false) => "is on by now".to_owned(),
        };
        let done = outcome(step, Status::Done, format!("AMT {how} and answers"));
        let mut done = Outcome { changed: sent, ..done };
        done.evidence.extend(event.map(|event| ("event".to_owned(), event.into())));
        return Ok(with_evidence(done, [("proof", "read-back".into())]));
    };
    match (told, enabled) {
        // Lost, and nothing shows it: it did not act.
        (Told::Unknown(why), Some(false)) => Err(Failure::unchanged(
            "enable-lost",
            format!(
                "the answer to {CALL} was lost ({why}), and AMT is off in this boot as it was; whether it comes on with the \
                 next start is not known: run again"
            ),
        )),
        (Told::Unknown(why), None) => Err(Failure::indeterminate(format!(
            "the answer to {CALL} was lost ({why}), and whether AMT is on cannot be read; power-cycle the machine and run again"
        ))),
        (told, enabled) => {
            let event = match &told {
                Told::Before(event) => Some(event.clone()),
                Told::Nothing => None,
                _ => Some(record(run, false)?),
            };
            Ok(pending(step, sent, event, enabled == Some(true)))
        }
    }
}

/// On, as far as the firmware says, and not there before the machine starts again.
fn pending(step: &Step, sent: bool, event: Option<String>, enabled: bool) -> Outcome {
    let how = match (sent, enabled) {
        (true, true) => "AMT was switched on over MHC, the firmware says so",
        (true, false) => "the firmware accepted to switch AMT on",
        (false, true) => "the firmware says that AMT is on",
        (false, false) => "the firmware accepted before to switch AMT on",
    };
    let text = format!("{how}, and it does not answer in this boot: restart the machine and run again");
    let ended = Outcome {
        changed: sent,
        exit: Exit::Pending,
        cause: Some("reboot-needed".to_owned()),
        ..outcome(step, Status::Done, text)
    };
    match event {
        Some(event) => with_evidence(ended, [("event", event.into())]),
        None => ended,
    }
}

/// Nobody can tell whether there is AMT where its client is gone and MHC is silent.
fn unreadable(run: &Run<'_>, why: &str) -> Failure {
    let verdict = run.detection.text("intel.amt.verdict");
    if verdict == "disabled" {
        let text = format!(
            "asking the firmware over MHC whether AMT may be switched on: {why}; nothing was changed"
        );
        return Failure::unchanged("mhc-unreachable", text);
    }
    let text =
        format!("whether this machine has AMT that is off is not known, MHC does not tell: {why}; {BY_HAND}");
    Failure::impossible("amt-absent-or-disabled", text)
}

async fn send(run: &mut Run<'_>) -> Result<Told, Failure> {
    let begin = JournalEntry::Enabling { call: CALL.to_owned() };
    run.journal.append(begin).map_err(|error| Failure::not_stored(&error))?;
    let said = mhc::switch_on(run.machine).await;
    let answer = match &said {
        Ok(()) => Answer::Accepted,
        Err(NotSwitched::Refused(_)) => Answer::Refused,
        Err(NotSwitched::Unknown(_)) => Answer::Unknown,
    };
    let end = JournalEntry::Enabled { call: CALL.to_owned(), answer };
    run.journal
        .append(end)
        .map_err(|error| Failure::not_recorded("AMT's firmware was told to switch it on", &error))?;
    match said {
        Ok(()) => Ok(Told::Accepted),
        Err(NotSwitched::Unknown(why)) => Ok(Told::Unknown(why)),
        Err(NotSwitched::Refused(why)) => Err(Failure::unchanged(
            "enable-refused",
            format!("the firmware refused to switch AMT on: {why}; it is as it was, {BY_HAND}"),
        )),
    }
}

/// AMT itself, with its versions: what a firmware that starts it answers first is that it is not ready.
async fn answers(run: &Run<'_>) -> bool {
    let Ok(mut pthi) = Pthi::connect(run.machine).await else { return false };
    let mode = pthi.ask_once(&GetControlMode).await;
    if !matches!(mode, Ok(ControlMode::None)) {
        return false;
    }
    let versions = pthi.ask_once(&GetCodeVersions).await;
    versions.is_ok_and(|versions| versions.amt().is_some_and(|amt| !amt.is_empty()))
}

/// Firmware that has just been switched on has no lease yet, and admin control mode compares its certificate with the
/// suffix that comes with one (reference/amt.md 2.3). Whether it came is for the certificate's own rules to say.
async fn wait_for_suffix(run: &Run<'_>) -> bool {
    let until = run.machine.until(LEASE);
    loop {
        if suffix(run).await.is_some_and(|suffix| !suffix.is_empty()) {
            return true;
        }
        if until.is_over() {
            return false;
        }
        run.machine.pause(ASK_EVERY).await;
    }
}

async fn suffix(run: &Run<'_>) -> Option<String> {
    let mut pthi = Pthi::connect(run.machine).await.ok()?;
    if let Ok(suffix) = pthi.ask_once(&GetPkiSuffix).await
        && !suffix.is_empty()
    {
        return Some(suffix);
    }
    let account = pthi.ask_once(&GetLocalSystemAccount).await.ok()?;
    let die = if is_tls_only(run) { Some(Die::of(run.machine).await) } else { None };
    let mut lme = Lme::with(run.machine, die.as_ref().map(Die::peer)).await.ok()?;
    let login = Login::Password { user: account.user, password: account.password };
    let mut local = Client::new(&mut lme, login, cnonce);
    local.get::<SetupAndConfigurationService>().await.ok()?.dhcp_dns_suffix
}

fn record(run: &mut Run<'_>, answers: bool) -> Result<String, Failure> {
    let body = json!({
        "channel": "amt", "switched_on": true, "call": CALL, "answers": answers,
        "boot_id": run.detection.known("host.boot_id"),
    });
    let event = run.chain.record(run.store, Kind::Note, body);
    event.map_err(|error| Failure::not_recorded("AMT was switched on", &error))
}
