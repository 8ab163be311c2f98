//! The ladder of `neutralize`: which method is taken, and why each one before it is not.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod case;

use case::Case;
use oob_policy::{CleanVerdict, Fact, ImageSource, Method, SoftDisable, StepKind};

const ALL: &str = "[\"clean+soft-disable\", \"soft-disable\", \"lockdown\", \"report-only\"]";
const READING: &str =
    "[\"clean+soft-disable\", \"soft-disable\", \"lockdown\", \"report-only\"], read_flash = true";
const CLEAN: &str = "neutralize.stage-clean";
const STRAP: &str = "neutralize.stage-soft-disable";
const READ: &str = "neutralize.read-flash";
const REPORT: &str = "neutralize.report-only";

/// A machine without AMT, so that `lockdown` is skipped; what it does where there is one is in `lockdown.rs`.
fn neutralizing(methods: &str) -> Case {
    Case::neutralizing(methods).fact("intel.amt.verdict", "absent")
}

/// One step with this id, whose reason holds these words.
fn expect(case: &Case, id: &str, said: &[&str]) {
    let plan = case.plan();
    assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
    assert_eq!(plan.steps[0].id, id, "{}", plan.steps[0].reason);
    for words in said {
        assert!(plan.steps[0].reason.contains(words), "no `{words}` in: {}", plan.steps[0].reason);
    }
}

fn refused(why: &str) -> SoftDisable {
    SoftDisable::Refused(why.to_owned())
}

#[test]
fn the_first_method_that_applies_is_taken() {
    use {
        CleanVerdict::AlreadyClean, CleanVerdict::Possible as CanClean, SoftDisable::AlreadySet,
        SoftDisable::Possible,
    };
    let cannot = || CleanVerdict::Refused("FTPR is\u{1b} damaged".to_owned());
    let me11 = |clean, strap| neutralizing(ALL).me11(clean, strap);
    expect(&me11(CanClean, Possible), CLEAN, &["can lose its ME code", "can be set", "kept: MFS"]);
    expect(&me11(CanClean, AlreadySet), CLEAN, &["can lose its ME code", "is set already"]);
    expect(&me11(AlreadyClean, Possible), CLEAN, &["no removable code", "can be set"]);
    expect(&me11(AlreadyClean, AlreadySet), CLEAN, &["no removable code", "is set already"]);
    expect(
        &me11(cannot(), Possible),
        STRAP,
        &["can be set", "skipped before: clean+soft-disable: FTPR is\\u{1b} damaged"],
    );
    expect(
        &me11(CanClean, refused("odd strap")),
        REPORT,
        &["clean+soft-disable: code could be removed, but", "soft-disable: odd strap", "lockdown: "],
    );
    expect(&neutralizing("[\"soft-disable\"]").me11(CanClean, AlreadySet), STRAP, &["strap set already"]);
    expect(&neutralizing("[\"report-only\", \"soft-disable\"]").image(Possible), REPORT, &[]);
    expect(&neutralizing("[\"lockdown\"]"), "refuse.no-method-applies", &["lockdown: "]);
    expect(&stopped(neutralizing(ALL)), "neutralize.me-soft-disabled", &["reports itself soft-disabled"]);
}

/// The registers of an engine that its strap stopped.
fn stopped(case: Case) -> Case {
    case.fact("intel.amt.provisioning", "unknown")
        .fact("intel.me.state", "soft-disabled")
        .fact("intel.me.working_state", "disabled")
        .fact("intel.me.operation_mode", "alt-disable")
        .fact("intel.me.error", "none")
        .fact("intel.me.phase", "unknown")
}

/// What `verify` would not accept as neutralized leaves nothing satisfied: the ladder is climbed.
#[test]
fn an_engine_that_only_looks_stopped_is_not_taken_for_it() {
    let sources = |case: Case, other: &str| {
        let mut case = case;
        let states = [("driver", "soft-disabled"), ("config", other)];
        let states = states.map(|(source, state)| (source.to_owned(), oob_policy::Value::from(state)));
        let map = oob_policy::Value::Map(states.into_iter().collect());
        case.detection.facts.push(Fact::observed("intel.me.state_by_source", map, "test"));
        case
    };
    let case = || stopped(neutralizing(ALL));
    expect(&sources(case(), "soft-disabled"), "neutralize.me-soft-disabled", &[]);
    let contradicted = sources(case(), "normal");
    expect(&contradicted, REPORT, &[]);
    let warnings = contradicted.plan().warnings.join("\n");
    assert!(warnings.contains("not believed: config says normal, driver says soft-disabled"), "{warnings}");
    expect(&case().fact("host.cpu.vendor", "amd"), REPORT, &["not neutralizable"]);
    let answered = case().fact("intel.amt.provisioning", "post");
    expect(&answered, REPORT, &[]);
    assert!(answered.plan().warnings.join("\n").contains("it answered"));
    for (fact, value) in [
        ("intel.me.phase", "bup/temporary-disable"),
        ("intel.me.error", "image-failure"),
        ("intel.me.working_state", "halt"),
        ("intel.me.operation_mode", "temporary-disable"),
    ] {
        expect(&case().fact(fact, value), REPORT, &[]);
    }
}

