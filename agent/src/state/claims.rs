//! What org state claims of the management engine, with the circumstances in which it came to claim it: pure, like the
//! fold of the history.

use std::collections::BTreeMap;

use oob_policy::{Claims, History, Lockdown, Moment, Recorded, Rung, WasEffective};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Stored;
use super::event::{Event, Kind};

/// Word by which events about the engine are told from those about AMT.
pub const CHANNEL: &str = "me";

/// The claims of one device. Bodies are read as follows; other members are for people:
///
/// - `observed`: `{"facts": [..], "outcomes": [{"step", "exit"}]}`, for the run that staged an image or that last
///   dealt with a policy which asks to neutralize;
/// - `neutralized`, `verified` with a `"lockdown"`: the same about AMT that the event of that id switched off;
/// - `neutralized`, `verified`: `{"channel": "me", "verdict", "reason", "engine", "result_sha256", "boot_id", "bios",
///   "evidence": [{"name", "says"}]}`.
pub fn claims(stored: &Stored, history: &History) -> Claims {
    let events: BTreeMap<(u64, &str), &Event> =
        stored.events.iter().map(|it| ((it.event.seq, it.id.as_str()), &it.event)).collect();
    let staged = history.staged.as_ref();
    let run = match staged {
        Some(staged) => events.iter().find(|((_, id), _)| *id == staged.event),
        None => events
            .iter()
            .rev()
            .find(|(_, event)| event.kind == Kind::Observed && outcomes(event).next().is_some()),
    };
    let result = staged.map(|staged| staged.result_sha256.as_str());
    let looks: Vec<_> = events.iter().filter(|(_, event)| is_look_at(event, result)).collect();
    Claims {
        since: run.map(|((_, id), event)| since(id, event, &events)),
        pending: run.is_some_and(|(_, event)| outcomes(event).any(|it| text(it, "exit") == Some("pending"))),
        effective: looks.iter().fold(None, |before, ((_, id), event)| still_effective(before, id, event)),
        recorded: looks.last().map(|((_, id), event)| recorded(id, event)),
        locked_down: lockdown(history, &events),
    }
}

/// AMT that a run of ours switched off, or else found off where policy asks for that; a run that used AMT since, or
/// switched it on, ends the claim.
fn lockdown(history: &History, events: &BTreeMap<(u64, &str), &Event>) -> Option<Lockdown> {
    let ((_, id), event) = match &history.locked_down {
        Some(off) => events.iter().find(|((_, id), _)| *id == off.event)?,
        None if history.amt.is_some() || history.enabled.is_some() => return None,
        None => events.iter().fold(None, |first, next| match found(next.1) {
            Some(true) => first.or(Some(next)),
            Some(false) => None,
            None => first,
        })?,
    };
    let mut moment = since(id, event, events);
    if let Some(boot_id) = text(&event.body, "boot_id") {
        moment.boot_id = Some(boot_id.to_owned());
    }
    let look = events.iter().rfind(|(_, look)| {
        matches!(look.kind, Kind::Neutralized | Kind::Verified) && text(&look.body, "lockdown") == Some(*id)
    });
    Some(Lockdown {
        since: moment,
        mebx_escrow: history.locked_down.as_ref().and_then(|off| off.mebx_escrow.clone()),
        recorded: look.map(|((_, id), event)| recorded(id, event)),
    })
}

/// Whether a run found AMT off where policy asks for that, or on; none where it tells neither.
fn found(event: &Event) -> Option<bool> {
    let off = |it: &Value| {
        text(it, "step") == Some("neutralize.locked-down") && text(it, "status") == Some("already_so")
    };
    if event.kind != Kind::Observed {
        return None;
    }
    let facts = event.body.get("facts").and_then(Value::as_array);
    let verdict = facts.into_iter().flatten().find(|fact| text(fact, "name") == Some("intel.amt.verdict"));
    let on =
        ["capable", "standard-manageability"].map(Some).contains(&verdict.and_then(|it| text(it, "value")));
    if outcomes(event).any(off) { Some(true) } else { on.then_some(false) }
}

