//! What the way to AMT of this machine hangs on (reference/amt-peers.md, what remains): the states in which it stays on,
//! Wi-Fi, which does not reach it in S5 on most models, and docking stations, of whose network ports it can use few.

use super::{Assessment, text_of};
use crate::{PowerWish, UNKNOWN, Value, is_mutual_ca_alone, is_mutual_word, shown};

/// As clauses that follow a sentence. `settings` are those that were seen in force.
pub(super) fn caveats(input: &Assessment<'_>, settings: &[String]) -> String {
    let mobile = ["laptop", "tablet"].contains(&input.detection.text("host.form_factor"));
    let profile = settings.iter().find_map(|word| word.strip_prefix("wifi_ssid = "));
    let mut caveats = String::new();
    if is_off_with_the_machine(settings) {
        caveats.push_str(
            "; its power scheme keeps it on only while the machine runs: it can switch it off and not on again",
        );
    } else if has_power(settings, PowerWish::Always) {
        caveats.push_str("; its power scheme keeps it reachable down to S5, on mains and over the cable");
    }
    if is_wireless_only(input) {
        caveats += &match profile {
            Some(ssid) => format!(
                "; Wi-Fi only: AMT has a profile for {}, whose passphrase nobody can read back",
                shown(ssid)
            ),
            None => "; Wi-Fi only: AMT needs a Wi-Fi profile of its own".to_owned(),
        };
        caveats.push_str(
            ", and on most models it is not reached while the machine is off (S5), so it may not be switched on from afar",
        );
    } else if mobile {
        caveats.push_str(
            "; over Wi-Fi most models are not reached while they are off (S5): that takes the cable",
        );
    }
    if mobile {
        caveats.push_str(
            "; a docking station's network port serves AMT only where the maker says so (Thunderbolt docks of some models, \
             USB adapters never)",
        );
    }
    if demands_certificates(settings) {
        caveats.push_str(match is_mutual_ca_alone(settings) {
            true => "; other machines need a client's certificate of the CA that policy names",
            false => {
                "; other machines need a client's certificate, of any CA that AMT has as a trusted root, which are not \
                 policy's alone"
            }
        });
    }
    caveats
}

pub(super) fn is_off_with_the_machine(settings: &[String]) -> bool {
    has_power(settings, PowerWish::HostOn)
}

pub(super) fn demands_certificates(settings: &[String]) -> bool {
    settings.iter().any(|word| is_mutual_word(word))
}

fn has_power(settings: &[String], wish: PowerWish) -> bool {
    settings.iter().any(|word| word.strip_prefix("power = ") == Some(wish.word()))
}

/// AMT has a wireless port and no wired one.
pub(super) fn is_wireless_only(input: &Assessment<'_>) -> bool {
    let Some(Value::Map(links)) = input.detection.fact("intel.amt.link").map(|fact| &fact.value) else {
        return false;
    };
    let link = |name| text_of(links.get(name)).unwrap_or(UNKNOWN);
    link("wired") == "absent" && !["absent", UNKNOWN].contains(&link("wireless"))
}
