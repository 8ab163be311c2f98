//! What another host saw of the AMT that org state claims as ours: the half of the proof that the machine itself cannot
//! give (reference/recovery.md 0, 1.1). Only what was seen is said; no power action is ever tried.

use serde::Serialize;

use crate::assess::ability;
use crate::{
    AmtOurs, Channel, ChannelRecord, ChannelState, Exit, Proof, TlsWish, amt_reach, is_mutual_word,
    is_tls_alone, shown,
};

/// How far one look from another host came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSeen {
    /// `192.0.2.7:16993`.
    pub address: String,
    /// `16993/https-digest` or `16992/http-digest`.
    pub transport: &'static str,
    /// Why it ended early; none where login, power state and the refusal of a wrong password were all seen.
    pub end: Option<RemoteEnd>,
    /// Firmware version that the device named.
    pub version: Option<String>,
    pub power: Option<Power>,
    /// A password that was made up was refused, and the right one taken again after it.
    pub wrong_refused: bool,
    /// An Authorization header went out.
    pub login_sent: bool,
    pub cleartext: Cleartext,
    pub mutual: Mutual,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutual {
    /// The look ended before, or there is no TLS.
    #[default]
    NotJudged,
    /// The device asked for none, or let one in that had none.
    NotDemanded,
    /// With the one that was given the device was reached, and without any it hung up.
    Demanded,
}

/// Why a look ended early. Texts are for people and may quote the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteEnd {
    /// No connection, or it was lost.
    Unreachable(String),
    /// SHA-256 (hex) of the certificate that was served.
    OtherCertificate(String),
    /// The firmware speaks TLS, and none that this build speaks.
    NoCommonTls(String),
    /// The TLS that was claimed is not spoken properly.
    Tls(String),
    /// Clients must show a certificate, and none was given.
    NoClientCertificate,
    /// The one that was given was not taken.
    ClientCertificateRefused(String),
    /// What answers does not speak as AMT does.
    NotAmt(String),
    /// The realm that it has.
    OtherRealm(String),
    LoginRefused,
    /// The login worked, and a later step was not answered as it should be.
    Answer(String),
    AnyPassword,
    /// After a wrong password the right one was refused.
    Unsettled,
}

/// The power state, and what the device offers to be asked for now (reference/amt.md 5.12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Power {
    pub state: u32,
    pub offered: Vec<u32>,
}

/// AMT's cleartext port, where the claim says that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleartext {
    /// The claim does not say that it is closed, or the look ended before.
    NotJudged,
    /// The connection was refused.
    Refused,
    /// Nothing answered the attempt to connect: firewalls do that.
    Silent,
    /// The connection was taken, and closed without a byte to a request.
    Closed,
    Open,
    /// Anything else; neither open nor closed was seen.
    Unclear(String),
}

/// What is told of it. Serialized, it is part of `verify --remote --json` and of the event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteResult {
    #[serde(skip)]
    pub exit: Exit,
    /// A stable word for programs: `satisfied`, or the cause.
    pub reason: &'static str,
    /// One sentence for people.
    pub text: String,
    /// Every part of the remote proof was seen.
    pub verified_remote: bool,
    pub cleartext: &'static str,
    /// `demanded`, `not-demanded` or `not-judged`: whether clients must show a certificate.
    pub mutual_tls: &'static str,
    pub power: PowerAbility,
    pub boot: Ability,
    pub console: Ability,
    /// The entry of the recovery-capability record.
    pub capability: ChannelRecord,
}

/// What was read of power from another host. Nothing was switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PowerAbility {
    /// In a word; none where it was not read.
    pub state: Option<&'static str>,
    pub state_number: Option<u32>,
    /// What the device offers in that state, in words; numbers as `11`.
    pub offered: Vec<String>,
    pub offered_numbers: Vec<u32>,
    /// `offered` where the state was read, else `claimed`. Never `drilled`: no action was tried.
    pub known: &'static str,
}

/// Something besides power, by what was set up; from another host it was not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ability {
    pub can: Vec<String>,
    /// Always `claimed` here.
    pub known: &'static str,
    pub needs: &'static str,
}

/// Whether the claim says that AMT's cleartext port is closed.
pub fn claims_tls_only(claim: &AmtOurs) -> bool {
    TlsWish::among(&claim.settings) == Some(TlsWish::Required)
}

/// Whether AMT of this version serves other machines TLS alone by that claim, which does not tell with which certificate: then
/// there is nothing that it could be told from others by.
pub fn lacks_pin(claim: &AmtOurs, version: Option<&str>) -> bool {
    claim.served_pin().is_none() && is_tls_alone(&amt_reach(version, TlsWish::among(&claim.settings)))
}

/// Whether the claim says that AMT's clients must show a certificate.
pub fn claims_mutual_tls(claim: &AmtOurs) -> bool {
    claim.settings.iter().any(|word| is_mutual_word(word))
}