fn recorded(id: &str, event: &Event) -> Recorded {
    Recorded {
        event: id.to_owned(),
        verdict: text(&event.body, "verdict").unwrap_or_default().to_owned(),
        reason: text(&event.body, "reason").unwrap_or_default().to_owned(),
        boot_id: text(&event.body, "boot_id").map(str::to_owned),
        flash_denied: flash_denied(event),
    }
}

/// A look at the engine that was about this staging.
fn is_look_at(event: &Event, result: Option<&str>) -> bool {
    matches!(event.kind, Kind::Neutralized | Kind::Verified)
        && text(&event.body, "channel") == Some(CHANNEL)
        && text(&event.body, "lockdown").is_none()
        && text(&event.body, "result_sha256") == result
}

/// The outcomes of steps that neutralize, or tell why not.
fn outcomes(event: &Event) -> impl Iterator<Item = &Value> {
    let outcomes = event.body.get("outcomes").and_then(Value::as_array);
    let ours = |it: &&Value| text(it, "step").is_some_and(|step| step.starts_with("neutralize."));
    outcomes.into_iter().flatten().filter(ours)
}

/// The facts of a run stand in its last event. A run that died before has its time only.
fn since(id: &str, event: &Event, events: &BTreeMap<(u64, &str), &Event>) -> Moment {
    let same_run = |other: &&&Event| other.kind == Kind::Observed && other.run_id == event.run_id;
    let facts = events.values().rfind(same_run).and_then(|it| it.body.get("facts")?.as_array());
    let fact = |name: &str| facts?.iter().find(|fact| text(fact, "name") == Some(name));
    let known = |name: &str| {
        let value = text(fact(name)?, "value")?;
        (value != oob_policy::UNKNOWN).then(|| value.to_owned())
    };
    // The driver asks the engine for its version, so one that it tells was there to answer.
    let answered = known("intel.me.version").is_some()
        && fact("intel.me.version").and_then(|fact| text(fact, "confidence")) == Some("observed");
    Moment {
        event: id.to_owned(),
        wall: wall(event),
        boot_id: known("host.boot_id"),
        engine_ran: match known("intel.me.state").as_deref() {
            Some(state) => state == "normal",
            None => answered,
        },
        bios: known("host.bios.version"),
    }
}

/// Of the looks in their order: what was effective stays the claim, also where a later look refuted it.
fn still_effective(before: Option<WasEffective>, id: &str, event: &Event) -> Option<WasEffective> {
    let verdict = text(&event.body, "verdict");
    let persistent = verdict == Some(Rung::EffectivePersistent.word());
    if !persistent && verdict != Some(Rung::Effective.word()) {
        return before.map(|before| WasEffective { refuted: true, persistent: false, ..before });
    }
    let member = |name: &str| text(&event.body, name).map(str::to_owned);
    let here = || Moment {
        event: id.to_owned(),
        wall: wall(event),
        boot_id: member("boot_id"),
        engine_ran: false,
        bios: member("bios"),
    };
    let unbroken = before.filter(|before| !before.refuted);
    Some(WasEffective {
        engine: member("engine").unwrap_or_default(),
        persistent: persistent || unbroken.as_ref().is_some_and(|before| before.persistent),
        refuted: false,
        first: unbroken.map_or_else(here, |before| before.first),
    })
}

/// By the evidence of a look that was recorded.
fn flash_denied(event: &Event) -> bool {
    let evidence = event.body.get("evidence").and_then(Value::as_array);
    evidence
        .into_iter()
        .flatten()
        .any(|it| text(it, "name") == Some("flash") && text(it, "says") == Some("contradicts"))
}

