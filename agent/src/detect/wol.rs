//! Wake-on-LAN per adapter (reference/detect.md 6). What a driver supports need not work from power-off.

use oob_policy::Fact;

use super::Survey;
use crate::machine::{Interface, Seen, Wol};

const CLASS: &str = "sys/class/net";
const COUNT: &str = "wol.count";

/// One `wol.<interface>` for each wired adapter, and `wol.count`: a machine without an adapter is not one that was not
/// looked at.
pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let interfaces = match &survey.interfaces {
        Seen::Found(interfaces) => interfaces,
        other => return vec![Fact::unknown(COUNT, CLASS, survey.why_not(other, CLASS).unwrap_or_default())],
    };
    let wired = interfaces.iter().filter(|interface| !interface.wireless);
    let mut facts: Vec<Fact> = wired.map(|interface| one(survey, interface)).collect();
    let count = Fact::observed(COUNT, facts.len() as u64, CLASS);
    facts.push(match facts.is_empty() {
        true => count.because("no wired adapter is listed; its driver may not be loaded"),
        false => count,
    });
    facts
}

fn one(survey: &Survey<'_>, interface: &Interface) -> Fact {
    let name = format!("wol.{}", printable(&interface.name));
    let wakeup = interface.wakeup.as_deref().map(|text| format!("device/power/wakeup is {text}"));
    let source = "ethtool";
    let (fact, because) = match survey.machine.wake_on_lan(interface) {
        Wol::Magic => (
            Fact::observed(&name, "magic", source),
            Some("set in the driver; not proven from power-off".into()),
        ),
        Wol::SupportedOff => (Fact::observed(&name, "supported-off", source), None),
        Wol::None => (Fact::observed(&name, "none", source), None),
        Wol::Unknown(why) => (Fact::unknown(&name, source, why.clone()), Some(why)),
    };
    match (because, wakeup) {
        (Some(text), Some(wakeup)) => fact.because(format!("{text}; {wakeup}")),
        (Some(text), None) | (None, Some(text)) => fact.because(text),
        (None, None) => fact,
    }
}

/// An interface's name as part of a fact's name: names are of a foreign directory.
fn printable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-@:".contains(c) { c } else { '_' };
    name.chars().take(32).map(plain).collect()
}