/// Judges. Total and deterministic.
pub fn verify_remote(claim: &AmtOurs, seen: &RemoteSeen) -> RemoteResult {
    let (exit, reason, text) = judge(claim, seen);
    let verified_remote = exit == Exit::Satisfied;
    let can = ability(&claim.control_mode, &claim.settings);
    let part = |names: &[&str]| Ability {
        can: can.iter().filter(|it| names.contains(&it.as_str())).cloned().collect(),
        known: "claimed",
        needs: needs(claim),
    };
    let power = power(seen.power.as_ref());
    let capability = capability(claim, seen, verified_remote, &can, &text);
    RemoteResult {
        exit,
        reason,
        text,
        verified_remote,
        cleartext: seen.cleartext.word(),
        mutual_tls: match seen.mutual {
            Mutual::NotJudged => "not-judged",
            Mutual::NotDemanded => "not-demanded",
            Mutual::Demanded => "demanded",
        },
        power,
        boot: part(&["boot_override", "media"]),
        console: part(&["console_text", "console_kvm"]),
        capability,
    }
}

fn judge(claim: &AmtOurs, seen: &RemoteSeen) -> (Exit, &'static str, String) {
    let at = shown(&seen.address);
    let drift = |reason, text| (Exit::Drift, reason, text);
    let failed = |reason, text| (Exit::DeviceFailed, reason, text);
    let unsent = if seen.login_sent { "" } else { " No login was sent." };
    if let Some(end) = &seen.end {
        return match end {
            RemoteEnd::Unreachable(why) => {
                failed("unreachable", format!("AMT at {at} was not reached: {}.", shown(why)))
            }
            RemoteEnd::OtherCertificate(found) => drift(
                "certificate-changed",
                format!(
                    "{at} serves another certificate (SHA-256 {}) than the one of our proof: another device, somebody in \
                     between, or others set it up since.{unsent}",
                    shown(found)
                ),
            ),
            RemoteEnd::NoCommonTls(why) => (
                Exit::Impossible,
                "tls-not-verifiable",
                format!(
                    "TLS at {at} is not verifiable by this build: {}. AMT 12 and older speak TLS that it does not \
                     have; one with the feature `legacy-tls` has it.",
                    shown(why)
                ),
            ),
            RemoteEnd::Tls(why) => {
                failed("tls-failed", format!("TLS to AMT at {at} failed: {}.{unsent}", shown(why)))
            }
            RemoteEnd::NoClientCertificate => (
                Exit::Impossible,
                "client-certificate-needed",
                format!(
                    "AMT at {at} lets in clients with a certificate only, and none was given: give one with its key, \
                     `--client-certificate FILE`.{unsent}"
                ),
            ),
            RemoteEnd::ClientCertificateRefused(why) => failed(
                "client-certificate-refused",
                format!(
                    "AMT at {at} does not take the client's certificate that was given: {}. It must be of the CA and have \
                     a name that policy named when AMT was set up.{unsent}",
                    shown(why)
                ),
            ),
            RemoteEnd::NotAmt(why) => {
                failed("not-amt", format!("{at} does not answer as AMT does: {}.{unsent}", shown(why)))
            }
            RemoteEnd::OtherRealm(found) => drift(
                "realm-changed",
                format!(
                    "{at} answers with another login realm ({}) than the one we proved: another device, or others \
                     provisioned it since.{unsent}",
                    shown(found)
                ),
            ),
            RemoteEnd::LoginRefused => failed(
                "login-refused",
                format!(
                    "AMT at {at} is the one that we proved, and refused the password: it is not that of generation {}, it \
                     was changed, or the account is locked for a while. It was tried once.",
                    claim.generation
                ),
            ),
            RemoteEnd::Answer(why) => failed(
                "answer-unusable",
                format!("AMT at {at} took the login, and then failed: {}.", shown(why)),
            ),
            RemoteEnd::AnyPassword => failed(
                "any-password-accepted",
                format!("AMT at {at} accepted a wrong password; its firmware must be updated."),
            ),
            RemoteEnd::Unsettled => failed(
                "login-unsettled",
                format!(
                    "AMT at {at} took the password once and refused it after a wrong one: the account may be locked for \
                     a while; try again later."
                ),
            ),
        };
    }
    match &seen.cleartext {
        Cleartext::Open => {
            return drift(
                "cleartext-open",
                format!(
                    "AMT at {at} is ours, and its cleartext port answers, which our proof says is closed."
                ),
            );
        }
        Cleartext::Unclear(why) => {
            return failed(
                "cleartext-unclear",
                format!(
                    "AMT at {at} is ours, and whether its cleartext port is closed was not to be seen: {}.",
                    shown(why)
                ),
            );
        }
        Cleartext::NotJudged if claims_tls_only(claim) => {
            return failed(
                "cleartext-unclear",
                format!("AMT at {at} is ours; its cleartext port was not tried."),
            );
        }
        _ => {}
    }
    match seen.mutual {
        Mutual::NotDemanded if claims_mutual_tls(claim) => {
            return drift(
                "mutual-tls-off",
                format!(
                    "AMT at {at} is ours, and lets in clients without a certificate, which our proof says it does not."
                ),
            );
        }
        Mutual::NotJudged if claims_mutual_tls(claim) => {
            return failed(
                "mutual-tls-unclear",
                format!(
                    "AMT at {at} is ours, and whether it lets in clients without a certificate was not to be seen; run again."
                ),
            );
        }
        _ => {}
    }
    let Some(power) = seen.power.as_ref().filter(|_| seen.wrong_refused) else {
        return failed("answer-unusable", format!("AMT at {at} took the login; the proof is not complete."));
    };
    let cleartext = match &seen.cleartext {
        Cleartext::Refused => "; its cleartext port refuses connections",
        Cleartext::Silent => "; its cleartext port does not answer, which a firewall between may do",
        Cleartext::Closed => "; its cleartext port closes connections without an answer",
        _ => "",
    };
    let over = match claim.served_pin() {
        Some(_) if seen.mutual == Mutual::Demanded => {
            "over mutual TLS with the certificate of that proof and the client's own, without which it hangs up"
        }
        Some(_) => "over TLS with the certificate of that proof",
        None => "with HTTP digest, in cleartext",
    };
    let text = format!(
        "AMT at {at} is reachable from another machine: a fresh login works {over}, a wrong password is refused{cleartext}; \
         power reads {} ({}), and no power action was tried.",
        state_word(power.state),
        power.state
    );
    (Exit::Satisfied, "satisfied", text)
}

