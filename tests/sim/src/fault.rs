//! Faults: what goes wrong, at which device call. Part of the simulator's interface (`--fault CALL=FAULT[#k]`).

use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// What goes wrong with one device call. [`Fault::spares_the_device`] says which of them leave the device unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The PTHI/MHC/MKHI status or the WS-Man `ReturnValue` is this number, and nothing was done.
    ReturnValue(u32),
    /// A SOAP fault (`InternalError`), nothing was done; on MEI, status 1 (internal error).
    SoapFault,
    /// This HTTP status with an HTML body (401: a challenge), nothing was done; on MEI the connection closes.
    Http(u16),
    /// The connection closes, nothing was done.
    DropBefore,
    /// The call takes effect; the connection closes without a reply.
    DropAfter,
    /// Nothing is done and nothing is ever answered.
    Stall,
    /// The call takes effect; the reply is noise.
    Garbage,
    /// SIGKILL to the MEI peer, nothing was done. A TCP peer is never killed: its connection closes.
    KillPeerBefore,
    /// The call takes effect, then SIGKILL to the MEI peer.
    KillPeerAfter,
    /// The call takes effect; the reply is cut off before its end.
    Short,
    /// The call takes effect; the reply has bytes after its end.
    Long,
    /// The call takes effect; the reply names another command (HTTP: relates to another message).
    WrongCommand,
    /// A MEI connect is answered with this errno; any other call: the connection closes.
    Errno(i32),
    /// The whole ME restarts: nothing was done, the connection closes, and what was not committed is lost.
    MeRestart,
    /// Somebody who has the password switched TLS off before the call, which goes its way.
    TlsOff,
    /// The call takes effect and is answered; for ten (scaled) seconds every login is then refused
    /// (`reference/amt.md` 0, fact 7).
    Settle401,
    /// HTTP 302 to somewhere else, nothing was done; on MEI the connection closes.
    Redirect,
    /// HTTP 401 that asks for a password in clear, nothing was done; on MEI the connection closes.
    Basic,
    /// HTTP 401 with the realm of another device, nothing was done; on MEI the connection closes.
    OtherRealm,
    /// The call takes effect; the answer is well formed and longer than 1 MiB (MEI: than any message).
    Huge,
    /// The call takes effect; the answer has none of its fields.
    NoFields,
    /// The call takes effect; every number in the answer is one that nobody has heard of.
    OddValues,
}

impl Fault {
    /// Whether the call is not carried out at all.
    #[must_use]
    pub fn spares_the_device(self) -> bool {
        matches!(
            self,
            Self::ReturnValue(_)
                | Self::SoapFault
                | Self::Http(_)
                | Self::DropBefore
                | Self::Stall
                | Self::KillPeerBefore
                | Self::Errno(_)
                | Self::Redirect
                | Self::Basic
                | Self::OtherRealm
                | Self::MeRestart
        )
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (word, number) = text.split_once(':').map_or((text, None), |(word, number)| (word, Some(number)));
        let wanted =
            || number.with_context(|| format!("reading fault {word:?}: it needs a number, as in {word}:2"));
        let fault = match word {
            "return-value" => return Ok(Self::ReturnValue(parsed(wanted()?)?)),
            "errno" => return Ok(Self::Errno(parsed(wanted()?)?)),
            "fault" => Self::SoapFault,
            "http-400" => Self::Http(400),
            "http-401" => Self::Http(401),
            "http-500" => Self::Http(500),
            "drop-before" => Self::DropBefore,
            "drop-after" => Self::DropAfter,
            "stall" => Self::Stall,
            "garbage" => Self::Garbage,
            "kill-peer-before" => Self::KillPeerBefore,
            "kill-peer-after" => Self::KillPeerAfter,
            "short" => Self::Short,
            "long" => Self::Long,
            "wrong-command" => Self::WrongCommand,
            "me-restart" => Self::MeRestart,
            "tls-off" => Self::TlsOff,
            "settle-401" => Self::Settle401,
            "redirect" => Self::Redirect,
            "basic" => Self::Basic,
            "other-realm" => Self::OtherRealm,
            "huge" => Self::Huge,
            "no-fields" => Self::NoFields,
            "odd-values" => Self::OddValues,
            _ => bail!("reading fault {word:?}: no such fault; `oob-sim machine --help` lists them"),
        };
        ensure!(number.is_none(), "reading fault {word:?}: it takes no number");
        Ok(fault)
    }
}

/// One `--fault` argument.
#[derive(Clone, Debug)]
pub struct Spec {
    place: Place,
    occurrence: Option<u64>,
    fault: Fault,
    seen: u64,
}

#[derive(Clone, Debug)]
enum Place {
    Named(String),
    Numbered(u64),
}

impl Spec {
    /// Counts the call if it is at this fault's place, and gives the fault if it strikes now.
    pub fn strikes(&mut self, name: &str, number: u64) -> Option<Fault> {
        let here = match &self.place {
            Place::Named(wanted) => wanted == name,
            Place::Numbered(wanted) => *wanted == number,
        };
        self.seen += u64::from(here);
        (here && self.occurrence.is_none_or(|wanted| wanted == self.seen)).then_some(self.fault)
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (place, rest) = text
            .split_once('=')
            .filter(|(place, _)| !place.is_empty())
            .with_context(|| format!("reading fault {text:?}: the form is CALL=FAULT[#k]"))?;
        let (fault, occurrence) = match rest.split_once('#') {
            None => (rest, Some(1)),
            Some((fault, "*")) => (fault, None),
            Some((fault, count)) => (fault, Some(parsed(count)?)),
        };
        ensure!(occurrence != Some(0), "reading fault {text:?}: occurrences count from 1");
        let place = match place.strip_prefix("call:") {
            Some(number) => Place::Numbered(parsed(number)?),
            None => Place::Named(place.to_owned()),
        };
        Ok(Self { place, occurrence, fault: fault.parse()?, seen: 0 })
    }
}

fn parsed<T: FromStr>(text: &str) -> Result<T> {
    text.parse().ok().with_context(|| format!("reading {text:?}: a number is wanted there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_at_its_occurrence_only() {
        let mut spec: Spec = "connect:pthi=errno:16#2".parse().unwrap();
        assert_eq!(spec.strikes("connect:pthi", 1), None);
        assert_eq!(spec.strikes("connect:lme", 2), None);
        assert_eq!(spec.strikes("connect:pthi", 3), Some(Fault::Errno(16)));
        assert_eq!(spec.strikes("connect:pthi", 4), None);
    }

    #[test]
    fn a_numbered_place_counts_calls_of_every_name() {
        let mut spec: Spec = "call:3=kill-peer-after".parse().unwrap();
        assert_eq!(spec.strikes("a", 2), None);
        assert_eq!(spec.strikes("b", 3), Some(Fault::KillPeerAfter));
    }

    #[test]
    fn a_star_strikes_every_time() {
        let mut spec: Spec = "http:anonymous=stall#*".parse().unwrap();
        assert!((1..5).all(|n| spec.strikes("http:anonymous", n) == Some(Fault::Stall)));
    }

    #[test]
    fn what_is_not_a_fault_is_refused() {
        for text in [
            "",
            "=stall",
            "a",
            "a=b",
            "a=stall:1",
            "a=return-value",
            "a=errno:x",
            "a=stall#0",
            "call:x=stall",
        ] {
            assert!(text.parse::<Spec>().is_err(), "{text:?} was accepted");
        }
    }
}