#[test]
fn code_is_not_removed_from_ifwi_whatever_the_image_is_said_to_be() {
    for version in ["12.0.0.1", "16.0.15.1810", "18.0.0.1"] {
        let mut case = neutralizing(ALL).me11(CleanVerdict::Possible, SoftDisable::Possible);
        case = case.fact("intel.me.version", version).firmware(|it| it.me_version = Some(version.to_owned()));
        expect(&case, STRAP, &["skipped before: clean+soft-disable: code removal corrupts IFWI"]);
        let StepKind::Stage { method, keep, skipped } = &case.plan().steps[0].what else { panic!() };
        assert_eq!((*method, keep.len(), skipped.len()), (Method::SoftDisable, 0, 1));
    }
}

#[test]
fn an_image_is_tied_to_the_machine_or_skipped() {
    let given = || neutralizing(ALL).image(SoftDisable::Possible);
    expect(
        &given().fact("intel.me.version", "11.8.50.1"),
        REPORT,
        &["the image holds ME 16.0.15.1810, and this machine runs ME 11.8.50.1"],
    );
    // A dump of the same machine before an update, or of its twin.
    expect(&given().fact("intel.me.version", "16.0.15.1811"), REPORT, &["dump this machine's flash anew"]);
    expect(&given().fact("intel.me.version", "unknown"), REPORT, &["nothing ties the image to it"]);
    let empty = || given().firmware(|it| it.me_version = None);
    expect(&empty(), REPORT, &["the image holds ME of an unknown version"]);
    let blank = neutralizing(ALL).image(refused("ME region: all FF")).firmware(|it| it.me_version = None);
    expect(&blank, REPORT, &["clean+soft-disable: nothing was looked at", "soft-disable: ME region: all FF"]);
    // Its own chip is tied by having been read; an update that waits for a restart shows in the version.
    let chip = || given().firmware(|it| it.source = ImageSource::Chip);
    expect(&chip().fact("intel.me.version", "unknown"), STRAP, &["read from this machine's flash chip"]);
    expect(&chip().fact("intel.me.version", "16.0.15.1811"), REPORT, &["power-cycle it"]);
    for (family, id, tied) in [
        ("sunrise-point-lp", "8086:a13a", false),
        ("sunrise-point-h", "8086:a2ba", true),
        ("lewisburg", "8086:a1ba", true),
        ("sunrise-point-h", "8086:a1ba", false),
        ("cannon-point-lp", "8086:02e0", true),
        ("cannon-point-lp", "8086:a360", false),
        ("alder-point-s", "8086:7a68", true),
        ("alder-point-p", "8086:7ae8", false),
        ("comet-lake-v", "8086:a3ba", true),
        ("lynx-point", "8086:9cba", true),
        ("ice-lake-lp", "8086:34e0", true),
        ("tiger-point-lp", "8086:43e0", false),
        // Neither an id nor a family that nobody knows ties anything, and neither forbids.
        ("alder-point-s", "8086:ffff", true),
        ("a-family-to-come", "8086:7ae8", true),
        ("alder-point-s", "absent", true),
    ] {
        let case = given().pch(family).fact("intel.me.pci", id);
        if tied {
            expect(&case, STRAP, &["can be set"]);
        } else {
            expect(&case, REPORT, &[&format!("for {family}, and this machine's PCH is"), id]);
        }
    }
}

#[test]
fn boot_guard_forbids_code_removal_where_it_is_seen_or_may_be() {
    let with = |settings: &str, words: &[&str]| {
        let methods = format!("{ALL}{settings}");
        let mut case = neutralizing(&methods).me11(CleanVerdict::Possible, SoftDisable::Possible);
        case = case.firmware(|it| it.boot_guard = Some("a key\u{1b} manifest".to_owned()));
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        case.detection.facts.push(Fact::observed("intel.me.hfsts", words, "test"));
        case
    };
    let accepted = ", accept_boot_guard = true";
    let five = ["0x00000000"; 5];
    let sixth = |settings, word| with(settings, &[&five[..], &[word]].concat());
    // What is seen is not the policy's to accept.
    for settings in ["", accepted] {
        let enforced = sixth(settings, "0x000002c0");
        expect(&enforced, STRAP, &["Boot Guard is enforced (HFSTS6 is 0x000002c0"]);
        // Nothing is to be removed any more, and a strap alone keeps Boot Guard working.
        expect(&enforced.firmware(|it| it.clean = CleanVerdict::AlreadyClean), CLEAN, &[]);
    }
    for (unseen, why) in [
        (with("", &five), "HFSTS6 could not be read"),
        (sixth("", "?"), "HFSTS6 could not be read"),
        (with("", &[]), "HFSTS6 could not be read"),
        // The register of a disabled engine is empty, whatever the processor enforces.
        (sixth("", "0x00000000"), "HFSTS6 is 0x00000000, which vouches for nothing"),
        (sixth("", "0xffffffff"), "vouches for nothing"),
        (sixth("", "0x100002c0"), "vouches for nothing"),
        (sixth("", "0x000000c0"), "vouches for nothing"),
        (sixth("", "0x00000200"), "vouches for nothing"),
        (
            with("", &[])
                .fact("intel.me.version", "9.5.1.1")
                .firmware(|it| it.me_version = Some("9.5.1.1".into())),
            "tell on ME 11 only",
        ),
    ] {
        expect(
            &unseen,
            STRAP,
            &["carries a key\\u{1b} manifest", why, "`neutralize.accept_boot_guard = true` permits"],
        );
        expect(&unseen.firmware(|it| it.boot_guard = None), CLEAN, &[]);
    }
    expect(&with(accepted, &five), CLEAN, &[]);
    // An image without code that policy wants without MFS too is changed all the same.
    let bare = |settings| with(settings, &five).firmware(|it| it.clean = CleanVerdict::AlreadyClean);
    expect(&bare(""), CLEAN, &[]);
    expect(&bare(", keep = []"), STRAP, &["`neutralize.accept_boot_guard = true` permits"]);
    // There was no Boot Guard before Haswell.
    let ivy = with("", &[])
        .fact("intel.me.version", "8.1.0.1")
        .firmware(|it| it.me_version = Some("8.1.0.1".into()));
    expect(&ivy, CLEAN, &[]);
}

