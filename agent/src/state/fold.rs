//! From a set of events to what they mean: pure, and blind to order and repetition (reference/org-state.md 2.3).

use std::collections::{BTreeMap, BTreeSet};

use oob_policy::{AmtOurs, Channel, Enabled, History, LockedDown, OpenChange, RemoteProof, Staged, TlsLeaf};

use super::Stored;
use super::event::{Event, Kind, SignedEvent};
use super::journal::{
    JournalEntry, fold_addresses, fold_disabled_again, fold_disabling, fold_leaving, fold_open,
    fold_upgrading,
};
use crate::escrow::MAX_GENERATION;

/// The history of one device. Bodies are read as follows; other members are for people:
///
/// - `escrowed`, `activated`, `failed`: `{"channel": "amt", "generation": 1, ...}` counts the generation;
/// - `verified`: `{"channel": "amt", "generation": 1, "realm", "control_mode", "escrow"}` makes AMT ours;
/// - `verified`: `{"channel": "amt", "verified_remote": true, "generation", "realm", "address"}` is a proof from another host
///   of that same provisioning; it has no `escrow`, so it makes nothing ours;
///   `settings`, `tls_certificate_sha256`, `network_certificate_sha256` and `mebx_escrow` tell what else was proven or asserted then;
/// - `note`: `{"undone_generation": 1, "escrow": file}` makes that credential no longer ours. The file name tells it from
///   the same generation of another store; where it is missing, every credential of the generation is meant;
/// - `retired`: `{"channel": "amt", "ended": [file, ...]}` makes the credentials of these escrow files no longer ours: AMT was
///   seen unprovisioned since, by others where `unprovisioned` is `seen` and no `realm` is there;
/// - `staged`: `{"original_sha256", "result_sha256", "method", "manifest_sha256"}`;
/// - `neutralized`: `{"channel": "amt", "method": "lockdown", ...}` says that AMT was switched off by its firmware, and ends
///   the proofs that it follows in its chain;
/// - `note`: `{"channel": "amt", "switched_on": true, "boot_id"}` says that its firmware was told to switch it on.
pub fn fold(stored: &Stored, journal: &[JournalEntry]) -> History {
    fold_answering(stored, journal, None)
}

/// The same, where AMT was asked which `realm` it has: its proof is the one that counts, whatever the generations of other
/// stores say, and a change that was open on another provisioning ended with that.
pub fn fold_answering(stored: &Stored, journal: &[JournalEntry], realm: Option<&str>) -> History {
    let events: BTreeMap<&str, &Event> =
        stored.events.iter().map(|SignedEvent { id, event, .. }| (id.as_str(), event)).collect();
    let heads = heads(&events);
    let mut rejected: Vec<String> = stored.rejected.clone();
    let mut proofs = amt_proofs(stored, &events);
    let live = proofs.iter().rposition(|ours| realm == Some(ours.realm.as_str()));
    let gone = |open: &OpenChange| live.is_some() && realm != Some(open.realm.as_str());
    // A change whose proof was recorded is finished, though the run died before its journal said so.
    let open =
        fold_open(journal).filter(|open| !gone(open) && !proofs.iter().any(|ours| open.is_ended_by(ours)));
    let amt = live.map(|index| proofs.remove(index)).or_else(|| proofs.pop());
    proofs.reverse();
    if let Some(ours) = &amt
        && !stored.escrow.iter().any(|name| name.to_string() == ours.escrow)
    {
        rejected.push(format!(
            "{}: {} says it holds the credential, and it is not here",
            ours.escrow, ours.event
        ));
    }
    rejected.sort();
    rejected.dedup();
    let tls_pin_sent = journal.iter().rev().find_map(|entry| match entry {
        JournalEntry::Certificate { sha256 } => Some(sha256.clone()),
        _ => None,
    });
    History {
        head: heads.iter().max().map(|head| head.id.to_owned()),
        seq: events.values().map(|event| event.seq).max().unwrap_or(0),
        forked: heads.len() > 1,
        mebx_open: open.as_ref().and_then(|open| mebx_made(&events, open.generation, Some(&open.run_id))),
        open,
        amt_remote: amt.as_ref().and_then(|ours| remote_proof(&events, ours)),
        amt,
        amt_older: proofs,
        amt_generation: amt_generation(stored, &events, journal),
        wired_before: fold_addresses(journal),
        tls_pin_unproven: tls_pin_sent.clone().filter(|pin| !is_proven_pin(&events, pin)),
        tls_pin_sent,
        upgrading: fold_upgrading(journal),
        leaving: fold_leaving(journal),
        staged: newest(&events, &Kind::Staged, staged),
        mebx: mebx(&events),
        enabled: last_switch(&events).and_then(Switch::on),
        locked_down: last_switch(&events).and_then(Switch::off).map(|off| switched_again(off, journal)),
        switching_off: fold_disabling(journal),
        policy: events
            .values()
            .filter_map(|event| event.policy.as_ref())
            .map(|policy| (policy.serial, policy.sha256.clone()))
            .max(),
        rejected,
    }
}

