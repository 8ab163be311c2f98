//! Whatever a machine, its history and the circumstances are: `decide` and `assess` answer, always the same, and a plan
//! that refuses does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::{Case, policy};
use oob_policy::{
    AmtOurs, Assessment, CleanVerdict, Context, Detection, Exit, Fact, Firmware, History, ImageSource,
    Method, OpenChange, Outcome, Policy, PolicyTrust, RootKind, SoftDisable, Status, StepKind, Value, assess,
    decide, explain, refusal_outcomes, render,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 23] = [
    "host.vendor",
    "host.product",
    "host.sku",
    "host.serial",
    "host.uuid",
    "host.macs",
    "host.form_factor",
    "host.cpu.vendor",
    "virt.hypervisor",
    "cloud.provider",
    "intel.me.version",
    "intel.me.state",
    "intel.amt.version",
    "intel.amt.verdict",
    "intel.amt.provisioning",
    "intel.amt.control_mode",
    "intel.amt.pki_suffix",
    "intel.amt.link",
    "dash.nic",
    "bmc.verdict",
    "watchdog.0",
    "wol.eth0",
    "amd.pro",
];

const WORDS: [&str; 28] = [
    "unknown",
    "",
    "none",
    "intel",
    "amd",
    "capable",
    "standard-manageability",
    "absent",
    "absent-or-disabled",
    "disabled",
    "pre",
    "in",
    "post",
    "ccm",
    "acm",
    "16.0.15.1810",
    "19.0",
    "6.1",
    "present",
    "likely",
    "false-sign",
    "kvm",
    "magic",
    "reset",
    "software",
    "desktop",
    "Dell Inc.",
    "\u{1b}[2J<script>",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => select(&WORDS[..]).prop_map(Value::from),
        1 => "\\PC{0,12}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => vec(select(&WORDS[..]), 0..3).prop_map(Value::from),
    ]
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    // Mostly every fact, as detection prints them; sometimes holes and duplicates.
    let likely = vec(value(), NAMES.len()).prop_map(|values| {
        NAMES.iter().zip(values).map(|(name, value)| Fact::observed(name, value, "test")).collect::<Vec<_>>()
    });
    let wild = vec((select(&NAMES[..]), value(), option::of("\\PC{0,8}")), 0..30).prop_map(|facts| {
        let fact = |(name, value, reason): (&str, Value, Option<String>)| {
            let fact = Fact::hint(name, value, "test");
            if let Some(reason) = reason { fact.because(reason) } else { fact }
        };
        facts.into_iter().map(fact).collect()
    });
    // A machine with AMT, so that the interesting branches are reached often.
    let vpro = (select(vec!["pre", "in", "post", "unknown"]), select(vec!["none", "ccm", "acm", "unknown"]))
        .prop_map(|(provisioning, mode)| Case::new("").amt(provisioning, mode).detection.facts);
    prop_oneof![likely, wild, vpro]
}

fn history() -> impl Strategy<Value = History> {
    let ours = (0_u32..4, select(vec!["ccm", "acm", "?"])).prop_map(|(generation, mode)| AmtOurs {
        generation,
        realm: "Digest:00".to_owned(),
        control_mode: mode.to_owned(),
        event: "e1-x".to_owned(),
        escrow: "amt.1.00.age".to_owned(),
        sealed: generation != 3,
        recipients: Vec::new(),
        settings: vec!["sol = true".to_owned()],
        tls_pin: None,
        tls_leaf: None,
        network_pin: None,

        sealed_by: None,
        mebx_escrow: None,
    });
    let open =
        (0_u32..4, any::<bool>(), any::<bool>()).prop_map(|(generation, call_sent, rotation)| OpenChange {
            generation,
            realm: "Digest:00".to_owned(),
            escrow: "amt.2.00.age".to_owned(),
            call_sent,
            tls_pin: None,
            rotation,
            run_id: String::new(),
            earlier: Vec::new(),
        });
    let seen = option::of((0_u64..10, select(vec!["aa", "cc"])));
    (option::of(ours), option::of(open), seen, any::<bool>()).prop_map(|(amt, open, seen, forked)| History {
        amt,
        open,
        forked,
        policy: seen.map(|(serial, sha256)| (serial, sha256.to_owned())),
        rejected: if forked { vec!["x\u{1b}".to_owned()] } else { Vec::new() },
        ..History::default()
    })
}

