//! The recovery-capability record: one entry per channel kind, absent ones included (reference/org-state.md 2.4,
//! reference/recovery.md 1 and 2).

mod network;

use super::Assessment;
use crate::{
    Channel, ChannelRecord, ChannelState, Fact, Proof, RootKind, Status, TlsWish, UNKNOWN, Value, amt_reach,
    is_tls_alone, shown, step,
};

/// All nine, in the order of [`Channel`].
pub(super) fn records(input: &Assessment<'_>) -> Vec<ChannelRecord> {
    vec![
        amt(input),
        dash(input),
        ipmi(input),
        redfish(input),
        watchdog(input),
        blank(
            Channel::Pdu,
            ChannelState::Unknown,
            "not detectable in band: which outlets feed this machine is known to the org only".to_owned(),
        ),
        wol(input),
        vps_api(input),
        hypervisor_api(input),
    ]
}

fn amt(input: &Assessment<'_>) -> ChannelRecord {
    let detection = input.detection;
    let verdict = detection.text("intel.amt.verdict");
    let provisioning = detection.text("intel.amt.provisioning");
    let mode = detection.text("intel.amt.control_mode");
    let proof = |outcome: &&crate::Outcome| text_of(outcome.evidence.get("proof")) == Some("read-back");
    if let Some(lost) = input.lost() {
        return blank(Channel::Amt, ChannelState::Unknown, shown(&lost.text));
    }
    if let Some(off) = input.locked_down() {
        let mut record = blank(Channel::Amt, ChannelState::Disabled, shown(&off.text));
        record.confidence = if proof(&off) { Proof::Proven } else { Proof::Detected };
        record.last_proof = text_of(off.evidence.get("event")).map(str::to_owned);
        return record;
    }
    if let Some(out) = input.unprovisioned().filter(|_| verdict != "absent") {
        let mut record = blank(
            Channel::Amt,
            ChannelState::Present,
            format!("{}{}", shown(&out.text), network::caveats(input, &[])),
        );
        record.confidence = Proof::Detected;
        record.last_proof = text_of(out.evidence.get("event")).map(str::to_owned);
        return record;
    }
    if let Some(done) = input.set_up() {
        let proven = Some(done).filter(proof).is_some();
        let credential = if proven { "credential proven locally" } else { "credential not proven" };
        let mode = text_of(done.evidence.get("control_mode")).unwrap_or("ccm");
        let reason =
            format!("{credential}; {UNTRIED}; {}{}", limits(mode), network::caveats(input, &settings(done)));
        let mut record = blank(Channel::Amt, ChannelState::Provisioned, reason);
        record.confidence = Proof::Detected;
        if proven {
            record.state = ChannelState::Verified;
            record.confidence = Proof::Proven;
        }
        record.credential = text_of(done.evidence.get("escrow")).map(str::to_owned);
        record.last_proof = text_of(done.evidence.get("event")).map(str::to_owned);
        let pins = ["tls_certificate_sha256", "network_certificate_sha256"];
        let pinned = pins.iter().any(|pin| done.evidence.contains_key(*pin));
        return ours(record, input, mode, &settings(done), pinned);
    }
    if let Some(open) = input.indeterminate() {
        return blank(Channel::Amt, ChannelState::Unknown, shown(&open.text));
    }
    if let Some(proof) = input.confirmed() {
        let reason = format!(
            "answers with the realm of the last proof, the credential was not used; {}; {}{}",
            reached(input),
            limits(&proof.control_mode),
            network::caveats(input, &proof.settings)
        );
        let mut record = blank(Channel::Amt, ChannelState::Provisioned, reason);
        record.confidence = Proof::Detected;
        record.credential = Some(proof.escrow.clone());
        record.last_proof = Some(proof.event.clone());
        let pinned = proof.served_pin().is_some();
        return ours(record, input, &proof.control_mode, &proof.settings, pinned);
    }
    if let Some(open) = input.in_doubt() {
        let reason = format!(
            "a run of ours ended while credential generation {} was on its way, and nobody can tell whether AMT took it: {}{}",
            open.generation,
            input.history.candidates(open),
            input.history.mebx_candidate()
        );
        return blank(Channel::Amt, ChannelState::Unknown, reason);
    }
    if input.staged() {
        let reason = "an image is staged and not flashed; until then AMT is as it was".to_owned();
        return blank(Channel::Amt, ChannelState::Staged, reason);
    }
    if let Some(proof) = input.unconfirmed() {
        let reason = format!("ours by event {}, {}; {}", proof.event, unconfirmed(input), reached(input));
        let mut record = blank(Channel::Amt, ChannelState::Provisioned, reason);
        record.credential = Some(proof.escrow.clone()).filter(|_| proof.sealed);
        record.last_proof = Some(proof.event.clone());
        record.control_mode = Some(mode).filter(|mode| *mode != UNKNOWN).map(str::to_owned);
        return record;
    }
    let why = because(input, "intel.amt.verdict");
    match verdict {
        "capable" | "standard-manageability" => {
            if ["ccm", "acm"].contains(&mode) || ["in", "post"].contains(&provisioning) {
                let reason = format!(
                    "provisioned (state {}), but not proven ours in this run: whoever did it holds the credential",
                    shown(provisioning)
                );
                let mut record = blank(Channel::Amt, ChannelState::Provisioned, reason);
                record.control_mode = Some(mode).filter(|mode| *mode != UNKNOWN).map(str::to_owned);
                return record;
            }
            if provisioning == "pre" {
                let reason = format!("{why}; not provisioned{}", network::caveats(input, &[]));
                let mut record = blank(Channel::Amt, ChannelState::Present, reason);
                record.confidence = Proof::Detected;
                return record;
            }
            blank(Channel::Amt, ChannelState::Unknown, because(input, "intel.amt.provisioning"))
        }
        "absent" => blank(Channel::Amt, ChannelState::Absent, why),
        "disabled" => blank(Channel::Amt, ChannelState::Disabled, why),
        _ => blank(Channel::Amt, ChannelState::Unknown, why),
    }
}

