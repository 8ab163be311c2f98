//! AMT switched off by its own firmware: one call, told to the journal before it is sent, never resent, and believed only
//! once the firmware itself reports AMT disabled.

use oob_policy::{Exit, Outcome, Status, Step, Value};
use oob_wsman::pthi::{
    Command, ControlMode, DisableAndClearAmt, GetControlMode, GetProvisioningState, ProvisioningState,
    PtStatus, PthiError,
};
use serde_json::json;

use super::amt::{Pthi, Trouble};
use super::failure::Failure;
use super::mhc::{self, NotSwitched};
use super::ours::{ASK_EVERY, SHOWS, close_open};
use super::{Run, outcome, with_evidence};
use crate::machine::{Machine, MeiError};
use crate::state::{Answer, JournalEntry, Kind, fold_open};

/// PTHI's "empty response": AMT is disabled (reference/detect.md 1.5).
const DISABLED: PtStatus = PtStatus(0x4000);
const SWITCH: &str = "SetAmtOperationalState";

/// Why this is never all that policy asks (DESIGN section 9).
const CAUSE: &str = "default-mebx-password";
const MISSING: &str = "not-satisfied: default MEBx password";
const MISSING_TEXT: &str = "the MEBx password was not changed, which takes admin control mode with a provisioning \
                            certificate: whoever is at the keyboard and knows it, the factory's included, can enable AMT \
                            again; give MEBx a password of its own there";

/// Switches AMT off; `mebx` is the escrow file of the password that MEBx took before, and `skipped` why no method before
/// this one was taken.
pub(super) async fn lock_down(
    run: &mut Run<'_>,
    step: &Step,
    mhc: bool,
    mebx: Option<&str>,
    skipped: &[String],
) -> Outcome {
    run.progress.begin("amt: switching it off by its own firmware");
    let ended = switch_off(run, mhc, mebx).await;
    run.progress.end(if ended.is_ok() { "done" } else { "failed" });
    let done = match ended {
        Ok(done) => done,
        Err(failure) => return failure.recorded(run, step),
    };
    let by = match done.call {
        SWITCH => format!("{SWITCH} over MHC, which any program with root's rights can take back"),
        call => format!("{call} over PTHI, which only MEBx takes back"),
    };
    let text = format!("AMT is switched off ({by}; {}). {}", done.seen, mebx_text(mebx, MISSING_TEXT));
    let ended = Outcome { changed: true, ..judged(outcome(step, Status::Done, text), mebx, skipped) };
    with_evidence(
        ended,
        [
            ("call", done.call.into()),
            ("event", done.event.into()),
            ("proof", if done.proven { "read-back" } else { "client-gone" }.into()),
        ],
    )
}

/// AMT is off already; nothing is sent. `mebx`: the run that did it gave MEBx a password of its own.
pub(super) fn already(
    run: &mut Run<'_>,
    step: &Step,
    event: Option<&str>,
    mebx: Option<&str>,
    skipped: &[String],
) -> Outcome {
    if is_cleared(run)
        && let Err(error) = close_open(run)
    {
        return Failure::not_recorded("AMT reports itself disabled", &error).recorded(run, step);
    }
    let whose = event.map_or(String::new(), |event| format!(" (event {event})"));
    let missing = "nobody can read the MEBx password, and this agent did not change it; give MEBx a password of its own at \
                   the keyboard";
    let text = format!(
        "AMT reports itself disabled{whose}: detected, nothing was sent. {}",
        mebx_text(mebx, missing)
    );
    let ended = judged(outcome(step, Status::AlreadySo, text), mebx, skipped);
    match event {
        Some(event) => with_evidence(ended, [("event", event.into())]),
        None => ended,
    }
}

/// Whether AMT that is off has nothing of a change that was begun: nothing was sent, or it was told to switch itself off
/// since, which it does before provisioning only (reference/amt.md 2.2). Where others did it, nobody knows.
fn is_cleared(run: &Run<'_>) -> bool {
    let open = fold_open(run.journal.entries());
    open.is_some_and(|open| !open.call_sent || run.history.switching_off)
}

fn mebx_text(mebx: Option<&str>, missing: &str) -> String {
    match mebx {
        Some(file) => format!("MEBx took a password of its own ({file}) and gives no way to read it back"),
        None => format!("{MISSING}: {missing}"),
    }
}

