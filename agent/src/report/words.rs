//! The words in which people are told, the same in the terminal and on the page. Foreign text is escaped here.

use oob_policy::{
    AmtSettings, Channel, ChannelState, Confidence, Exit, Fact, Method, Proof, Report, Reversibility,
    RootKind, Scope, Severity, Status, StepKind, UNKNOWN, Value,
};

/// The color family of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Caution,
    Bad,
    Plain,
}

impl Tone {
    /// The class on the page.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Caution => "caution",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// Maker, product and serial as far as known; else the device id.
pub(super) fn machine(report: &Report) -> String {
    machine_of(&report.facts, &report.device_id)
}

pub(super) fn machine_of(facts: &[Fact], device_id: &str) -> String {
    let known = |name: &str| {
        let fact = facts.iter().find(|fact| fact.name == name)?;
        fact.value.as_text().filter(|text| *text != UNKNOWN && !text.is_empty())
    };
    let mut words: Vec<String> =
        ["host.vendor", "host.product"].into_iter().filter_map(known).map(shown).collect();
    if words.is_empty() {
        words.push(known("host.name").map_or_else(|| format!("machine {}", shown(device_id)), shown));
    }
    if let Some(serial) = known("host.serial") {
        words.push(format!("({})", shown(serial)));
    }
    words.join(" ")
}

/// What must not be mistaken for a real machine.
pub(super) const fn root(kind: RootKind) -> Option<(&'static str, &'static str)> {
    match kind {
        RootKind::Live => None,
        RootKind::Capture => Some(("captured machine", "Read from a capture, not from the machine itself.")),
        RootKind::Simulated => Some(("simulated machine", "This report is not about real hardware.")),
    }
}

/// One line, cut where it would be a page of its own.
pub(super) fn shown(text: &str) -> String {
    let safe = oob_policy::shown(text);
    match safe.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", safe.get(..end).unwrap_or_default()),
        None => safe,
    }
}

/// Longer values are evidence, and belong into `evidence/`.
const MAX_SHOWN: usize = 2000;

pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => shown(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        }
        Value::Map(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, member)| format!("{}={}", shown(name), self::value(member)))
                .collect();
            if members.is_empty() { "none".to_owned() } else { members.join(" ") }
        }
    }
}

pub(super) fn is_unknown(fact: &Fact) -> bool {
    fact.value.as_text() == Some(UNKNOWN)
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Observed => "observed",
        Confidence::Inferred => "inferred",
        Confidence::Hint => "hint",
    }
}

pub(super) const fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Amt => "Intel AMT",
        Channel::Dash => "DASH",
        Channel::Ipmi => "IPMI",
        Channel::Redfish => "Redfish",
        Channel::Watchdog => "Watchdog",
        Channel::Pdu => "PDU",
        Channel::Wol => "Wake-on-LAN",
        Channel::VpsApi => "VPS API",
        Channel::HypervisorApi => "Hypervisor API",
    }
}

pub(super) const fn state(state: ChannelState) -> (&'static str, Tone) {
    match state {
        ChannelState::Absent => ("absent", Tone::Plain),
        ChannelState::Present => ("present", Tone::Plain),
        ChannelState::Provisioned => ("provisioned", Tone::Caution),
        ChannelState::Verified => ("verified", Tone::Good),
        ChannelState::Disabled => ("disabled", Tone::Plain),
        ChannelState::Staged => ("staged", Tone::Caution),
        ChannelState::Unknown => ("unknown", Tone::Caution),
    }
}

/// How the state of a channel is known: what is off has no credential that could be proven.
pub(super) const fn known_by(state: ChannelState, confidence: Proof) -> &'static str {
    match (state, confidence) {
        (ChannelState::Unknown, _) => "",
        (ChannelState::Disabled, Proof::Proven) => "switched off and read back",
        (_, confidence) => proof(confidence),
    }
}

/// What was exercised is the credential, from this machine; neither the network nor the power switch was.
pub(super) const fn proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Proven => "credential proven locally",
        Proof::Detected => "detected",
        Proof::Claimed => "claimed",
    }
}

pub(super) const fn status(status: Status) -> (&'static str, Tone) {
    match status {
        Status::Done => ("done", Tone::Good),
        Status::AlreadySo => ("already so", Tone::Good),
        Status::Skipped => ("skipped", Tone::Plain),
        Status::Failed => ("failed", Tone::Bad),
        Status::NeedsHuman => ("needs a person", Tone::Caution),
    }
}

pub(super) const fn severity(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Info => ("info", Tone::Plain),
        Severity::Warning => ("warning", Tone::Caution),
        Severity::Risk => ("risk", Tone::Bad),
    }
}

pub(super) const fn exit(exit: Exit) -> (&'static str, Tone) {
    match exit {
        Exit::Satisfied => ("satisfied", Tone::Good),
        Exit::Usage => ("wrong usage", Tone::Bad),
        Exit::PolicyRefused => ("policy refused", Tone::Bad),
        Exit::EscrowNotDurable => ("escrow not durable", Tone::Bad),
        Exit::DeviceFailed => ("device failed", Tone::Bad),
        Exit::Indeterminate => ("state indeterminate", Tone::Bad),
        Exit::Undelivered => ("record undelivered", Tone::Caution),
        Exit::Impossible => ("not possible here", Tone::Caution),
        Exit::Drift => ("drift", Tone::Bad),
        Exit::Pending => ("one more act needed", Tone::Caution),
        Exit::Internal => ("internal error", Tone::Bad),
    }
}

pub(super) const fn reversibility(reversibility: Reversibility) -> &'static str {
    match reversibility {
        Reversibility::ReadOnly => "not needed, it changes nothing",
        Reversibility::Undoable => "possible from this machine",
        Reversibility::WithCredential => "only with the escrowed credential or the kept original",
    }
}