/// What this run saw of AMT that an earlier one proved, and that it did not confirm.
fn unconfirmed(input: &Assessment<'_>) -> String {
    if input.history.went_up(input.detection).is_some() {
        return "which a run of ours was taking to admin control mode when it ended".to_owned();
    }
    if input.history.left(input.detection).is_some() {
        return "which a run of ours was unprovisioning when it ended".to_owned();
    }
    let answered = input.outcome(step::AMT_CONFIRM, Status::Failed);
    match answered.filter(|outcome| outcome.evidence.contains_key("realm")) {
        Some(outcome) => {
            format!(
                "whose realm answers, and not as proven ({})",
                outcome.cause.as_deref().unwrap_or("drift")
            )
        }
        None => "which this run did not confirm".to_owned(),
    }
}

/// A login through the firmware's local path shows that the credential holds, and nothing about the network or the
/// power switch (reference/recovery.md 0 and 1.1).
const UNTRIED: &str = "reachability from another machine and power actions not tried";

/// What is known of the way from other machines, where AMT is as it was at the last proof.
fn reached(input: &Assessment<'_>) -> String {
    // A look from another host is known of the proof that decisions were made from.
    let confirmed = input.confirmed();
    let is_of_it = confirmed.is_none() || confirmed == input.history.amt.as_ref();
    match input.history.amt_remote.as_ref().filter(|_| is_of_it) {
        Some(proof) => format!(
            "reachable from another machine at {} by event {} ({}); power actions not tried",
            shown(&proof.address),
            shown(&proof.event),
            shown(&proof.time)
        ),
        None => UNTRIED.to_owned(),
    }
}

/// Client control mode asks the person at the screen before it redirects or changes the boot (reference/amt.md 8), so an
/// unattended machine can be switched and reset, and no more.
const CCM_LIMITS: &str = "client control mode: power control without consent; remote console and boot override only with \
                          user_consent of a person at the machine";

/// In admin control mode nobody is asked where consent is switched off, and what is switched on is what can be used.
const ACM_LIMITS: &str = "admin control mode: power control without consent; console and boot override as far as policy \
                          switched them on and consent off";

fn limits(mode: &str) -> &'static str {
    if mode == "acm" { ACM_LIMITS } else { CCM_LIMITS }
}

/// The mode of an activation, for a sentence.
pub(super) fn control_mode(done: Option<&crate::Outcome>) -> &'static str {
    match done.and_then(|done| text_of(done.evidence.get("control_mode"))) {
        Some("acm") => "admin control mode",
        _ => "client control mode",
    }
}