/// All that policy asks only where MEBx has a password of its own, which is asserted and never proven.
fn judged(mut ended: Outcome, mebx: Option<&str>, skipped: &[String]) -> Outcome {
    if !skipped.is_empty() {
        ended.text.push_str(&format!(". Before `lockdown`: {}", skipped.join("; ")));
        ended.evidence.insert("skipped".to_owned(), Value::from(skipped.to_vec()));
    }
    if let Some(file) = mebx {
        return with_evidence(ended, [("mebx", "asserted".into()), ("mebx_escrow", file.into())]);
    }
    let ended = Outcome { exit: Exit::Impossible, cause: Some(CAUSE.to_owned()), ..ended };
    with_evidence(ended, [("mebx", "not-changed".into()), ("verdict", MISSING.into())])
}

/// AMT that was seen off after the call.
struct Off {
    call: &'static str,
    seen: String,
    /// The firmware says it; else its client is gone.
    proven: bool,
    event: String,
}

async fn switch_off(run: &mut Run<'_>, mhc: bool, mebx: Option<&str>) -> Result<Off, Failure> {
    let mut pthi = Pthi::connect(run.machine).await?;
    let standing = (pthi.ask(&GetControlMode).await?, pthi.ask(&GetProvisioningState).await?);
    if standing != (ControlMode::None, ProvisioningState::Pre) {
        let text = format!("AMT is provisioned by now ({standing:?}), so it was not switched off; run again");
        return Err(Failure::unchanged("state-changed", text));
    }
    close_open(run).map_err(|error| Failure::not_stored(&error))?;
    let call = DisableAndClearAmt::NAME;
    begin(run, call)?;
    let told = match pthi.ask(&DisableAndClearAmt).await {
        Ok(()) => Told::Accepted,
        Err(trouble) if trouble.is_answer() => Told::Refused(trouble.to_string()),
        Err(trouble) => Told::Unknown(trouble.to_string()),
    };
    end(run, call, &told)?;
    // On a connection that owes an answer, the next one may be that one.
    let pthi = Some(pthi).filter(|_| !matches!(told, Told::Unknown(_)));
    let mut watch = Watch { machine: run.machine, pthi, mhc, mebx };
    let refused = match told {
        Told::Refused(why) => why,
        told => return settle(run, &mut watch, call, told).await,
    };
    // It said no, and may say no to the one and not to the other.
    if let Seen::Off { seen, proven } = watch.look().await {
        return record(run, mebx, call, seen, proven);
    }
    if !mhc {
        return Err(refusal(&format!("AMT refused {call}: {refused}")));
    }
    switch_off_by_mhc(run, &mut watch, &refused).await
}

async fn switch_off_by_mhc(run: &mut Run<'_>, watch: &mut Watch<'_>, refused: &str) -> Result<Off, Failure> {
    let before = format!("AMT refused {}: {refused}", DisableAndClearAmt::NAME);
    match mhc::state(run.machine).await {
        Ok(switch) if switch.amt_enabled == Some(true) && switch.transition_allowed => {}
        Ok(switch) => {
            return Err(refusal(&format!(
                "{before}; and over MHC it may not be switched ({:#04x})",
                switch.raw
            )));
        }
        Err(why) => return Err(refusal(&format!("{before}; and over MHC: {why}"))),
    }
    begin(run, SWITCH)?;
    let told = match mhc::switch_off(run.machine).await {
        Ok(()) => Told::Accepted,
        Err(NotSwitched::Refused(why)) => Told::Refused(why),
        Err(NotSwitched::Unknown(why)) => Told::Unknown(why),
    };
    end(run, SWITCH, &told)?;
    match told {
        Told::Refused(why) => Err(refusal(&format!("{before}; and {SWITCH}: {why}"))),
        told => settle(run, watch, SWITCH, told).await,
    }
}

fn refusal(text: &str) -> Failure {
    Failure::unchanged("lockdown-refused", format!("{text}; AMT is as it was"))
}

/// What the firmware answered to the call.
enum Told {
    Accepted,
    Refused(String),
    Unknown(String),
}

fn begin(run: &mut Run<'_>, call: &str) -> Result<(), Failure> {
    let again = run.history.locked_down.as_ref().map(|off| off.event.clone());
    let entry = JournalEntry::Disabling { call: call.to_owned(), again };
    run.journal.append(entry).map_err(|error| Failure::not_stored(&error))
}

fn end(run: &mut Run<'_>, call: &str, told: &Told) -> Result<(), Failure> {
    let answer = match told {
        Told::Accepted => Answer::Accepted,
        Told::Refused(_) => Answer::Refused,
        Told::Unknown(_) => Answer::Unknown,
    };
    let entry = JournalEntry::Disabled { call: call.to_owned(), answer };
    run.journal
        .append(entry)
        .map_err(|error| Failure::not_recorded("AMT was told to switch itself off", &error))
}

