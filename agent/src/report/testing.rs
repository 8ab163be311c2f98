//! Reports for the tests of this module.

use std::collections::BTreeMap;

use oob_policy::{
    Action, Agent, Capability, CapabilitySummary, Channel, ChannelRecord, ChannelState, Exit, Fact, Finding,
    Outcome, Plan, PolicyRef, Proof, Report, Reversibility, RootKind, Severity, Status, Step, StepKind,
    Value,
};

/// Things that foreign text must not do: steer a terminal, open a tag, leave an attribute, start a formula, reorder.
pub(super) const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}<script>alert(1)</script>\"'><img src=x onerror=y>&lt;\r\n=cmd|' /C calc'!A0\u{202e}txt\u{9b}31m";

/// A simulated desktop on which client control mode was set up.
pub(super) fn desktop() -> Report {
    filled(&|text| text.to_owned())
}

/// The same report with every foreign text replaced.
pub(super) fn hostile() -> Report {
    filled(&|_| HOSTILE.to_owned())
}

/// The same report with every foreign text replaced by a harmless word.
pub(super) fn harmless() -> Report {
    filled(&|_| "word".to_owned())
}

fn filled(text: &dyn Fn(&str) -> String) -> Report {
    Report {
        schema: Report::SCHEMA.to_owned(),
        root: RootKind::Simulated,
        device_id: text("d1-abcdefghijklmnopqrstuvwxyz"),
        run_id: text("019aa000-0000-7000-8000-000000000000"),
        time: text("2026-11-21T10:00:00Z"),
        clock_trusted: false,
        agent: Agent { name: text("oob-agent"), version: text("0.1.0") },
        policy: policy(text),
        facts: facts(text),
        plan: Plan {
            action: Action::Use,
            rule: Some(text("office")),
            steps: steps(text),
            warnings: vec![text("The policy expires in 12 days.")],
        },
        outcomes: outcomes(text),
        capability: Capability {
            schema: Capability::SCHEMA.to_owned(),
            channels: channels(text),
            summary: CapabilitySummary {
                can_power_cycle: true,
                can_power_on: true,
                can_see_console: false,
                can_boot_media: false,
                independent_paths: 1,
                worst_case: text("physical access"),
            },
        },
        findings: vec![
            Finding {
                id: text("policy-unsigned"),
                severity: Severity::Info,
                text: text("The policy has no signature."),
            },
            Finding {
                id: text("cleartext-port"),
                severity: Severity::Risk,
                text: text("AMT 16.0 serves 16992 without TLS; policy does not ask for TLS yet."),
            },
            Finding {
                id: text("consent"),
                severity: Severity::Warning,
                text: text(
                    "Client control mode asks a person at the machine before redirection and boot changes.",
                ),
            },
        ],
        changed: true,
        exit: Exit::Satisfied,
        reason: text("satisfied"),
        verdict: text(
            "AMT is in client control mode with a password that only the escrow recipients can read.",
        ),
        not_assessed: vec![
            text("Whether AMT answers from another machine: only a peer can prove that."),
            text("The MEBx password, which cannot be read."),
        ],
    }
}