/// AMT that is ours, with the settings that were seen in force.
/// `pinned`: it is known which certificate AMT serves.
fn ours(
    mut record: ChannelRecord,
    input: &Assessment<'_>,
    mode: &str,
    settings: &[String],
    pinned: bool,
) -> ChannelRecord {
    record.can = ability(mode, settings);
    record.needs = words(&["mains", "standby_power", "wired_link"]);
    if network::is_wireless_only(input) {
        record.needs = words(&["mains", "standby_power"]);
    }
    if network::demands_certificates(settings) {
        record.needs.push("client_certificate".to_owned());
    }
    record.control_mode = Some(mode.to_owned());
    let detection = input.detection;
    let text = detection.known("intel.amt.version").or_else(|| detection.known("intel.me.version"));
    let reach = amt_reach(text, TlsWish::among(settings));
    if is_tls_alone(&reach) && !pinned {
        record.reason += "; which certificate it serves other machines is not on record, so `verify --remote` cannot tell it from \
                          others until a run with `--known-credential FILE --rotate` has read it";
    }
    record.reach = words(&reach);
    record
}

/// What AMT of ours can do with nobody at the machine, by its mode and the settings that were seen in force.
pub(crate) fn ability(mode: &str, settings: &[String]) -> Vec<String> {
    let mut can = words(&["power_on", "power_off", "reset", "power_cycle", "sensors"]);
    // AMT that goes off with the machine cannot switch it on.
    can.retain(|it| it != "power_on" || !network::is_off_with_the_machine(settings));
    let has = |word: &str| settings.iter().any(|it| it == word);
    if mode == "acm" && has("consent = none") {
        can.push("boot_override".to_owned());
    }
    let unattended = mode == "acm" && (has("consent = none") || has("consent = kvm"));
    for (word, capability, free) in [
        ("sol = true", "console_text", unattended),
        ("kvm = true", "console_kvm", mode == "acm" && has("consent = none")),
        ("ider = true", "media", unattended),
    ] {
        if has(word) && free {
            can.push(capability.to_owned());
        }
    }
    can
}

fn dash(input: &Assessment<'_>) -> ChannelRecord {
    let why = because(input, "dash.nic");
    match input.detection.text("dash.nic") {
        "present" => detected(
            Channel::Dash,
            ChannelState::Present,
            format!("{why}; whether it is set up is not known"),
        ),
        "absent" => blank(Channel::Dash, ChannelState::Absent, why),
        _ => blank(Channel::Dash, ChannelState::Unknown, why),
    }
}

fn ipmi(input: &Assessment<'_>) -> ChannelRecord {
    let why = because(input, "bmc.verdict");
    match input.detection.text("bmc.verdict") {
        "present" => {
            detected(Channel::Ipmi, ChannelState::Present, format!("{why}; its users were not looked at"))
        }
        "absent" | "false-sign" => blank(Channel::Ipmi, ChannelState::Absent, why),
        _ => blank(Channel::Ipmi, ChannelState::Unknown, why),
    }
}

fn redfish(input: &Assessment<'_>) -> ChannelRecord {
    let why = because(input, "bmc.verdict");
    match input.detection.text("bmc.verdict") {
        "absent" | "false-sign" => blank(Channel::Redfish, ChannelState::Absent, why),
        _ => blank(Channel::Redfish, ChannelState::Unknown, format!("{why}; Redfish was not asked")),
    }
}

/// The best of the watchdogs. One that resets does so only where a running system has armed it.
fn watchdog(input: &Assessment<'_>) -> ChannelRecord {
    let kind = |fact: &Fact| fact.value.as_text().unwrap_or(UNKNOWN).to_owned();
    let found: Vec<(String, String)> =
        input.detection.under("watchdog.").map(|fact| (fact.name.clone(), kind(fact))).collect();
    let of = |word: &str| found.iter().find(|(_, kind)| kind == word).map(|(name, _)| shown(name));
    let armed = "resets a hung system once the installed system arms and feeds it, which was not tried";
    if let Some(name) = of("reset") {
        let mut record = detected(Channel::Watchdog, ChannelState::Present, format!("{name} {armed}"));
        record.can = words(&["reset"]);
        record.needs = words(&["os_alive"]);
        return record;
    }
    if let Some(name) = of("virtual") {
        let reason = format!("{name} is virtual: it resets only if the host's watchdog action is reset");
        return detected(Channel::Watchdog, ChannelState::Present, reason);
    }
    if let Some(name) = of("alarm-only") {
        let reason = format!("{name} raises an alarm and cannot reset");
        return detected(Channel::Watchdog, ChannelState::Present, reason);
    }
    if let Some(name) = of("software") {
        let reason = format!("{name} is software: it hangs with the kernel, so it does not count");
        return blank(Channel::Watchdog, ChannelState::Absent, reason);
    }
    let reason = match found.first() {
        Some((name, _)) => because(input, name),
        None => "no watchdog was seen; a driver that is not loaded hides one".to_owned(),
    };
    blank(Channel::Watchdog, ChannelState::Unknown, reason)
}

