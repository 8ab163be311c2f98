use oob_policy::{ChannelState, Proof, RootKind, shown};

use super::super::json;
use super::super::testing::{HOSTILE, desktop, harmless, hostile};
use super::*;

/// The page with everything in `<...>` only, as a browser would see it.
fn tags(page: &str) -> Vec<String> {
    page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap().to_owned()).collect()
}

#[test]
fn shows_what_the_report_holds() {
    let page = html(&desktop()).unwrap();
    for text in [
        "simulated machine",
        "Dell Inc. OptiPlex 7000 (7XK4PQ3)",
        "acme-clients",
        "amt.1.0123456789abcdef.age",
        "16992/http-digest",
        "power on, power off, reset, power cycle",
        "The MEBx password, which cannot be read.",
        "smbios:131",
        "inferred",
        "unknown(capture)",
        "cleartext-port",
        "not reached",
        "Not in the plan",
        "Digest:9F2E0A41C7D85B3366AA10F4E21B7C90",
        "The policy expires in 12 days.",
        "vault (break-glass)",
        "physical access",
        "identity=iTCO_wdt timeout=30",
        "<td data-label=\"Known by\">credential proven locally</td>",
        "Reachability from another machine and power actions were not tried",
        "<b>set up</b><small>not tried</small>",
        "Facts, as found before anything was done",
    ] {
        assert!(page.contains(text), "{text}");
    }
    if let Some(path) = std::env::var_os("OOB_SHOW_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
}

#[test]
fn no_power_action_is_called_proven() {
    let page = html(&desktop()).unwrap();
    assert!(!page.contains(">proven<") && !page.contains("<b>yes</b>"));
    let mut bare = desktop();
    bare.capability.summary.independent_paths = 0;
    bare.capability.summary.can_power_cycle = false;
    bare.capability.summary.can_power_on = false;
    assert!(!html(&bare).unwrap().contains("not tried</small>"));
}

#[test]
fn what_is_switched_off_has_no_credential_that_was_proven() {
    let mut off = desktop();
    for record in &mut off.capability.channels {
        (record.state, record.confidence) = (ChannelState::Disabled, Proof::Proven);
    }
    let page = html(&off).unwrap();
    assert!(page.contains("switched off and read back"));
    assert!(!page.contains("\"Known by\">credential"));
}

#[test]
fn backticks_are_code_and_what_is_in_them_stays_text() {
    for (text, expected) in [
        (
            "Set it up with `use`, or `<b>`.",
            "<div>Set it up with <code>use</code>, or <code>&#60;b&#62;</code>.",
        ),
        ("one ` is <none>", "<div>one ` is &#60;none&#62;"),
        ("`a` and ` b", "<div><code>a</code> and ` b"),
        ("``", "<div><small"),
    ] {
        let mut report = desktop();
        report.findings.truncate(1);
        report.findings[0].text = text.to_owned();
        report.plan.steps[0].reason = text.to_owned();
        let page = html(&report).unwrap();
        let reason = expected.replace("<div>", "<dd>").replace("<small", "</dd>");
        assert!(text == "``" || page.contains(&reason), "{reason}: {page}");
        assert!(page.contains(expected), "{text}: {page}");
    }
}

#[test]
fn only_hashes_and_ids_break_within_words() {
    let rules: Vec<&str> = STYLE.lines().filter(|line| line.contains("overflow-wrap: anywhere")).collect();
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert!(rules[0].starts_with(".code {"), "{}", rules[0]);
}

/// On a narrow screen the tables stack, so each cell must say which column it is of.
#[test]
fn stacked_cells_are_labeled() {
    let page = html(&desktop()).unwrap();
    for label in ["Known by", "Can", "Needs", "Reach and credential", "Source", "Confidence"] {
        assert!(page.contains(&format!("data-label=\"{label}\"")), "{label}");
        assert!(page.contains(&format!("<th>{label}</th>")), "{label} is no column");
    }
    let narrow = STYLE.split("@media (max-width: 40rem)").nth(1).unwrap();
    assert!(narrow.contains("attr(data-label)") && narrow.contains(".wide table { min-width: 0; }"));
}

#[test]
fn only_other_roots_have_a_banner() {
    let mut report = desktop();
    for (root, banner) in [
        (RootKind::Simulated, Some("simulated machine")),
        (RootKind::Capture, Some("captured machine")),
        (RootKind::Live, None),
    ] {
        report.root = root;
        let page = html(&report).unwrap();
        assert_eq!(page.contains("class=\"banner\""), banner.is_some());
        assert!(banner.is_none_or(|words| page.contains(words)));
    }
}

/// Whatever foreign text says, the page has the tags and attributes that a harmless one has.
#[test]
fn foreign_text_stays_text() {
    let page = html(&hostile()).unwrap();
    assert_eq!(tags(&page), tags(&html(&harmless()).unwrap()));
    assert!(!page.contains("<script") && !page.contains("<img"));
    let visible = page.replace('\n', "");
    assert_eq!(shown(&visible), visible);
    assert!(page.contains("\\u{202e}txt"), "the override must be visible as text");
    // The test has teeth: the text stands in the page, escaped.
    assert!(page.matches("alert(1)").count() > 40);
}

#[test]
fn loads_nothing_and_runs_nothing() {
    let page = html(&desktop()).unwrap();
    for word in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "javascript", " on"] {
        let in_tags = tags(&page).iter().any(|tag| tag.contains(word));
        assert!(!in_tags && !STYLE.contains(&format!("{word}\"")) && !STYLE.contains("url("), "{word}");
    }
    assert!(!STYLE.contains('<') && !STYLE.contains("@import"));
    let hash = BASE64_STANDARD.encode(crate::state::sha256(STYLE.as_bytes()));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")), "{hash}");
    assert!(page.contains(&format!("<style>{STYLE}</style>")));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn json_is_the_same_report() {
    let report = hostile();
    let text = json(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && text.contains("\\u202e"));
    assert!(HOSTILE.contains('\u{202e}'));
}
