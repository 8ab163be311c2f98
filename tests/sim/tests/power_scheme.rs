//! In which states of the host AMT stays on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use peer::*;

const PASSWORD: &str = "Correct-horse-1";
const SCHEME: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SystemPowerScheme";
const ASSOCIATION: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ElementSettingData";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const POLICY: &str = "01 01 00 00 47 00 00 04 00 00 00 00";

fn ask(lme: &mut Lme, body: &str) -> Answer {
    post(lme, "admin", PASSWORD, body)
}

fn pulled(lme: &mut Lme, class: &str) -> String {
    let open = envelope(
        &format!("{ENUMERATION}/Enumerate"),
        class,
        &format!("<Enumerate xmlns=\"{ENUMERATION}\"/>"),
    );
    let context = leaf(&ask(lme, &open), "EnumerationContext");
    let pull =
        format!("<Pull xmlns=\"{ENUMERATION}\"><EnumerationContext>{context}</EnumerationContext></Pull>");
    ask(lme, &envelope(&format!("{ENUMERATION}/Pull"), class, &pull)).body
}

/// Each power scheme's name with whether the association says that it holds.
fn held(lme: &mut Lme) -> Vec<(String, String)> {
    let text = pulled(lme, ASSOCIATION);
    let document = roxmltree::Document::parse(&text).unwrap();
    let named = |node: roxmltree::Node<'_, '_>, name: &str| {
        let mut found = node.descendants().filter(|it| it.tag_name().name() == name);
        found.next().map(|it| it.text().unwrap_or("").to_owned())
    };
    let items = document.descendants().filter(|it| it.tag_name().name() == "CIM_ElementSettingData");
    let schemes = items.filter_map(|item| {
        let setting = item.children().find(|it| it.tag_name().name() == "SettingData")?;
        (named(setting, "ResourceURI")? == SCHEME).then_some(())?;
        Some((named(setting, "Selector")?, named(item, "IsCurrent")?))
    });
    schemes.collect()
}

fn set(lme: &mut Lme, selector: Option<(&str, &str)>, fields: &str) -> Answer {
    let request = invocation(SCHEME, "SetPowerScheme", fields);
    let request = selector.map_or(request.clone(), |(name, value)| selecting(&request, name, value));
    ask(lme, &request)
}

#[test]
fn a_scheme_is_put_in_force_by_its_instance_and_told_by_the_association() {
    for (profile, words) in
        [("vpro-laptop-wifi-amt16", "Mobile: ON in S0"), ("vpro-desktop-amt16", "Desktop: ON in S0")]
    {
        let sim = Sim::start(profile, &["--time-scale", "0.01"]);
        activate(&sim, PASSWORD);
        let mut lme = Lme::open(&sim);
        let listed = pulled(&mut lme, SCHEME);
        assert!(
            listed.contains(&format!("Description>{words}<")) && listed.contains(">SCHEME 1<"),
            "{listed}"
        );
        let pairs = |first: &str, second: &str| {
            vec![("SCHEME 0".to_owned(), first.to_owned()), ("SCHEME 1".to_owned(), second.to_owned())]
        };
        assert_eq!(held(&mut lme), pairs("1", "2"));
        assert_eq!(pthi(&sim, POLICY).1[2..], *words.as_bytes());
        assert_eq!(leaf(&set(&mut lme, Some(("InstanceID", "SCHEME 1")), ""), "ReturnValue"), "0");
        assert_eq!(held(&mut lme), pairs("2", "1"));
        let told = String::from_utf8(pthi(&sim, POLICY).1[2..].to_vec()).unwrap();
        assert!(told.contains("ME Wake in S3, S4-5"), "{told}");
        let guid = leaf(&ask(&mut lme, &envelope(GET, SCHEME, "")), "SchemeGUID");
        assert_eq!(leaf(&set(&mut lme, Some(("SchemeGUID", &guid)), ""), "ReturnValue"), "0");
        assert_eq!(held(&mut lme), pairs("1", "2"));
    }
}

#[test]
fn what_names_no_scheme_is_refused() {
    let sim = Sim::vpro(&[]);
    activate(&sim, PASSWORD);
    let mut lme = Lme::open(&sim);
    for (selector, fields, wanted) in [
        (None, "", "e:InvalidSelectors"),
        (Some(("InstanceID", "SCHEME 2")), "", "e:InvalidSelectors"),
        (Some(("Name", "SCHEME 1")), "", "e:InvalidSelectors"),
        (Some(("InstanceID", "SCHEME 1")), "<h:SchemeGUID>x</h:SchemeGUID>", "e:SchemaValidationError"),
    ] {
        let answer = set(&mut lme, selector, fields);
        assert!(
            answer.status == 400 && answer.body.contains(&format!(">{wanted}<")),
            "{selector:?} {answer:?}"
        );
    }
    let account = os_admin(&sim);
    let request = selecting(&invocation(SCHEME, "SetPowerScheme", ""), "InstanceID", "SCHEME 1");
    assert!(post(&mut lme, "$$OsAdmin", &account, &request).body.contains(">e:AccessDenied<"));
    assert_eq!(sim.state()["settings"]["power_scheme"], 0);
}

#[test]
fn faults_strike_it_by_name() {
    for (fault, scheme) in [("return-value:1", 0), ("drop-before", 0), ("drop-after", 1)] {
        let name = "wsman:AMT_SystemPowerScheme.SetPowerScheme";
        let sim = Sim::vpro(&[&format!("{name}={fault}")]);
        activate(&sim, PASSWORD);
        let mut lme = Lme::open(&sim);
        let body = selecting(&invocation(SCHEME, "SetPowerScheme", ""), "InstanceID", "SCHEME 1");
        let challenge = Answer::parse(&lme.exchange(&request(&body, None)));
        let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
        let _ = lme.exchange(&request(&body, Some(&authorization)));
        assert_eq!(
            (&sim.state()["settings"]["power_scheme"], sim.count(name)),
            (&scheme.into(), 1),
            "{fault}"
        );
    }
}
