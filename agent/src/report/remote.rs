//! What another host saw of a machine's AMT, for people.

use oob_policy::{RemoteResult, RootKind};

use super::text::{BOLD, DIM, RESET, YELLOW, labeled, painted};
use super::words::{self, Tone};

/// `event` holds the result, where one was recorded.
pub fn remote_text(device_id: &str, root: RootKind, result: &RemoteResult, event: Option<&str>) -> String {
    let kind = words::root(root).map(|(kind, _)| format!("  {YELLOW}[{kind}]{RESET}")).unwrap_or_default();
    let mut lines = vec![format!(
        "{BOLD}Intel AMT, from another machine{RESET}{kind}  {DIM}{}{RESET}",
        words::shown(device_id)
    )];
    let (verdict, tone) = match result.verified_remote {
        true => ("reachable from another machine, proven", Tone::Good),
        false => ("not proven from another machine", Tone::Caution),
    };
    labeled(&mut lines, "verdict", vec![painted(tone, verdict), words::shown(&result.text)]);
    if let (Some(state), Some(number)) = (result.power.state, result.power.state_number) {
        let offered = result.power.offered.join(", ");
        let offered = if offered.is_empty() { "nothing".to_owned() } else { offered };
        labeled(
            &mut lines,
            "power",
            vec![format!("{state} ({number}); offered now: {offered}; none was tried")],
        );
    }
    for (label, part) in [("boot", &result.boot), ("console", &result.console)] {
        let can = if part.can.is_empty() { "nothing".to_owned() } else { part.can.join(", ") };
        labeled(
            &mut lines,
            label,
            vec![format!("{can}, unattended, as it was set up; not tried; needs {}", part.needs)],
        );
    }
    let (word, tone) = words::exit(result.exit);
    let recorded = if event.is_some() { "recorded" } else { "not recorded" };
    labeled(
        &mut lines,
        "result",
        vec![format!("{} ({recorded}, exit {})", painted(tone, word), result.exit.code())],
    );
    labeled(&mut lines, "event", event.map(words::shown).into_iter().collect());
    lines.join("\n") + "\n"
}