#[test]
fn warnings_about_the_image_reach_the_plan() {
    let case = neutralizing(ALL).image(SoftDisable::Possible);
    let case = case.firmware(|it| {
        it.warnings = vec!["S0ix\u{1b} breaks".to_owned()];
        it.clean_warnings = vec!["no boot".to_owned()];
    });
    assert_eq!(case.plan().warnings, ["S0ix\\u{1b} breaks"], "nothing is removed");
    let cleaned = neutralizing(ALL).me11(CleanVerdict::Possible, SoftDisable::Possible);
    let cleaned = cleaned.firmware(|it| it.clean_warnings = vec!["no boot".to_owned()]);
    assert_eq!(cleaned.plan().warnings, ["no boot"]);
    let skipped = case.fact("intel.me.version", "11.0.0.1");
    assert_eq!(skipped.plan().warnings, Vec::<String>::new(), "nothing of the image is staged");
}

#[test]
fn what_policy_says_to_keep_is_kept() {
    for (keep, kept) in
        [("", &["MFS"][..]), (", keep = []", &[]), (", keep = [\"EFFS\", \"MFS\"]", &["EFFS", "MFS"])]
    {
        let case = neutralizing(&format!("{ALL}{keep}")).me11(CleanVerdict::Possible, SoftDisable::Possible);
        let StepKind::Stage { keep, .. } = &case.plan().steps[0].what else { panic!() };
        assert_eq!(keep, kept);
        let warned = case.plan().warnings.iter().any(|it| it.contains("`neutralize.keep` leaves out MFS"));
        assert_eq!(warned, kept.is_empty());
    }
}

#[test]
fn the_chip_is_read_only_where_policy_permits_and_a_method_wants_it() {
    expect(&neutralizing(ALL), REPORT, &["soft-disable: no --firmware-image given"]);
    expect(&neutralizing("[\"soft-disable\"]"), "refuse.no-method-applies", &["no --firmware-image given"]);
    expect(&neutralizing(READING), READ, &["the flash chip is read first", "`clean+soft-disable`"]);
    assert!(neutralizing(READING).plan().wants_flash());
    expect(
        &neutralizing("[\"lockdown\", \"soft-disable\"], read_flash = true"),
        READ,
        &["skipped before: lockdown: "],
    );
    for quiet in [
        neutralizing("[\"report-only\", \"soft-disable\"], read_flash = true"),
        neutralizing("[\"lockdown\", \"report-only\"], read_flash = true"),
        neutralizing(READING).fact("host.cpu.vendor", "amd"),
        stopped(neutralizing(READING)),
        neutralizing(READING).image(SoftDisable::Possible),
        neutralizing(READING).context(|it| it.weak_id = true),
        neutralizing(READING).context(|it| it.root = oob_policy::RootKind::Live),
    ] {
        assert!(!quiet.plan().wants_flash(), "{:?}", quiet.plan().steps);
    }
    // It was tried, and the reason stands for every method that wanted it.
    let unread = neutralizing(READING).context(|it| it.flash_unread = Some("locked\u{1b}".to_owned()));
    expect(
        &unread,
        REPORT,
        &[
            "clean+soft-disable: the flash chip could not be read: locked\\u{1b}",
            "; soft-disable: the flash chip could not be read",
        ],
    );
}

#[test]
fn amd_goes_to_the_report_whatever_is_given() {
    let amd = || neutralizing(ALL).image(SoftDisable::Possible).fact("host.cpu.vendor", "amd");
    expect(&amd(), REPORT, &["soft-disable: the AMD PSP is not neutralizable", "lockdown: the AMD PSP"]);
    let bare = neutralizing("[\"soft-disable\"]").fact("host.cpu.vendor", "amd");
    let (exit, cause, text) = bare.refusal();
    assert_eq!((exit.code(), cause.as_str()), (8, "no-method-applies"));
    assert!(text.contains("not neutralizable"), "{text}");
}