fn context() -> impl Strategy<Value = Context> {
    let soft_disable = prop_oneof![
        Just(SoftDisable::Possible),
        Just(SoftDisable::AlreadySet),
        "\\PC{0,8}".prop_map(SoftDisable::Refused)
    ];
    let clean = prop_oneof![
        Just(CleanVerdict::Possible),
        Just(CleanVerdict::AlreadyClean),
        "\\PC{0,8}".prop_map(CleanVerdict::Refused)
    ];
    let source = select(vec![ImageSource::Given, ImageSource::Chip]);
    let image = (soft_disable, clean, source, option::of(select(&WORDS[..])), "\\PC{0,8}").prop_map(
        |(soft_disable, clean, source, version, warning)| Firmware {
            source,
            sha256: "bb".to_owned(),
            size: 1,
            me_version: version.map(str::to_owned),
            pch: None,
            generation: None,
            soft_disable,
            clean,
            keep: vec!["MFS".to_owned()],
            boot_guard: Some(warning.clone()).filter(|_| source == ImageSource::Given),
            warnings: vec![warning.clone()],
            clean_warnings: vec![warning],
        },
    );
    let roots = vec![RootKind::Live, RootKind::Capture, RootKind::Simulated];
    let trusts = vec![PolicyTrust::Unsigned, PolicyTrust::UnsignedAllowed];
    let place = || option::of(select(vec!["berlin", "opsec", "office"]).prop_map(str::to_owned));
    let now = prop_oneof![4 => Just(case::NOW), 1 => any::<i64>()];
    (
        select(roots),
        select(trusts),
        place(),
        place(),
        now,
        any::<[bool; 4]>(),
        option::of("\\PC{0,8}"),
        option::of(image),
        option::of("\\PC{0,8}"),
        option::of(prop_oneof![Just(Ok("CN=a".to_owned())), Just(Err("gone".to_owned()))]),
    )
        .prop_map(
            |(
                root,
                trust,
                site,
                role,
                now,
                [clock_trusted, weak_id, known_credential, rotate],
                escrow_not_durable,
                firmware,
                flash_unread,
                certificate,
            )| {
                Context {
                    root,
                    site,
                    role,
                    now,
                    clock_trusted,
                    trust,
                    weak_id,
                    escrow_not_durable,
                    firmware,
                    flash_unread,
                    certificate,
                    tls_ca_unusable: None,
                    named: Default::default(),
                    known_credential,
                    rotate,
                }
            },
        )
}

