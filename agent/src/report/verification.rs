//! What `verify` found, for people: the verdict first, then everything it rests on.

use oob_policy::{Detection, Evidence, Exit, Says, Verification};

use super::text::{BOLD, DIM, LABEL, RESET, YELLOW, labeled, painted};
use super::words::{self, Tone};

/// `exit` and `changed` are those of the run; `event` holds the verdict, where one was recorded.
pub fn verification_text(
    detection: &Detection,
    found: &Verification,
    exit: Exit,
    changed: bool,
    event: Option<&str>,
) -> String {
    let id = detection.device_id.as_deref().unwrap_or_default();
    let kind = words::root(detection.root).map(|(kind, _)| format!("  {YELLOW}[{kind}]{RESET}"));
    let machine = words::machine_of(&detection.facts, id);
    let mut lines =
        vec![format!("{BOLD}{machine}{RESET}{}  {DIM}{}{RESET}", kind.unwrap_or_default(), words::shown(id))];
    let tone = if found.verdict.is_effective() { Tone::Good } else { Tone::Caution };
    let known = found.confidence.map(|it| format!(" ({})", words::confidence(it))).unwrap_or_default();
    labeled(&mut lines, "verdict", vec![format!("{}{known}", painted(tone, found.verdict.word()))]);
    lines.push(format!("{:LABEL$}{}", "", words::shown(&found.text)));
    labeled(&mut lines, "evidence", found.evidence.iter().map(evidence).collect());
    let conflicts = found.contradictions.iter().map(|text| painted(Tone::Bad, &words::shown(text)));
    labeled(&mut lines, "conflict", conflicts.collect());
    let grave = found.findings.iter().map(|finding| {
        let (word, tone) = words::severity(finding.severity);
        format!("{}: {}", painted(tone, word), words::shown(&finding.text))
    });
    labeled(&mut lines, "look at", grave.collect());
    labeled(&mut lines, "next", found.next.iter().map(|text| words::shown(text)).collect());
    let unseen = found.not_assessed.iter().map(|text| format!("{DIM}{}{RESET}", words::shown(text)));
    labeled(&mut lines, "not seen", unseen.collect());
    let (word, tone) = words::exit(exit);
    let changed = if changed { "recorded" } else { "nothing changed" };
    labeled(&mut lines, "result", vec![format!("{} ({changed}, exit {})", painted(tone, word), exit.code())]);
    labeled(&mut lines, "event", event.map(words::shown).into_iter().collect());
    lines.join("\n") + "\n"
}

fn evidence(item: &Evidence) -> String {
    let (sign, tone) = match item.says {
        Says::Supports => ("for", Tone::Good),
        Says::Contradicts => ("against", Tone::Bad),
        Says::Nothing => ("neither", Tone::Plain),
    };
    format!(
        "{} {} {} {DIM}({}, {}){RESET}: {}",
        painted(tone, sign),
        item.name,
        words::value(&item.value),
        words::shown(&item.source),
        words::confidence(item.confidence),
        words::shown(&item.text)
    )
}
