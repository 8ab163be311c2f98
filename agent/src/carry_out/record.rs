//! What was proven, as an event and as an outcome.

use oob_policy::{
    AmtOurs, AmtSettings, Exit, OpenChange, Outcome, Status, Step, TlsLeaf, Value, is_mutual_word,
    mutual_words_left, shown,
};
use serde_json::json;

use super::addresses::Kept;
use super::failure::Failure;
use super::mutual::{Admitted, Before};
use super::over_tls::OverTls;
use super::settings::Applied;
use super::setup::Session;
use super::wifi::Written;
use super::{Run, failed, outcome, with_evidence};
use crate::state::{JournalEntry, Kind, fold_open};

/// AMT with a proven password.
#[derive(Clone, Copy)]
pub(super) struct Proven<'a> {
    pub(super) open: &'a OpenChange,
    /// `ccm` or `acm`.
    pub(super) mode: &'static str,
    pub(super) applied: &'a Applied,
    /// What an earlier proof holds and this run did not touch.
    pub(super) held: &'a Held,
    /// Why admin control mode was not possible, where policy would rather have had it.
    pub(super) instead: Option<&'a str>,
    /// The device is another than before this step.
    pub(super) changed: bool,
    /// How AMT 19 or newer was told from others while this run activated it.
    pub(super) over_tls: Option<&'a OverTls>,
    /// By which way AMT was reached, where that is told.
    pub(super) way: Option<&'static str>,
}

/// What an earlier proof of the same AMT holds besides its password.
#[derive(Default)]
pub(super) struct Held {
    pub(super) settings: Vec<String>,
    pub(super) tls_pin: Option<String>,
    pub(super) network_pin: Option<String>,
    pub(super) tls_leaf: Option<TlsLeaf>,
    pub(super) mebx_escrow: Option<String>,
    /// The event of that proof.
    pub(super) event: Option<String>,
}

impl Held {
    pub(super) fn of(ours: &AmtOurs) -> Self {
        Self {
            settings: ours.settings.clone(),
            tls_pin: ours.tls_pin.clone(),
            network_pin: ours.network_pin.clone(),
            tls_leaf: ours.tls_leaf.clone(),
            mebx_escrow: ours.mebx_escrow.clone(),
            event: Some(ours.event.clone()),
        }
    }

    /// What is about to be written is not proven any more: a write may act though its run does not see it. True where that
    /// takes something away. The pin stays, since AMT that goes on serving that certificate is reached by it alone.
    pub(super) fn let_go(&mut self, about_to_write: &AmtSettings) -> bool {
        let before = self.settings.len();
        let written = about_to_write.words();
        // Clients' certificates are asked for beside TLS, so both are written; where nobody wishes them, they are put as read.
        let tls = about_to_write.tls.is_some() && about_to_write.mutual_tls.is_some();
        // The same once more, as for TLS whose certificate is replaced, leaves it as it is; a password of MEBx is another one.
        let same = |word: &String| word != "mebx = true" && written.contains(word);
        let anew =
            |word: &String| written.iter().any(|it| name(it) == name(word)) || tls && is_mutual_word(word);
        self.settings.retain(|word| same(word) || !anew(word));
        self.settings.len() < before
    }
}

impl<'a> Proven<'a> {
    /// Client control mode by this run, with nothing set besides.
    pub(super) fn new(open: &'a OpenChange) -> Self {
        const NO_SETTINGS: &Applied = &Applied {
            settings: Vec::new(),
            mebx_escrow: None,
            tls: None,
            addresses: None,
            wifi: None,
            network_pin: None,
        };
        const NOTHING_HELD: &Held = &Held {
            settings: Vec::new(),
            tls_pin: None,
            network_pin: None,
            tls_leaf: None,
            mebx_escrow: None,
            event: None,
        };
        Self {
            open,
            mode: "ccm",
            applied: NO_SETTINGS,
            held: NOTHING_HELD,
            instead: None,
            changed: true,
            over_tls: None,
            way: None,
        }
    }

    /// Every setting that was proven, by this run or before; what was set anew replaces what was held.
    fn settings(&self) -> Vec<String> {
        let anew = |word: &&String| self.applied.settings.iter().any(|it| name(it) == name(word));
        // Clients' certificates are asked for beside TLS, so TLS that was set anew says for both.
        let tls_anew = self.applied.tls.is_some();
        let left = match self.applied.tls.as_ref().map(|tls| &tls.admitted) {
            Some(Admitted::Left(Before(Some(names)))) => mutual_words_left(&self.held.settings, names),
            _ => Vec::new(),
        };
        let held = self.held.settings.iter().filter(|word| !(anew(word) || tls_anew && is_mutual_word(word)));
        held.chain(&left).chain(&self.applied.settings).cloned().collect()
    }