fn policies() -> impl Strategy<Value = Policy> {
    let rules = [
        "",
        "[[rule]]\nid = \"a\"\nmatch = { platform = \"intel\" }\naction = \"use\"\n",
        "[[rule]]\nid = \"a\"\nmatch = { platform = \"intel\" }\naction = \"use\"\namt = { sol = true, take_over = true, control_mode = \"ccm\" }\n",
        "[[rule]]\nid = \"a\"\nmatch = { platform = \"intel\" }\naction = \"use\"\namt = { mebx = true, control_mode = \"acm-or-ccm\", certificate = \"file:/c\" }\n",
        "[[rule]]\nid = \"a\"\nmatch = { virtual = false }\naction = \"neutralize\"\nneutralize = { methods = [\"clean+soft-disable\", \"soft-disable\", \"report-only\"] }\n",
        "[[rule]]\nid = \"a\"\nmatch = { product = \"*\" }\naction = \"neutralize\"\nneutralize = { methods = [\"lockdown\", \"soft-disable\"], read_flash = true }\n",
        "[[rule]]\nid = \"a\"\nmatch = { serial = \"*\" }\naction = \"use\"\n[[rule]]\nid = \"b\"\nmatch = { uuid = \"4c4c4544-0042-3510-8052-b4c04f4d3933\" }\naction = \"ignore\"\n",
    ];
    select(rules.map(policy).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn decide_is_total_and_deterministic_and_refusals_stand_alone(
        policy in policies(), facts in facts(), history in history(), context in context()
    ) {
        let detection = Detection::new(context.root, None, facts);
        let plan = decide(&policy, &detection, &history, &context);
        prop_assert_eq!(&plan, &decide(&policy, &detection, &history, &context));
        prop_assert!(!plan.steps.is_empty(), "a plan says what becomes of the machine");
        let refusals = plan.steps.iter().filter(|step| matches!(step.what, StepKind::Refuse { .. })).count();
        prop_assert!(refusals == 0 || refusals == plan.steps.len());
        let mut ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), plan.steps.len(), "ids tell steps apart");

        // What may never happen, whatever the branch that led there.
        let provisioning = detection.text("intel.amt.provisioning");
        for step in &plan.steps {
            match &step.what {
                StepKind::AmtUndo { generation } => {
                    let open = history.open.as_ref();
                    prop_assert!(open.is_some_and(|open| open.call_sent && open.generation == *generation));
                    prop_assert!(open.is_some_and(|open| !open.rotation), "it had a password before");
                    prop_assert!(provisioning == "in" || detection.text("intel.amt.control_mode") != "acm");
                }
                StepKind::AmtComplete { realm, .. } | StepKind::AmtRotate { realm, .. } => {
                    prop_assert!(context.known_credential && context.escrow_not_durable.is_none() && !context.weak_id);
                    let known = history.amt.iter().map(|ours| &ours.realm);
                    prop_assert!(known.chain(history.open.iter().map(|open| &open.realm)).any(|it| it == realm));
                    prop_assert!(provisioning != "pre" || detection.text("intel.amt.control_mode") != "none");
                }
                StepKind::AmtTakeOver { .. } => {
                    prop_assert!(context.known_credential && context.escrow_not_durable.is_none() && !context.weak_id);
                    prop_assert!(policy.rules.iter().any(|rule| rule.amt().take_over));
                }
                StepKind::AmtSetupCcm { .. } => {
                    prop_assert!(context.escrow_not_durable.is_none() && !context.weak_id);
                    let undone = plan.steps.iter().any(|step| matches!(step.what, StepKind::AmtUndo { .. }));
                    prop_assert!(undone || provisioning == "pre");
                    prop_assert!(context.root != RootKind::Live, "the recipients are the published ones");
                }
                StepKind::AmtSetupAcm { .. } => {
                    prop_assert!(context.escrow_not_durable.is_none() && !context.weak_id);
                    prop_assert!(matches!(context.certificate, Some(Ok(_))));
                }
                StepKind::Stage { method, .. } => {
                    prop_assert!(context.root != RootKind::Live || context.trust != PolicyTrust::Unsigned);
                    prop_assert!(!context.weak_id);
                    let image = context.firmware.as_ref().unwrap();
                    prop_assert!(!matches!(image.soft_disable, SoftDisable::Refused(_)));
                    let cleans = *method == Method::CleanAndSoftDisable;
                    prop_assert!(!cleans || !matches!(image.clean, CleanVerdict::Refused(_)));
                    let newer = |version: &str| ["16.0.15.1735", "16.1", "19.0"].contains(&version);
                    prop_assert!(!cleans || !image.me_version.as_deref().is_some_and(newer));
                }
                StepKind::AmtLockdown { .. } => {
                    prop_assert!(context.root != RootKind::Live || context.trust != PolicyTrust::Unsigned);
                    let ended = plan.steps.iter().any(|step| {
                        matches!(step.what, StepKind::AmtUndo { .. } | StepKind::AmtUnprovision { .. })
                    });
                    prop_assert!(!context.weak_id && (ended || provisioning == "pre"));
                }
                StepKind::ReadFlash => {
                    prop_assert!(context.firmware.is_none() && context.flash_unread.is_none());
                    prop_assert!(context.root != RootKind::Live || context.trust != PolicyTrust::Unsigned);
                }
                _ => {}
            }
        }

        // The report of it: nothing raw in what the product itself says.
        let outcomes = if plan.refused() { refusal_outcomes(&plan) } else { plan.steps.iter().map(done).collect() };
        let input = Assessment {
            policy: &policy, detection: &detection, history: &history, context: &context, plan: &plan,
            outcomes: &outcomes, device_id: "d1-x", run_id: "r", time: "t", version: "0",
        };
        let report = assess(&input);
        prop_assert_eq!(&report, &assess(&input));
        prop_assert_eq!(report.capability.channels.len(), 9);
        prop_assert_eq!(report.exit == Exit::Satisfied, !plan.refused());
        let said = report.capability.channels.iter().map(|it| &it.reason)
            .chain(report.findings.iter().map(|it| &it.text))
            .chain(plan.steps.iter().map(|step| &step.reason))
            .chain(plan.warnings.iter());
        for text in said {
            prop_assert!(text.chars().all(|it| !it.is_control()), "{:?}", text);
        }
        let page = explain(&policy, &detection, &context).text();
        prop_assert!(page.chars().all(|it| it == '\n' || !it.is_control()), "{:?}", page);
    }
}