/// An event that no other one follows. Ordered as the head is chosen: longest chain, more complete kind, higher id.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head<'a> {
    length: u64,
    completeness: u8,
    id: &'a str,
}

fn heads<'a>(events: &BTreeMap<&'a str, &'a Event>) -> Vec<Head<'a>> {
    let mut by_seq: Vec<(&'a str, &'a Event)> = events.iter().map(|(id, event)| (*id, *event)).collect();
    by_seq.sort_by_key(|(id, event)| (event.seq, *id));
    let mut lengths: BTreeMap<&str, u64> = BTreeMap::new();
    let mut followed: BTreeSet<&str> = BTreeSet::new();
    for (id, event) in &by_seq {
        // A link is valid where `seq` grows along it; a chain whose beginning is missing counts from where it is held.
        let before = event.prev.as_deref().filter(|prev| events.get(prev).is_some_and(|p| p.seq < event.seq));
        let length = before.and_then(|prev| lengths.get(prev)).map_or(1, |length| length + 1);
        lengths.insert(id, length);
        followed.extend(before);
    }
    let unfollowed = by_seq.iter().filter(|(id, _)| !followed.contains(id));
    unfollowed
        .map(|(id, event)| Head {
            length: lengths.get(id).copied().unwrap_or(1),
            completeness: completeness(&event.kind),
            id,
        })
        .collect()
}

fn completeness(kind: &Kind) -> u8 {
    match kind {
        Kind::Verified | Kind::Neutralized => 6,
        Kind::Activated | Kind::Rotated => 5,
        Kind::Staged => 4,
        Kind::Escrowed => 3,
        Kind::Planned => 2,
        Kind::Observed => 1,
        Kind::Failed | Kind::Retired | Kind::Note | Kind::Other(_) => 0,
    }
}

/// All that was proven and not undone, newest last: by generation, then by place in the chain, since the higher
/// generation replaced the lower one on the device.
fn amt_proofs(stored: &Stored, events: &BTreeMap<&str, &Event>) -> Vec<AmtOurs> {
    let notes = || events.values().filter(|event| event.kind == Kind::Note);
    let undone = |ours: &AmtOurs| {
        notes().any(|note| {
            number(note, "undone_generation") == Some(ours.generation)
                && text(note, "escrow").is_none_or(|escrow| escrow == ours.escrow)
        })
    };
    let ended = ended(events);
    let cleared = before_lockdown(events);
    let sealing = |escrow: &str| {
        events
            .values()
            .find(|event| event.kind == Kind::Escrowed && text(event, "escrow").as_deref() == Some(escrow))
    };
    let sealed_to = |escrow: &str| -> Vec<String> {
        let list = sealing(escrow).and_then(|event| event.body.get("recipients")?.as_array());
        list.into_iter().flatten().filter_map(|label| label.as_str().map(str::to_owned)).collect()
    };
    let is_proof =
        |id: &str, event: &Event| event.kind == Kind::Verified && is_amt(event) && !cleared.contains(id);
    let verified = events.iter().filter(|(id, event)| is_proof(id, event));
    let proofs = verified.filter_map(|(id, event)| {
        let escrow = text(event, "escrow")?;
        let ours = AmtOurs {
            generation: number(event, "generation")?,
            realm: text(event, "realm")?,
            control_mode: text(event, "control_mode")?,
            event: (*id).to_owned(),
            sealed: stored.escrow.iter().any(|name| name.to_string() == escrow),
            recipients: sealed_to(&escrow),
            settings: settings(event),
            tls_pin: text(event, "tls_certificate_sha256"),
            tls_leaf: tls_leaf(event),
            network_pin: text(event, "network_certificate_sha256"),
            sealed_by: sealing(&escrow).map(|event| event.run_id.clone()),
            // A password that came later does not change the one of MEBx.
            mebx_escrow: mebx_made(events, number(event, "generation")?, None)
                .or_else(|| text(event, "mebx_escrow")),
            escrow,
        };
        (!undone(&ours) && !ended.contains(ours.escrow.as_str()))
            .then_some(((ours.generation, event.seq, *id), ours))
    });
    let mut proofs: Vec<_> = proofs.collect();
    proofs.sort_by_key(|(rank, _)| *rank);
    proofs.into_iter().map(|(_, ours)| ours).collect()
}