/// Never proven by the machine itself: it can only wake what is off.
fn wol(input: &Assessment<'_>) -> ChannelRecord {
    let found: Vec<(&str, &str)> = input
        .detection
        .under("wol.")
        // The number of adapters is none.
        .filter(|fact| fact.value.as_text().is_some())
        .map(|fact| (fact.name.trim_start_matches("wol."), fact.value.as_text().unwrap_or(UNKNOWN)))
        .collect();
    let of = |word: &str| {
        let names: Vec<String> =
            found.iter().filter(|(_, it)| *it == word).map(|(name, _)| shown(name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = of("magic") {
        let reason = format!(
            "switched on now at {names}; whether the installed system keeps it, and a wake-up, were not tried"
        );
        let mut record = detected(Channel::Wol, ChannelState::Present, reason);
        record.can = words(&["power_on"]);
        record.needs = words(&["mains", "standby_power", "l2_neighbor", "wired_link"]);
        return record;
    }
    if let Some(names) = of("supported-off") {
        return detected(
            Channel::Wol,
            ChannelState::Disabled,
            format!("supported and switched off at {names}"),
        );
    }
    if !found.is_empty() && found.iter().all(|(_, it)| *it == "none") {
        return blank(Channel::Wol, ChannelState::Absent, "no interface supports it".to_owned());
    }
    let reason = input.detection.under("wol.").find_map(|fact| fact.reason.as_deref());
    blank(Channel::Wol, ChannelState::Unknown, reason.map_or("no interface was seen".to_owned(), shown))
}

fn vps_api(input: &Assessment<'_>) -> ChannelRecord {
    let why = because(input, "cloud.provider");
    match input.detection.text("cloud.provider") {
        UNKNOWN => blank(Channel::VpsApi, ChannelState::Unknown, why),
        "none" => blank(Channel::VpsApi, ChannelState::Absent, why),
        _ => detected(
            Channel::VpsApi,
            ChannelState::Present,
            format!("{why}; its API needs a token of the org"),
        ),
    }
}

fn hypervisor_api(input: &Assessment<'_>) -> ChannelRecord {
    let why = because(input, "virt.hypervisor");
    let rented = !["none", UNKNOWN].contains(&input.detection.text("cloud.provider"));
    match input.detection.text("virt.hypervisor") {
        UNKNOWN => blank(Channel::HypervisorApi, ChannelState::Unknown, why),
        "none" => blank(Channel::HypervisorApi, ChannelState::Absent, why),
        _ if rented => {
            let reason = format!("{why}; the host is the provider's, and its API stands in for it");
            blank(Channel::HypervisorApi, ChannelState::Absent, reason)
        }
        _ => {
            let reason = format!("{why}; a guest cannot know its host's address");
            detected(Channel::HypervisorApi, ChannelState::Present, reason)
        }
    }
}

fn detected(channel: Channel, state: ChannelState, reason: String) -> ChannelRecord {
    ChannelRecord { confidence: Proof::Detected, ..blank(channel, state, reason) }
}

fn blank(channel: Channel, state: ChannelState, reason: String) -> ChannelRecord {
    ChannelRecord {
        channel,
        state,
        reason,
        can: Vec::new(),
        needs: Vec::new(),
        // That a thing is not there was looked for; that nobody knows is nobody's observation.
        confidence: if state == ChannelState::Absent { Proof::Detected } else { Proof::Claimed },
        control_mode: None,
        credential: None,
        reach: Vec::new(),
        last_proof: None,
    }
}

/// A fact with its reason; what a capture cannot hold is said.
pub(super) fn because(input: &Assessment<'_>, name: &str) -> String {
    let value = shown(input.detection.text(name));
    match input.detection.fact(name).and_then(|fact| fact.reason.as_deref()) {
        Some(reason) => format!("{name} is {value}: {}", shown(reason)),
        None if input.detection.fact(name).is_none() && input.context.root == RootKind::Capture => {
            format!("{name} is {value}: the capture does not have it")
        }
        None => format!("{name} is {value}"),
    }
}

/// What an activation wrote and read back.
pub(super) fn settings(done: &crate::Outcome) -> Vec<String> {
    match done.evidence.get("settings") {
        Some(Value::List(items)) => items.iter().filter_map(Value::as_text).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn text_of(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_text)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