fn done(step: &oob_policy::Step) -> Outcome {
    Outcome {
        step: step.id.clone(),
        status: Status::Done,
        changed: true,
        exit: Exit::Satisfied,
        cause: None,
        text: "done".to_owned(),
        evidence: std::iter::once(("proof".to_owned(), Value::from("read-back"))).collect(),
    }
}

/// A whole policy from which characters are taken and into which others are put.
const WHOLE: &str = include_str!("bad/unknown-key-in-every-table.toml");

proptest! {
    #[test]
    fn any_text_is_read_and_its_diagnostics_are_shown(
        cuts in vec((0..WHOLE.len(), 0_usize..20, "[\\PC\u{1b}\u{0}\n\"'=\\[\\]{}#]{0,6}"), 0..6), noise in "\\PC{0,80}"
    ) {
        let mut source = WHOLE.to_owned();
        for (at, length, text) in cuts {
            let at = at.min(source.len());
            let end = (at + length).min(source.len());
            if source.is_char_boundary(at) && source.is_char_boundary(end) {
                source.replace_range(at..end, &text);
            }
        }
        for source in [source, noise] {
            let (policy, diagnostics) = Policy::parse(&source, "policy.toml", "00");
            prop_assert!(policy.is_some() || !diagnostics.is_empty(), "a refusal says why");
            let page = render(&diagnostics, &source, "policy.toml", false);
            prop_assert!(page.chars().all(|it| it == '\n' || !it.is_control()), "{:?}", page);
            for found in &diagnostics {
                prop_assert!(found.line >= 1 && found.column >= 1);
                prop_assert!(!found.help.is_empty());
            }
        }
    }

    /// A password under a telling key is never shown, wherever the file is broken around it.
    #[test]
    fn a_secret_is_masked_in_broken_files_too(
        at in 0..WHOLE.len(), broken in "[\\[\\]{}\"'=,#]{0,4}", key in select(vec!["password", "mebx_password", "api-token", "psk"])
    ) {
        let line = WHOLE[..at].rfind('\n').map_or(0, |it| it + 1);
        let source = format!("{}{broken}\n{key} = \"Canary-Pa55\"\n{}", &WHOLE[..line], &WHOLE[line..]);
        let (policy, diagnostics) = Policy::parse(&source, "policy.toml", "00");
        prop_assert!(policy.is_none());
        let page = render(&diagnostics, &source, "policy.toml", false) + &format!("{diagnostics:?}");
        prop_assert!(!page.contains("Canary"), "{}", page);
    }
}