    fn tls_pin(&self) -> Option<&String> {
        self.applied.tls.as_ref().map(|tls| &tls.pin).or(self.held.tls_pin.as_ref())
    }

    /// What AMT made for itself, until it is given one.
    fn network_pin(&self) -> Option<&String> {
        let pin = self.applied.network_pin.as_ref().or(self.held.network_pin.as_ref());
        pin.filter(|_| self.tls_pin().is_none())
    }

    fn tls_leaf(&self) -> Option<&TlsLeaf> {
        self.applied.tls.as_ref().map(|tls| &tls.leaf).or(self.held.tls_leaf.as_ref())
    }

    /// What was seen, and no more: an event is what an auditor reads.
    fn evidence(&self) -> Vec<&str> {
        let mut seen: Vec<&str> = self.over_tls.iter().map(|seen| seen.evidence.as_str()).collect();
        seen.extend([
            "pthi control mode and provisioning state",
            "login over a new channel with a fresh nonce",
            "a wrong password was refused",
        ]);
        if self.applied.settings.iter().any(|word| word != "mebx = true") {
            seen.push("settings read over a login of their own");
        }
        if self.applied.network_pin.is_some() {
            seen.push("the certificate that AMT says it serves other machines, read over that login");
        }
        match &self.applied.tls {
            None => {}
            Some(tls) if tls.shaken => seen.push("a TLS handshake with the certificate that was issued"),
            // What was put reads as put before it is committed.
            Some(_) => seen.push("CommitChanges of the TLS settings was answered with success"),
        }
        seen
    }

    fn mebx_escrow(&self) -> Option<&String> {
        self.applied.mebx_escrow.as_ref().or(self.held.mebx_escrow.as_ref())
    }
}

/// Of a setting, as its word has it.
fn name(word: &str) -> &str {
    word.split(" = ").next().unwrap_or_default()
}