fn wall(event: &Event) -> Option<i64> {
    OffsetDateTime::parse(&event.time.wall, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{event, signer};
    use super::super::{SignedEvent, fold};
    use super::*;

    fn stored(bodies: &[(Kind, &str, Value)]) -> Stored {
        let mut events: Vec<SignedEvent> = Vec::new();
        for (kind, run, body) in bodies {
            let prev = events.last().map(|event| event.id.clone());
            let seq = events.len() as u64 + 1;
            let mut next = event("d1-x", seq, prev.as_deref(), kind.clone(), body.clone());
            next.run_id = (*run).to_owned();
            events.push(next.sign(&signer(1)).unwrap());
        }
        Stored { events, ..Stored::default() }
    }

    fn told(stored: &Stored) -> Claims {
        claims(stored, &fold(stored, &[]))
    }

    fn staged(result: &str) -> Value {
        json!({"original_sha256": "aa", "result_sha256": result, "method": "soft-disable"})
    }

    fn facts(boot: &str, state: &str) -> Value {
        let fact = |name: &str, value: &str| json!({"name": name, "value": value, "confidence": "observed"});
        json!({"facts": [
            fact("host.boot_id", boot), fact("intel.me.state", state), fact("intel.me.version", "11.8.80.3746"),
            fact("host.bios.version", "1.2")
        ]})
    }

    fn look(verdict: &str, reason: &str, result: &str) -> Value {
        json!({"channel": "me", "verdict": verdict, "reason": reason, "engine": "soft-disabled", "result_sha256": result,
               "boot_id": "b2", "bios": "1.2"})
    }

    #[test]
    fn the_facts_of_the_run_that_staged_count() {
        let claims = told(&stored(&[
            (Kind::Staged, "r1", staged("bb")),
            (Kind::Observed, "r1", facts("b1", "normal")),
            (Kind::Observed, "r2", facts("b9", "unknown")),
        ]));
        let since = claims.since.unwrap();
        assert_eq!((since.boot_id.as_deref(), since.engine_ran), (Some("b1"), true));
        assert_eq!((since.wall, since.bios.as_deref()), (Some(1_795_219_200), Some("1.2")));
        assert_eq!((claims.effective, claims.recorded, claims.pending), (None, None, false));
        // A run that died before its last event has its time only; a version that was read says that the engine ran.
        let claims = told(&stored(&[(Kind::Staged, "r1", staged("bb"))]));
        assert_eq!(claims.since.unwrap().boot_id, None);
        let unknown = [(Kind::Staged, "r1", staged("bb")), (Kind::Observed, "r1", facts("b1", "unknown"))];
        assert!(told(&stored(&unknown)).since.unwrap().engine_ran);
        let off = [(Kind::Staged, "r1", staged("bb")), (Kind::Observed, "r1", facts("b1", "disabled"))];
        assert!(!told(&stored(&off)).since.unwrap().engine_ran);
    }

    #[test]
    fn a_run_that_asked_and_staged_nothing_counts_too() {
        let asked = |exit: &str| {
            json!({"outcomes": [
                {"step": "neutralize.read-flash", "exit": "satisfied"}, {"step": "neutralize.stage-soft-disable", "exit": exit}
            ], "facts": facts("b1", "normal")["facts"]})
        };
        let claims =
            told(&stored(&[(Kind::Observed, "r1", asked("pending")), (Kind::Observed, "r2", json!({}))]));
        assert_eq!((claims.pending, claims.since.unwrap().boot_id.as_deref()), (true, Some("b1")));
        assert!(!told(&stored(&[(Kind::Observed, "r1", asked("impossible"))])).pending);
        assert_eq!(
            told(&stored(&[(Kind::Observed, "r1", json!({"outcomes": [{"step": "record"}]}))])),
            Claims::default()
        );
    }

    #[test]
    fn drift_refutes_what_was_effective_and_a_new_staging_begins_anew() {
        let mut bodies = vec![
            (Kind::Staged, "r1", staged("bb")),
            (Kind::Neutralized, "r2", look("effective", "satisfied", "bb")),
            (Kind::Neutralized, "r3", look("effective-persistent", "satisfied", "bb")),
        ];
        let was = told(&stored(&bodies)).effective.unwrap();
        assert_eq!((was.persistent, was.refuted), (true, false));
        assert_eq!(was.first.event, stored(&bodies).events[1].id, "since the first of them");
        bodies.push((Kind::Verified, "r4", look("staged", "reverted", "bb")));
        let claims = told(&stored(&bodies));
        assert!(
            claims.effective.is_some_and(|was| was.refuted && !was.persistent),
            "still a claim that was broken"
        );
        assert_eq!(claims.recorded.unwrap().reason, "reverted");
        bodies.push((Kind::Neutralized, "r5", look("effective", "satisfied", "bb")));
        let was = told(&stored(&bodies)).effective.unwrap();
        assert_eq!((was.refuted, was.persistent), (false, false));
        assert_eq!(was.first.event, stored(&bodies).events[4].id, "since it was so again");
        bodies.push((Kind::Staged, "r6", staged("cc")));
        let claims = told(&stored(&bodies));
        assert_eq!((claims.effective, claims.recorded), (None, None));
    }

    #[test]
    fn a_lockdown_is_claimed_until_amt_is_used_or_found_on() {
        let off = || json!({"channel": "amt", "method": "lockdown", "boot_id": "b1", "mebx_escrow": "amt-mebx.1.00.age"});
        let seen = |verdict: &str, steps: Value| {
            let fact = json!({"name": "intel.amt.verdict", "value": verdict, "confidence": "observed"});
            json!({"facts": [fact], "outcomes": steps})
        };
        let found_off = || {
            seen(
                "disabled",
                json!([{"step": "neutralize.locked-down", "status": "already_so", "exit": "impossible"}]),
            )
        };
        let look = |id: &str| json!({"channel": "me", "lockdown": id, "verdict": "effective", "reason": "satisfied", "boot_id": "b2"});
        let mut bodies = vec![(Kind::Neutralized, "r1", off())];
        let first = stored(&bodies).events[0].id.clone();
        let claim = told(&stored(&bodies)).locked_down.unwrap();
        assert_eq!(
            (claim.since.event.as_str(), claim.since.boot_id.as_deref()),
            (first.as_str(), Some("b1"))
        );
        assert_eq!((claim.mebx_escrow.as_deref(), claim.recorded), (Some("amt-mebx.1.00.age"), None));
        // Its looks are its own, and none of the engine's.
        bodies.push((Kind::Neutralized, "r2", look(&first)));
        bodies.push((Kind::Neutralized, "r3", look("e1-other")));
        let claims = told(&stored(&bodies));
        assert_eq!(claims.locked_down.unwrap().recorded.unwrap().event, stored(&bodies).events[1].id);
        assert_eq!((claims.effective, claims.recorded), (None, None));
        bodies.push((Kind::Note, "r4", json!({"channel": "amt", "switched_on": true})));
        assert_eq!(told(&stored(&bodies)).locked_down, None, "switched on by ours");
        // Off by others: since the first run that found it so without a break.
        let mut bodies = vec![(Kind::Observed, "r1", found_off()), (Kind::Observed, "r2", found_off())];
        let claim = told(&stored(&bodies)).locked_down.unwrap();
        assert_eq!((claim.since.event, claim.mebx_escrow), (stored(&bodies).events[0].id.clone(), None));
        bodies.push((Kind::Observed, "r3", seen("capable", json!([]))));
        assert_eq!(told(&stored(&bodies)).locked_down, None);
        bodies.push((Kind::Observed, "r4", found_off()));
        assert_eq!(told(&stored(&bodies)).locked_down.unwrap().since.event, stored(&bodies).events[3].id);
        // Used, or switched on by ours, since then.
        let used = json!({"channel": "amt", "generation": 1, "realm": "Digest:1", "control_mode": "ccm", "escrow": "amt.1.00.age"});
        for (kind, body) in
            [(Kind::Verified, used), (Kind::Note, json!({"channel": "amt", "switched_on": true}))]
        {
            let mut bodies = bodies.clone();
            bodies.push((kind, "r5", body));
            assert_eq!(told(&stored(&bodies)).locked_down, None);
        }
    }
}