/// Whether a proof tells of that certificate, also one of a provisioning that ended since.
fn is_proven_pin(events: &BTreeMap<&str, &Event>, pin: &str) -> bool {
    events.values().any(|event| {
        event.kind == Kind::Verified
            && is_amt(event)
            && text(event, "escrow").is_some()
            && text(event, "tls_certificate_sha256").as_deref() == Some(pin)
    })
}

/// The escrow file of the last MEBx password that was made beside this generation, by that run where one is named.
fn mebx_made(events: &BTreeMap<&str, &Event>, generation: u32, run_id: Option<&str>) -> Option<String> {
    let of_mebx = |event: &&&Event| {
        event.kind == Kind::Escrowed
            && text(event, "channel").as_deref() == Some("amt-mebx")
            && number(event, "generation") == Some(generation)
            && run_id.is_none_or(|run_id| event.run_id == run_id)
    };
    events.values().filter(of_mebx).max_by_key(|event| event.seq).and_then(|event| text(event, "escrow"))
}

/// The escrow files of credentials that AMT was seen without.
fn ended<'a>(events: &BTreeMap<&str, &'a Event>) -> BTreeSet<&'a str> {
    let retired = events.values().filter(|event| event.kind == Kind::Retired && is_amt(event));
    let lists = retired.filter_map(|event| event.body.get("ended")?.as_array());
    lists.flatten().filter_map(|file| file.as_str()).collect()
}

/// The events that came before AMT was switched off by its firmware, which it can be only where nobody has provisioned it
/// (reference/amt.md 2.2): whatever they prove ended before, be it by others.
fn before_lockdown<'a>(events: &BTreeMap<&'a str, &'a Event>) -> BTreeSet<&'a str> {
    let mut before = BTreeSet::new();
    for event in events.values().filter(|it| it.kind == Kind::Neutralized && is_amt(it) && is_lockdown(it)) {
        let mut prev = event.prev.as_deref();
        while let Some((id, event)) = prev.and_then(|prev| events.get_key_value(prev)) {
            if !before.insert(*id) {
                break;
            }
            prev = event.prev.as_deref();
        }
    }
    before
}

/// The last look from another host that saw this generation in this provisioning.
fn remote_proof(events: &BTreeMap<&str, &Event>, ours: &AmtOurs) -> Option<RemoteProof> {
    let of_ours = |event: &Event| {
        event.kind == Kind::Verified
            && is_amt(event)
            && event.body.get("verified_remote").and_then(serde_json::Value::as_bool) == Some(true)
            && number(event, "generation") == Some(ours.generation)
            && text(event, "realm").as_ref() == Some(&ours.realm)
    };
    let proofs = events.iter().filter(|(_, event)| of_ours(event));
    let (id, event) = proofs.max_by_key(|(id, event)| (event.seq, **id))?;
    Some(RemoteProof {
        event: (*id).to_owned(),
        address: text(event, "address")?,
        time: event.time.wall.clone(),
    })
}

/// What the event tells of the certificate that this agent gave AMT.
fn tls_leaf(event: &Event) -> Option<TlsLeaf> {
    let not_after = event.body.get("tls_not_after")?.as_i64()?;
    Some(TlsLeaf { not_after, issuer: text(event, "tls_issuer")? })
}