fn policy(text: &dyn Fn(&str) -> String) -> PolicyRef {
    PolicyRef {
        name: text("acme-clients"),
        serial: 7,
        sha256: text("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        rule: Some(text("office")),
        action: Action::Use,
        trust: text("unsigned"),
        recipients: vec![text("ops (ops) 5e3c1f0a9b7d2c44"), text("vault (break-glass) 0b7d2c445e3c1f0a")],
    }
}

fn facts(text: &dyn Fn(&str) -> String) -> Vec<Fact> {
    // Names are our own words, but the page must not rely on that.
    let mut facts = vec![
        Fact::observed("host.vendor", text("Dell Inc."), "smbios:1"),
        Fact::observed("host.product", text("OptiPlex 7000"), "smbios:1"),
        Fact::observed("host.serial", text("7XK4PQ3"), "smbios:1"),
        Fact::observed("intel.me.state", text("normal"), &text("pci:00:16.0 config")),
        Fact::observed("intel.me.version", text("16.0.15.1810"), "sys/class/mei/mei0/fw_ver"),
        Fact::inferred("intel.amt.verdict", text("capable"), "intel.me.sku, smbios:131"),
        Fact::observed("intel.amt.provisioning", text("pre"), "pthi:0x11"),
        Fact::hint("bmc.vendor", text("none"), "pci"),
        Fact::unknown("dash.nic", "sys/bus/pci", text("unknown(capture)")),
        Fact::observed(
            "watchdog.0",
            map(&[("identity", text("iTCO_wdt")), ("timeout", text("30"))]),
            "sys/class/watchdog",
        ),
        Fact::observed("wol.enp0s31f6", vec![text("magic"), text("phy")], "sys/class/net"),
        Fact::observed("secure_boot", true, "sys/firmware/efi"),
    ];
    facts.push(Fact::observed(&text("strange.name"), 7_u64, &text("somewhere")));
    facts
}

fn map(members: &[(&str, String)]) -> Value {
    Value::Map(members.iter().map(|(name, text)| ((*name).to_owned(), Value::from(text.clone()))).collect())
}

fn steps(text: &dyn Fn(&str) -> String) -> Vec<Step> {
    let step = |id: &str, what| Step {
        id: text(id),
        channel: Some(Channel::Amt),
        what,
        reason: text("rule office asks for use, and AMT is capable and not provisioned"),
        precondition: text("AMT is still not provisioned"),
        reversibility: Reversibility::Undoable,
    };
    vec![
        step("amt.setup-ccm", StepKind::AmtSetupCcm { settings: Default::default() }),
        step("neutralize.report-only", StepKind::ReportOnly { because: vec![text("no image was given")] }),
        step("record", StepKind::Record),
    ]
}

fn outcomes(text: &dyn Fn(&str) -> String) -> Vec<Outcome> {
    let outcome = |step: &str, status, words: &str| Outcome {
        step: text(step),
        status,
        changed: status == Status::Done,
        exit: Exit::Satisfied,
        cause: Some(text("cause")),
        text: text(words),
        evidence: BTreeMap::from([
            ("control_mode".to_owned(), Value::from(text("ccm"))),
            ("realm".to_owned(), Value::from(text("Digest:9F2E0A41C7D85B3366AA10F4E21B7C90"))),
            (text("strange"), Value::from(text("value"))),
        ]),
    };
    vec![
        outcome(
            "amt.setup-ccm",
            Status::Done,
            "Client control mode is on, and a fresh login with the new password succeeded.",
        ),
        outcome("extra", Status::Skipped, "Nothing to do."),
    ]
}

fn channels(text: &dyn Fn(&str) -> String) -> Vec<ChannelRecord> {
    let record = |channel, state, reason: &str, confidence| ChannelRecord {
        channel,
        state,
        reason: text(reason),
        can: vec![],
        needs: vec![],
        confidence,
        control_mode: None,
        credential: None,
        reach: vec![],
        last_proof: None,
    };
    vec![
        ChannelRecord {
            can: ["power_on", "power_off", "reset", "power_cycle"].map(text).to_vec(),
            needs: ["standby_power", "wired_link"].map(text).to_vec(),
            control_mode: Some(text("ccm")),
            credential: Some(text("amt.1.0123456789abcdef.age")),
            reach: vec![text("16992/http-digest")],
            last_proof: Some(text("e1-690ff944ccfc6f8423e669dc2c48ee9867c918c08c9534bb7bddb4c30d5419f1")),
            ..record(
                Channel::Amt,
                ChannelState::Verified,
                "a fresh login succeeded in this run",
                Proof::Proven,
            )
        },
        record(
            Channel::Watchdog,
            ChannelState::Present,
            "iTCO_wdt, not armed by this agent",
            Proof::Detected,
        ),
        record(Channel::Wol, ChannelState::Present, "enp0s31f6 can wake by magic packet", Proof::Claimed),
        record(Channel::Dash, ChannelState::Absent, "no NIC with DASH firmware", Proof::Detected),
        record(Channel::Ipmi, ChannelState::Unknown, "unknown(capture)", Proof::Claimed),
    ]
}
