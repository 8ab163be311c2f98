//! Which rule wins, and how that is explained.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{Explanation, KeyResult, Verdict, explain};

/// One matching rule of each class, least specific first.
const LADDER: [(&str, &str); 6] = [
    ("circumstance", "platform = \"intel\""),
    ("vendor", "vendor = \" dell INC. \""),
    ("model", "product = \"OptiPlex*\""),
    ("mac", "mac = \"00-1B-21-AA-BB-CD\""),
    ("identity", "serial = [\"OTHER\", \"5CG*\"]"),
    ("both", "uuid = \"4C4C4544-0042-3510-8052-B4C04F4D3933\", sku = \"0ac4\""),
];

fn rule(id: &str, matching: &str, priority: i64) -> String {
    format!("[[rule]]\nid = \"{id}\"\nmatch = {{ {matching} }}\npriority = {priority}\naction = \"ignore\"\n")
}

fn winner(rules: &str) -> Option<String> {
    Case::new(rules).plan().rule
}

#[test]
fn the_most_specific_class_wins_whatever_the_priority_and_the_order() {
    for (at, (id, matching)) in LADDER.iter().enumerate().take(5) {
        for (lower_id, lower) in &LADDER[..at] {
            for rules in [
                rule(lower_id, lower, 100) + &rule(id, matching, -100),
                rule(id, matching, -100) + &rule(lower_id, lower, 100),
            ] {
                assert_eq!(winner(&rules).as_deref(), Some(*id), "over {lower_id}");
            }
        }
    }
}

#[test]
fn inside_a_class_the_higher_priority_wins() {
    let (serial, uuid) = (LADDER[4], LADDER[5]);
    assert_eq!(winner(&(rule("a", serial.1, 1) + &rule("b", uuid.1, 2))).as_deref(), Some("b"));
    assert_eq!(winner(&(rule("a", serial.1, 3) + &rule("b", uuid.1, 2))).as_deref(), Some("a"));
    let tie = Case::new(&(rule("a", serial.1, 2) + &rule("b", uuid.1, 2)));
    assert!(tie.plan().refused());
}

#[test]
fn every_key_matches_what_it_should_and_nothing_else() {
    for (matching, hit) in [
        ("vendor = \"HP\"", false),
        ("product = \"OptiPlex 7000\"", true),
        ("product = \"OptiPlex 700\"", false),
        ("product = [\"Latitude*\", \"*7000\"]", true),
        ("sku = \"0AC?\"", true),
        ("serial = \"5cg1234abc\"", true),
        ("serial = \"5CG1234AB\"", false),
        ("mac = \"00:1b:21:aa:bb:ce\"", false),
        ("uuid = \"4c4c4544-0042-3510-8052-b4c04f4d3934\"", false),
        ("platform = \"amd\"", false),
        ("form_factor = \"desktop\"", true),
        ("form_factor = \"laptop\"", false),
        ("virtual = false", true),
        ("virtual = true", false),
        ("me_version = \">=16, <16.1\"", true),
        ("me_version = \"11\"", false),
        ("site = \"berlin\"", true),
        ("role = \"office\"", false),
        ("platform = \"intel\", me_version = \"16\", site = \"berlin\", virtual = false", true),
        ("platform = \"intel\", form_factor = \"laptop\"", false),
    ] {
        let case = Case::new(&rule("it", matching, 0)).context(|it| {
            it.site = Some("berlin".to_owned());
            it.role = Some("lab".to_owned());
        });
        assert_eq!(case.plan().rule.is_some(), hit, "{matching}");
    }
}

#[test]
fn what_is_unknown_never_matches() {
    for (fact, matching) in [
        ("host.vendor", "vendor = \"*\""),
        ("host.product", "product = \"unknown\""),
        ("host.sku", "sku = \"*\""),
        ("host.serial", "serial = \"*\""),
        ("host.macs", "mac = \"00:1b:21:aa:bb:cc\""),
        ("host.form_factor", "form_factor = \"desktop\""),
        ("virt.hypervisor", "virtual = true"),
        ("virt.hypervisor", "virtual = false"),
        ("intel.me.version", "me_version = \">=0\""),
    ] {
        let case = Case::new(&rule("it", matching, 0)).fact(fact, "unknown");
        assert_eq!(case.plan().rule, None, "{matching}");
        let mut absent = case.clone();
        absent.detection.facts.retain(|it| it.name != fact);
        assert_eq!(absent.plan().rule, None, "{matching}");
        let explained = explain(&case.policy, &case.detection, &case.context);
        let key = &explained.rules[0].why.keys[0];
        assert_eq!(key.result, KeyResult::Unknown);
        assert!(key.reason.is_some());
    }
    let untold = Case::new(&(rule("a", "site = \"x\", role = \"y\"", 0)));
    let text = explain(&untold.policy, &untold.detection, &untold.context).text();
    assert!(text.contains("--site") && text.contains("--role"), "{text}");
}

#[test]
fn explain_tells_of_every_rule_and_every_key() {
    let rules = rule("no", "vendor = \"HP\", platform = \"intel\"", 0)
        + &rule("yes", "product = \"OptiPlex*\"", 2)
        + &rule("unsure", "me_version = \"16\", role = \"lab\"", 0);
    let case = Case::new(&rules).fact("host.vendor", "De\u{1b}[31mll").fact("intel.me.version", "unknown");
    let explained = explain(&case.policy, &case.detection, &case.context);
    assert_eq!(
        explained.text(),
        "policy acme serial 7\n\
         + rule yes (line 13): ignore, class model, priority 2\n    \
         = product: wants OptiPlex*, found OptiPlex 7000 \n\
         - rule no (line 8): ignore, class vendor, priority 0\n    \
         x vendor: wants HP, found De\\u{1b}[31mll\n    \
         = platform: wants intel, found intel\n\
         - rule unsure (line 18): ignore, class circumstance, priority 0\n    \
         ? role: wants lab, found unknown (not told: give --role)\n    \
         ? me_version: wants 16, found unknown (nobody\\u{1b}[2J knows)\n\
         rule yes applies: ignore\n"
    );
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["rules"][1]["keys"][0]["result"], "different");
    assert_eq!(json["verdict"]["kind"], "rule");
}

#[test]
fn explain_tells_of_ties_and_defaults() {
    let verdict = |rules: &str| {
        let case = Case::new(rules);
        let Explanation { verdict, .. } = explain(&case.policy, &case.detection, &case.context);
        verdict
    };
    assert!(matches!(verdict(""), Verdict::Defaults { .. }));
    let tie = verdict(&(rule("a", LADDER[4].1, 0) + &rule("b", LADDER[5].1, 0)));
    assert_eq!(tie, Verdict::Tie { ids: vec!["a".to_owned(), "b".to_owned()] });
}