/// What a step does, in a few words.
pub(super) fn step(kind: &StepKind) -> String {
    match kind {
        StepKind::Record => "Record what was found; touch nothing".to_owned(),
        StepKind::Refuse { text, .. } => format!("Refuse: {}", shown(text)),
        StepKind::AmtUndo { generation } => {
            format!("Take back our own unfinished AMT setup (generation {generation})")
        }
        StepKind::AmtSetupCcm { settings } => {
            format!("Escrow a new password, set AMT up in client control mode, prove it{}", written(settings))
        }
        StepKind::AmtSetupAcm { or_ccm, settings } => format!(
            "Escrow a new password, set AMT up in admin control mode{}, prove it{}",
            if *or_ccm { " (or client control mode where the certificate is not accepted)" } else { "" },
            written(settings)
        ),
        StepKind::AmtComplete { settings, .. } => {
            format!("Log in with the given credential, once, and prove it{}", written(settings))
        }
        StepKind::AmtRotate { settings, .. } => format!(
            "Log in with the given credential, once; escrow a new password, set it, prove it{}",
            written(settings)
        ),
        StepKind::AmtTakeOver { settings } => format!(
            "Take over what others set up: log in with the given credential, once; escrow a new password, set it, prove \
             it{}",
            written(settings)
        ),
        StepKind::AmtConfirm { .. } => "See that the AMT we proved is the one that answers".to_owned(),
        StepKind::AmtEnable { told: None, .. } => {
            "Switch AMT on over MHC and see whether it answers; then decide anew".to_owned()
        }
        StepKind::AmtEnable { told: Some(_), .. } => {
            "See whether AMT answers, which was switched on before; then decide anew".to_owned()
        }
        StepKind::AmtUpgrade { or_ccm, settings, .. } => format!(
            "Log in with the given credential, once, and go up to admin control mode with the certificate{}, prove it{}",
            if *or_ccm { " (or stay where it is not accepted)" } else { "" },
            written(settings)
        ),
        StepKind::AmtUnprovision { scope, login, .. } => format!(
            "Unprovision AMT{}{}, and see it unprovisioned",
            if *scope == Scope::Partial { " partially" } else { "" },
            if *login { " as admin, with the given credential, logged in once" } else { " over MEI" }
        ),
        StepKind::AmtUnprovisioned => "See that AMT is not provisioned".to_owned(),
        StepKind::ReadFlash => "Read the flash chip, twice, and decide by what it holds".to_owned(),
        StepKind::Stage { method, keep, skipped } => staged(*method, keep, skipped),
        StepKind::AmtLockdown { own_mebx: true, skipped, .. } => format!(
            "Switch AMT off by its own firmware, with a MEBx password of its own, and read that back{}",
            not_possible(skipped)
        ),
        StepKind::AmtLockdown { skipped, .. } => {
            format!("Switch AMT off by its own firmware and read that back{}", not_possible(skipped))
        }
        StepKind::AmtLockedDown { skipped, .. } => {
            format!("See that AMT reports itself disabled{}", not_possible(skipped))
        }
        StepKind::MeSoftDisabled => "See that the management engine reports itself soft-disabled".to_owned(),
        StepKind::ReportOnly { because } => {
            let because: Vec<String> = because.iter().map(|reason| shown(reason)).collect();
            if because.is_empty() {
                return "Report only, as policy asks".to_owned();
            }
            format!("Report only: {}", because.join("; "))
        }
    }
}

fn written(settings: &AmtSettings) -> String {
    match settings.is_empty() {
        true => String::new(),
        false => format!("; write and read back {}", settings.words().join(", ")),
    }
}

fn staged(method: Method, keep: &[String], skipped: &[String]) -> String {
    let list = |items: &[String], with: &str| items.iter().map(|it| shown(it)).collect::<Vec<_>>().join(with);
    let mut text = match method {
        Method::CleanAndSoftDisable => "Stage an image without ME code and with the soft-disable strap set",
        _ => "Stage an image with the soft-disable strap set",
    }
    .to_owned();
    if !keep.is_empty() {
        text.push_str(&format!(", keeping {}", list(keep, ", ")));
    }
    text.push_str(&not_possible(skipped));
    text
}

fn not_possible(skipped: &[String]) -> String {
    let skipped: Vec<String> = skipped.iter().map(|why| shown(why)).collect();
    if skipped.is_empty() { String::new() } else { format!("; not possible: {}", skipped.join("; ")) }
}

/// `power_on` as people read it.
pub(super) fn spaced(words: &[String]) -> String {
    words.iter().map(|word| shown(word).replace('_', " ")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use oob_policy::{Method, StepKind};

    #[test]
    fn a_staged_image_says_what_it_is_not() {
        let told = |method, keep: &[&str], skipped: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
            super::step(&StepKind::Stage { method, keep: owned(keep), skipped: owned(skipped) })
        };
        assert_eq!(
            told(Method::SoftDisable, &[], &["clean+soft-disable: no\u{1b}"]),
            "Stage an image with the soft-disable strap set; not possible: clean+soft-disable: no\\u{1b}"
        );
        assert_eq!(
            told(Method::CleanAndSoftDisable, &["MFS", "EFFS"], &[]),
            "Stage an image without ME code and with the soft-disable strap set, keeping MFS, EFFS"
        );
    }

    #[test]
    fn a_report_that_policy_asks_for_needs_no_reasons() {
        let told = |because: &[&str]| {
            super::step(&StepKind::ReportOnly {
                because: because.iter().map(|it| (*it).to_owned()).collect(),
            })
        };
        assert_eq!(told(&[]), "Report only, as policy asks");
        assert_eq!(told(&["no image", "no time"]), "Report only: no image; no time");
    }
}