/// What was read back, as words that a later policy is compared with.
fn settings(event: &Event) -> Vec<String> {
    let list = event.body.get("settings").and_then(|list| list.as_array());
    list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn amt_generation(stored: &Stored, events: &BTreeMap<&str, &Event>, journal: &[JournalEntry]) -> u32 {
    let in_events =
        events.values().filter(|event| is_amt(event)).filter_map(|event| number(event, "generation"));
    let in_escrow =
        stored.escrow.iter().filter(|name| name.channel == Channel::Amt.word()).map(|name| name.generation);
    let in_journal = journal.iter().filter_map(|entry| match entry {
        JournalEntry::Begin { generation, .. } => Some(*generation),
        _ => None,
    });
    in_events.chain(in_escrow).chain(in_journal).max().unwrap_or(0)
}

fn staged(id: &str, event: &Event) -> Option<Staged> {
    Some(Staged {
        original_sha256: text(event, "original_sha256")?,
        result_sha256: text(event, "result_sha256")?,
        method: text(event, "method")?,
        manifest_sha256: text(event, "manifest_sha256"),
        event: id.to_owned(),
    })
}

/// The password that MEBx took from us: it outlives every unprovisioning of ours (reference/amt.md 0 fact 9). Where somebody
/// else unprovisioned AMT since, or enabled it again, that person was in MEBx or cleared it, for all we know.
fn mebx(events: &BTreeMap<&str, &Event>) -> Option<String> {
    let mut in_order: Vec<(&str, &Event)> = events.iter().map(|(id, event)| (*id, *event)).collect();
    in_order.sort_by_key(|(id, event)| (event.seq, *id));
    let (mut mebx, mut realm, mut off) = (None, None, false);
    for (_, event) in in_order.into_iter().filter(|(_, event)| is_amt(event)) {
        let proven = text(event, "realm").filter(|_| text(event, "escrow").is_some());
        match event.kind {
            Kind::Verified if proven.is_some() => {
                let by_others = off || realm.as_ref().is_some_and(|before| Some(before) != proven.as_ref());
                let kept = mebx.filter(|_| !by_others);
                let set = settings(event).iter().any(|word| word == "mebx = true");
                mebx = text(event, "mebx_escrow").filter(|_| set).or(kept);
                (realm, off) = (proven, false);
            }
            Kind::Note if flag(event, "switched_on") && off => (mebx, off) = (None, false),
            Kind::Neutralized if is_lockdown(event) => off = true,
            Kind::Retired => {
                if text(event, "unprovisioned").as_deref() == Some("seen") && text(event, "realm").is_none() {
                    mebx = None;
                }
                realm = None;
            }
            _ => {}
        }
    }
    mebx
}

/// What a run of ours last did about AMT being on at all.
enum Switch {
    On(Enabled),
    Off(LockedDown),
    /// It used AMT, which was on, whoever switched it.
    Used,
}

impl Switch {
    fn on(self) -> Option<Enabled> {
        if let Self::On(enabled) = self { Some(enabled) } else { None }
    }

    fn off(self) -> Option<LockedDown> {
        if let Self::Off(off) = self { Some(off) } else { None }
    }
}

fn last_switch(events: &BTreeMap<&str, &Event>) -> Option<Switch> {
    let switch = |id: &str, event: &Event| match event.kind {
        _ if !is_amt(event) => None,
        Kind::Neutralized if is_lockdown(event) => {
            Some(Switch::Off(LockedDown { event: id.to_owned(), mebx_escrow: text(event, "mebx_escrow") }))
        }
        Kind::Note if flag(event, "switched_on") => {
            Some(Switch::On(Enabled { event: id.to_owned(), boot_id: text(event, "boot_id") }))
        }
        Kind::Verified if text(event, "escrow").is_some() => Some(Switch::Used),
        _ => None,
    };
    let switches = events.iter().filter_map(|(id, event)| Some(((event.seq, *id), switch(id, event)?)));
    switches.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, switch)| switch)
}

/// A run that switched AMT off again and died before its event leaves the one of before, and not what that says of MEBx.
fn switched_again(off: LockedDown, journal: &[JournalEntry]) -> LockedDown {
    let again = fold_disabled_again(journal) == Some(off.event.as_str());
    LockedDown { mebx_escrow: off.mebx_escrow.filter(|_| !again), ..off }
}

fn newest<T>(events: &BTreeMap<&str, &Event>, kind: &Kind, read: fn(&str, &Event) -> Option<T>) -> Option<T> {
    let of_kind = events.iter().filter(|(_, event)| event.kind == *kind);
    let readable = of_kind.filter_map(|(id, event)| Some(((event.seq, *id), read(id, event)?)));
    readable.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, value)| value)
}

fn is_amt(event: &Event) -> bool {
    event.body.get("channel").and_then(|channel| channel.as_str()) == Some(Channel::Amt.word())
}

fn is_lockdown(event: &Event) -> bool {
    text(event, "method").as_deref() == Some("lockdown")
}

fn flag(event: &Event, name: &str) -> bool {
    event.body.get(name).and_then(serde_json::Value::as_bool) == Some(true)
}

fn text(event: &Event, name: &str) -> Option<String> {
    event.body.get(name)?.as_str().map(str::to_owned)
}

/// A generation, as far as one can be counted on from it.
fn number(event: &Event, name: &str) -> Option<u32> {
    let number = event.body.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok())?;
    (number <= MAX_GENERATION).then_some(number)
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
