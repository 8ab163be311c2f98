//! Wake-on-LAN per adapter (reference/detect.md 6). What a driver supports need not work from power-off.

use oob_policy::Fact;

use super::Survey;
use crate::machine::{Interface, Seen, Wol};

/// One `wol.<interface>` for each wired adapter.
pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let Seen::Found(interfaces) = &survey.interfaces else { return Vec::new() };
    let wired = interfaces.iter().filter(|interface| !interface.wireless);
    wired.map(|interface| one(survey, interface)).collect()
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