/// Watches until the firmware shows it, whatever it answered. The call is not sent again.
async fn settle(
    run: &mut Run<'_>,
    watch: &mut Watch<'_>,
    call: &'static str,
    told: Told,
) -> Result<Off, Failure> {
    let until = run.machine.until(SHOWS);
    loop {
        match (watch.look().await, until.is_over()) {
            // A client that is gone may be coming back, so that alone has to last.
            (Seen::Off { seen, proven }, over) if proven || over => {
                return record(run, watch.mebx, call, seen, proven);
            }
            (Seen::Before, true) => {
                return Err(match told {
                    Told::Unknown(why) => Failure::unchanged(
                        "lockdown-lost",
                        format!(
                            "the answer to {call} was lost ({why}), and AMT shows that it did not act; run again"
                        ),
                    ),
                    _ => Failure::indeterminate(format!(
                        "AMT accepted {call} and does not show it: power-cycle the machine and run again"
                    )),
                });
            }
            (Seen::Unreadable(why), true) => {
                let text = format!("{call} was sent, and what AMT is now cannot be read: {why}; run again");
                return Err(Failure::indeterminate(text));
            }
            _ => run.machine.pause(ASK_EVERY).await,
        }
    }
}

fn record(
    run: &mut Run<'_>,
    mebx: Option<&str>,
    call: &'static str,
    seen: String,
    proven: bool,
) -> Result<Off, Failure> {
    let body = json!({
        "channel": "amt", "method": "lockdown", "call": call, "proof": if proven { "read-back" } else { "client-gone" },
        "seen": seen, "mebx": if mebx.is_some() { "asserted" } else { "not-changed" }, "mebx_escrow": mebx,
        "boot_id": run.detection.known("host.boot_id"),
    });
    let event = run.chain.record(run.store, Kind::Neutralized, body);
    let event = event.map_err(|error| Failure::not_recorded("AMT was switched off", &error))?;
    Ok(Off { call, seen, proven, event })
}

/// The firmware as it shows itself now.
enum Seen {
    Off { seen: String, proven: bool },
    Before,
    Unreadable(String),
}

struct Watch<'m> {
    machine: &'m Machine,
    pthi: Option<Pthi<'m>>,
    /// What is recorded of MEBx where AMT is seen off.
    mebx: Option<&'m str>,
    /// The firmware tells over MHC as well.
    mhc: bool,
}

impl Watch<'_> {
    /// Both witnesses where there are two: what the one says must not be contradicted by the other.
    async fn look(&mut self) -> Seen {
        let seen = self.ask_pthi().await;
        if !self.mhc {
            return seen;
        }
        let enabled = mhc::state(self.machine).await.ok().and_then(|switch| switch.amt_enabled);
        match (seen, enabled) {
            (Seen::Off { seen, .. }, Some(false)) => {
                Seen::Off { seen: format!("{seen}, and MHC says that it is off"), proven: true }
            }
            (Seen::Off { seen, .. }, Some(true)) => {
                Seen::Unreadable(format!("{seen}, and MHC says that it is on"))
            }
            (Seen::Unreadable(_), Some(false)) => {
                Seen::Off { seen: "MHC says that it is off".to_owned(), proven: true }
            }
            (Seen::Before, Some(false)) => {
                Seen::Unreadable("MHC says that it is off, and PTHI answers as before".to_owned())
            }
            (seen, _) => seen,
        }
    }

    async fn ask_pthi(&mut self) -> Seen {
        if self.pthi.is_none() {
            match Pthi::connect(self.machine).await {
                Ok(pthi) => self.pthi = Some(pthi),
                Err(Trouble::Mei(error @ MeiError::NoClient { .. })) => {
                    return Seen::Off { seen: format!("its host interface is gone: {error}"), proven: false };
                }
                Err(error) => return Seen::Unreadable(error.to_string()),
            }
        }
        let Some(pthi) = &mut self.pthi else { return Seen::Unreadable("no connection".to_owned()) };
        match pthi.ask_once(&GetControlMode).await {
            Ok(ControlMode::None) => Seen::Before,
            Ok(mode) => Seen::Unreadable(format!("it is in control mode {mode:?} now")),
            Err(Trouble::Pthi(PthiError::Status(DISABLED))) => {
                Seen::Off { seen: "PTHI answers that AMT is disabled".to_owned(), proven: true }
            }
            Err(trouble) => {
                if !trouble.is_answer() {
                    self.pthi = None;
                }
                Seen::Unreadable(trouble.to_string())
            }
        }
    }
}