/// The proof as an event; the journal is closed with it. Called again where settings came after an earlier proof.
pub(super) fn record_proof(run: &mut Run<'_>, step: &Step, proven: &Proven<'_>) -> Result<Outcome, Failure> {
    let Proven { open, mode, applied, held, instead, changed, over_tls, way } = *proven;
    let settings = proven.settings();
    let body = json!({
        "channel": "amt", "generation": open.generation, "realm": open.realm, "control_mode": mode,
        "escrow": open.escrow, "settings": settings, "mebx_escrow": proven.mebx_escrow(),
        "tls_certificate_sha256": proven.tls_pin(), "settings_held_by": held.event,
        "network_certificate_sha256": proven.network_pin(),
        "tls_not_after": proven.tls_leaf().map(|leaf| leaf.not_after),
        "tls_issuer": proven.tls_leaf().map(|leaf| leaf.issuer.as_str()),
        "wired_addresses": applied.addresses.map(Kept::word), "wifi_profile": applied.wifi.map(Written::word),
        "proof": proven.evidence(),
    });
    let late = |error| Failure::not_recorded("AMT is set up and proven", &error);
    let event = run.chain.record(run.store, Kind::Verified, body).map_err(late)?;
    // A proof ends every change that was open before it.
    while let Some(open) = fold_open(run.journal.entries()) {
        run.journal.append(JournalEntry::Closed { generation: open.generation }).map_err(late)?;
    }
    let name = if mode == "acm" { "admin control mode" } else { "client control mode" };
    let mut text = format!("AMT is in {name}; a fresh login works, a wrong password is refused");
    // What no earlier proof holds was set by this run, in whichever step of it.
    let anew = if held.event.is_some() { &applied.settings } else { &settings };
    let (asserted, read): (Vec<_>, Vec<_>) =
        anew.iter().map(String::as_str).partition(|word| *word == "mebx = true");
    if !read.is_empty() {
        text += &format!("; read back: {}", read.join(", "));
        if applied.tls.as_ref().is_some_and(|tls| !tls.shaken) {
            text += " (TLS as it was put, and AMT answered its commit)";
        }
    }
    if !asserted.is_empty() {
        text += "; AMT took the MEBx password and gives no way to read it back";
    }
    if let Some(tls) = &applied.tls {
        text += match tls.shaken {
            true => "; its own certificate was seen served",
            false => {
                "; its certificate was read back, a handshake with this firmware is not verifiable by this build from here \
                 (`verify --remote` of one with the feature `legacy-tls` sees it from another host)"
            }
        };
    }
    if let Some(sentence) = applied.tls.as_ref().and_then(|tls| tls.pruned.sentence()) {
        text += &format!("; {sentence}");
    }
    match applied.tls.as_ref().map(|tls| &tls.admitted) {
        Some(Admitted::Left(Before(Some(_)))) => {
            text += "; its network port asks clients for a certificate as it did before, since policy does not mention it";
        }
        Some(_) if applied.tls.as_ref().is_some_and(|tls| tls.pruned.roots > 0) => {
            text += "; the CA of its clients before was removed from its trusted roots";
        }
        _ => {}
    }
    if let Some(wifi) = applied.wifi {
        text += &format!("; {}", wifi.sentence());
    }
    if applied.addresses == Some(Kept::Restored) {
        text += "; writing settings changed AMT's wired addresses, which were put back and read back";
    }
    if let Some(why) = instead {
        text += &format!(". Admin control mode was not possible: {why}");
    }
    let done = Outcome { changed, ..outcome(step, Status::Done, text) };
    let mut done = with_evidence(
        done,
        [
            ("proof", "read-back".into()),
            ("control_mode", mode.into()),
            ("realm", open.realm.as_str().into()),
            ("generation", u64::from(open.generation).into()),
            ("escrow", open.escrow.as_str().into()),
            ("event", event.into()),
        ],
    );
    let mut add = |name: &str, value: Value| done.evidence.insert(name.to_owned(), value);
    if !settings.is_empty() {
        add("settings", settings.into());
    }
    if let Some(pin) = proven.tls_pin() {
        add("tls_certificate_sha256", pin.as_str().into());
    }
    if let Some(pin) = proven.network_pin() {
        add("network_certificate_sha256", pin.as_str().into());
    }
    if let Some(tls) = &applied.tls {
        if let Some(issuer) = &tls.issued_by {
            add("tls_issued_by", issuer.as_str().into());
        }
        add("tls_handshake", if tls.shaken { "seen" } else { "not verifiable by this build" }.into());
    }
    if let Some(kept) = applied.addresses {
        add("wired_addresses", kept.word().into());
    }
    if let Some(seen) = over_tls {
        add("on_die_root", seen.root.into());
        add("upid", seen.unbound.as_deref().unwrap_or("compared").into());
        if !seen.quirks.is_empty() {
            add("quirks", seen.quirks.clone().into());
        }
    }
    if let Some(wifi) = applied.wifi {
        add("wifi_profile", wifi.word().into());
    }
    if let Some(file) = proven.mebx_escrow() {
        add("mebx_escrow", file.as_str().into());
    }
    if let Some(way) = way {
        add("way", way.into());
    }
    if let Some(why) = instead {
        add("instead_of_acm", why.into());
    }
    Ok(match applied.tls.as_ref().map(|tls| &tls.admitted) {
        Some(Admitted::Wished { beside }) if !beside.is_empty() => not_alone(step, done, beside),
        _ => done,
    })
}

/// AMT is ours and proven, and lets in clients of others as well: what nothing shows to be ours is not removed.
fn not_alone(step: &Step, done: Outcome, beside: &[String]) -> Outcome {
    let text = format!(
        "{}. But clients of other CAs get in beside those of `amt.mutual_tls_ca`: AMT has trusted roots that we did not give it, \
         or that something there refers to, and they stay (SHA-256 {}); have them removed by whoever put them there, or AMT \
         unprovisioned, and run again with `--known-credential FILE`",
        done.text,
        shown(&beside.join(", "))
    );
    Outcome {
        changed: done.changed,
        evidence: done.evidence,
        ..failed(step, Exit::Drift, "amt-incomplete", text)
    }
}

/// AMT is ours, proven, and not all that policy asks; what was proven stands.
pub(super) fn incomplete(
    run: &mut Run<'_>,
    step: &Step,
    bare: Outcome,
    session: &Session<'_>,
    failure: &Failure,
) -> Outcome {
    run.progress.end("failed");
    let missing = Failure::incomplete(failure).recorded(run, step);
    let mut evidence = bare.evidence;
    evidence.extend(session.mebx_escrow.iter().map(|file| ("mebx_escrow".to_owned(), file.as_str().into())));
    Outcome { evidence, ..missing }
}