impl Cleartext {
    fn word(&self) -> &'static str {
        match self {
            Self::NotJudged => "not-judged",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Closed => "closed-without-answer",
            Self::Open => "open",
            Self::Unclear(_) => "unclear",
        }
    }
}

/// In client control mode a person at the machine is asked before the boot is changed or a console opened.
fn needs(claim: &AmtOurs) -> &'static str {
    match claim.control_mode.as_str() {
        "acm" if claim.settings.iter().any(|it| it == "consent = none") => "nobody's consent",
        _ => "user_consent of a person at the machine",
    }
}

fn power(read: Option<&Power>) -> PowerAbility {
    let offered = read.map(|power| power.offered.clone()).unwrap_or_default();
    PowerAbility {
        state: read.map(|power| state_word(power.state)),
        state_number: read.map(|power| power.state),
        offered: offered.iter().map(|state| action_word(*state)).collect(),
        offered_numbers: offered,
        known: if read.is_some() { "offered" } else { "claimed" },
    }
}

fn capability(claim: &AmtOurs, seen: &RemoteSeen, proven: bool, can: &[String], text: &str) -> ChannelRecord {
    let (state, confidence, reason) = match proven {
        true => (
            ChannelState::Verified,
            Proof::Proven,
            format!(
                "{text} Boot and console are as they were set up; they were not tried from another machine."
            ),
        ),
        false => (
            ChannelState::Provisioned,
            Proof::Claimed,
            format!("ours by event {}; not proven from another machine: {text}", shown(&claim.event)),
        ),
    };
    ChannelRecord {
        channel: Channel::Amt,
        state,
        reason,
        can: can.to_vec(),
        needs: ["mains", "standby_power", "wired_link"].map(str::to_owned).to_vec(),
        confidence,
        control_mode: Some(claim.control_mode.clone()),
        credential: Some(claim.escrow.clone()),
        reach: vec![seen.transport.to_owned()],
        last_proof: Some(claim.event.clone()),
    }
}

/// `PowerState` of CIM_AssociatedPowerManagementService (reference/amt.md 5.12).
fn state_word(state: u32) -> &'static str {
    match state {
        2 => "on",
        3 => "light-sleep",
        4 => "deep-sleep",
        6 => "off-hard",
        7 => "hibernate",
        8 => "off-soft",
        _ => "unknown",
    }
}

/// What may be asked for. go-wsman calls 5, 6, 8 and 9 by other names than the specification; a number that has none here
/// stays a number.
fn action_word(state: u32) -> String {
    let word = match state {
        2 => "power_on",
        4 => "deep_sleep",
        5 => "power_cycle",
        6 => "power_off_hard",
        7 => "hibernate",
        8 => "power_off",
        9 => "power_cycle_hard",
        10 => "reset",
        11 => "nmi",
        12 => "power_off_graceful",
        14 => "reset_graceful",
        15 | 16 => "power_cycle_graceful",
        other => return other.to_string(),
    };
    word.to_owned()
}
