//! Policy files, good and bad. Every file under `tests/bad` is named by what is wrong with it and stands beside the
//! diagnostics it must get; `OOB_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;
use std::path::{Path, PathBuf};

use oob_policy::{
    Action, Class, Diagnostic, DiagnosticLevel, EXAMPLE_RECIPIENTS, Format, Method, Policy, render,
};

fn parse(source: &str) -> (Option<Policy>, Vec<Diagnostic>) {
    Policy::parse(source, "policy.toml", "00")
}

fn accepted(source: &str) -> Policy {
    let (policy, diagnostics) = parse(source);
    assert_eq!(diagnostics, [], "{}", render(&diagnostics, source, "policy.toml", false));
    policy.expect("no diagnostics, no policy")
}

fn packaged(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/examples").join(name))
        .unwrap()
}

#[test]
fn every_bad_file_is_refused_with_its_diagnostics() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    files.sort();
    assert!(files.len() >= 30, "{} is not whole", directory.display());
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (policy, diagnostics) = Policy::parse(&source, name, "00");
        assert!(policy.is_none(), "{name} was taken");
        assert!(diagnostics.iter().any(|it| it.severity == DiagnosticLevel::Error), "{name}");
        for found in &diagnostics {
            assert!(found.line >= 1 && found.column >= 1 && !found.help.is_empty(), "{name}: {found:?}");
        }
        let page = render(&diagnostics, &source, name, false);
        let golden = path.with_extension("txt");
        if std::env::var_os("OOB_BLESS").is_some() {
            fs::write(&golden, &page).unwrap();
        }
        assert_eq!(
            page,
            fs::read_to_string(&golden).unwrap_or_default(),
            "{name}; OOB_BLESS=1 writes it anew"
        );
    }
}

#[test]
fn no_secret_and_nothing_raw_is_shown() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut secrets = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "toml") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let (_, diagnostics) = parse(&source);
        let plain = render(&diagnostics, &source, "policy.toml", false);
        let shown =
            plain.clone() + &render(&diagnostics, &source, "policy.toml", true) + &format!("{diagnostics:?}");
        assert!(!shown.to_lowercase().contains("canary"), "{}:\n{plain}", path.display());
        assert!(plain.chars().all(|it| it == '\n' || !it.is_control()), "{}", path.display());
        assert!(!plain.contains('\u{202e}'), "{}", path.display());
        secrets += usize::from(source.to_lowercase().contains("canary"));
    }
    assert!(secrets >= 7);
}

#[test]
fn three_unknown_keys_two_wrong_types_and_a_duplicate_id_are_six_diagnostics() {
    let source = include_str!("bad/six-mistakes.toml");
    let (_, diagnostics) = parse(source);
    let places: Vec<(usize, usize)> = diagnostics.iter().map(|it| (it.line, it.column)).collect();
    assert_eq!(places, [(5, 10), (6, 1), (9, 1), (15, 12), (18, 6), (19, 11)]);
    assert!(diagnostics[2].help.contains("did you mean `action`?"), "{}", diagnostics[2].help);
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let (_, diagnostics) = parse(include_str!("bad/unknown-key-in-every-table.toml"));
    let unknown = diagnostics.iter().filter(|it| it.message.contains("has no key")).count();
    assert_eq!(
        unknown, 11,
        "file, policy, defaults, rule, match, amt, dash, neutralize, escrow, recipient, report"
    );
}

#[test]
fn the_shipped_examples_are_in_order() {
    let newcomer = accepted(&packaged("policy.toml"));
    assert_eq!((newcomer.default_action, newcomer.rules.len()), (Action::Ignore, 0));
    let example = accepted(&packaged("use.toml"));
    assert_eq!(example.rules[0].action, Action::Use);
    let keys: Vec<&str> = example.recipients.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, EXAMPLE_RECIPIENTS);
    for (name, key) in ["ops", "break-glass"].iter().zip(EXAMPLE_RECIPIENTS) {
        assert!(packaged(&format!("example-identity-{name}.txt")).contains(&format!("# public key: {key}")));
    }
}

#[test]
fn the_policy_of_the_design_is_read_whole() {
    let policy = accepted(&format!(
        r#"
schema = 1
[policy]
name = "acme-clients"
serial = 7                       # must grow: rollback protection
not_after = 2027-06-30
[defaults]
action = "ignore"
[[rule]]
id = "office"
match = {{ platform = "intel", role = "office" }}
action = "use"
amt = {{ control_mode = "acm-or-ccm", tls = "required", consent = "all", sol = true, kvm = false, ider = false }}
dash = {{ take_over = true, tls = "required" }}
[[rule]]
id = "opsec"
match = {{ role = "opsec" }}
action = "neutralize"
neutralize = {{ methods = ["clean+soft-disable", "soft-disable", "lockdown", "report-only"] }}
[[escrow.recipient]]
name = "ops"
key = "{}"
role = "ops"
[[escrow.recipient]]
name = "safe"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl safe@acme"
role = "break-glass"
not_after = 2030-01-01
[escrow]
accept_unknown_fs = true
[report]
formats = ["html"]
"#,
        EXAMPLE_RECIPIENTS[0]
    ).replace("[escrow]\naccept_unknown_fs = true\n", ""));
    assert_eq!((policy.name.as_str(), policy.serial, policy.sha256.as_str()), ("acme-clients", 7, "00"));
    assert_eq!(policy.not_after.map(|it| it.to_string()).as_deref(), Some("2027-06-30"));
    let settings: Vec<(&str, &str)> =
        policy.rules[0].settings.iter().map(|it| (it.key, it.value.as_str())).collect();
    assert_eq!(
        settings,
        [
            ("amt.control_mode", "acm-or-ccm"),
            ("amt.tls", "required"),
            ("amt.consent", "all"),
            ("amt.sol", "true"),
            ("amt.kvm", "false"),
            ("amt.ider", "false"),
            ("dash.take_over", "true"),
            ("dash.tls", "required")
        ]
    );
    assert_eq!(policy.rules[0].settings[0].line, 13);
    assert_eq!(policy.rules[1].methods.len(), 4);
    assert_eq!(policy.rules[1].class(), Class::Circumstance);
    assert_eq!(policy.formats, [Format::Html]);
    assert!(policy.recipients[1].label().starts_with("safe (break-glass) sha256:"));
}

/// `body` after a valid head.
fn with(body: &str) -> (Option<Policy>, Vec<Diagnostic>) {
    parse(&format!("schema = 1\n[policy]\nname = \"a\"\nserial = 1\n{body}"))
}

#[test]
fn rules_are_ambiguous_only_where_that_is_provable() {
    for (one, other, ambiguous) in [
        // Circumstances are told apart by a shared key that differs, and by nothing else.
        (r#"role = "a""#, r#"role = "b""#, false),
        (r#"role = "a""#, r#"role = "a""#, true),
        (r#"role = "a""#, r#"site = "b""#, true),
        (r#"role = "a", site = "x""#, r#"role = "a""#, true),
        (r#"role = ["a", "b"]"#, r#"role = ["b", "c"]"#, true),
        (r#"role = ["a", "b"]"#, r#"role = ["c"]"#, false),
        (r#"platform = "intel""#, r#"platform = "amd""#, false),
        (r#"virtual = true"#, r#"virtual = false"#, false),
        (r#"virtual = true"#, r#"form_factor = "server""#, true),
        (r#"me_version = ">=11, <12""#, r#"me_version = ">=12""#, false),
        (r#"me_version = ">=11, <=12""#, r#"me_version = ">=12""#, true),
        // Models and vendors.
        (r#"product = "Opti*""#, r#"product = "OptiPlex 3000""#, true),
        (r#"product = "Opti*""#, r#"product = "Latitude 3000""#, false),
        (r#"product = "Opti*""#, r#"product = "*3000""#, true),
        (r#"product = "Opti*00""#, r#"product = "*30""#, false),
        (r#"vendor = "Dell*""#, r#"vendor = "*Inc.""#, true),
        (r#"product = "Opti*""#, r#"product = "opti* ""#, true),
        (r#"product = "Opti*""#, r#"sku = "0A5C""#, false),
        (r#"vendor = "Dell Inc.""#, r#"vendor = "dell inc.""#, true),
        (r#"vendor = "Dell Inc.", role = "a""#, r#"vendor = "Dell Inc.", site = "b""#, true),
        // Which serial belongs to which UUID is not known before the run.
        (r#"serial = "A1""#, r#"serial = ["B2", "a1"]"#, true),
        (r#"serial = "A1""#, r#"uuid = "4c4c4544-0042-3510-8052-b4c04f4d3933""#, false),
        (r#"mac = "00:1b:21:aa:bb:cc""#, r#"mac = "00-1B-21-AA-BB-CC""#, true),
        // Another class has another precedence.
        (r#"product = "*""#, r#"vendor = "Dell""#, false),
    ] {
        let rule = |id: &str, matching: &str, priority: i64| {
            format!(
                "[[rule]]\nid = \"{id}\"\nmatch = {{ {matching} }}\npriority = {priority}\naction = \"ignore\"\n"
            )
        };
        for (first, second) in [(one, other), (other, one)] {
            let (_, found) = with(&(rule("one", first, 0) + &rule("two", second, 0)));
            assert_eq!(!found.is_empty(), ambiguous, "{first} / {second}: {found:?}");
            if ambiguous {
                assert!(found[0].help.contains("priority"), "{}", found[0].help);
                assert!(
                    found[0].message.contains("(line 6)") && found[0].message.contains("(line 11)"),
                    "{found:?}"
                );
            }
            let (_, found) = with(&(rule("one", first, 0) + &rule("two", second, 1)));
            assert_eq!(found, [], "priority tells them apart");
        }
    }
}

#[test]
fn settings_without_effect_are_a_warning_and_no_refusal() {
    let (policy, found) =
        with("[[rule]]\nid = \"a\"\nmatch = { role = \"a\" }\naction = \"ignore\"\namt = { sol = true }\n");
    assert!(policy.is_some());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].severity, found[0].line), (DiagnosticLevel::Warning, 9));
}

#[test]
fn a_key_with_a_wrong_word_is_not_called_missing() {
    for wishes in [
        "tls = \"off\", tls_ca = \"file:/c\"",
        "tls = \"off\", mutual_tls_ca = \"file:/c\", mutual_tls_names = [\"a\"], tls_renew_days = 40",
        "tls = 1, tls_ca_url = \"https://ca\", tls_ca_trust = \"file:/c\"",
        "wifi_ssid = \"a\", wifi_security = \"wep\", wifi_passphrase = \"file:/c\"",
        "provisioned = \"no\", unprovision = \"full\"",
        "control_mode = \"admin\", certificate = \"file:/c\"",
    ] {
        let (policy, found) = with(&format!(
            "[[rule]]\nid = \"a\"\nmatch = {{ role = \"a\" }}\naction = \"use\"\namt = {{ {wishes} }}\n\
             [escrow]\nallow_single_recipient = true\n[[escrow.recipient]]\nname = \"ops\"\nrole = \"ops\"\n\
             key = \"{}\"\n",
            EXAMPLE_RECIPIENTS[0]
        ));
        assert!(policy.is_none(), "{wishes}");
        assert_eq!(found.len(), 1, "{wishes}: {found:?}");
    }
}

#[test]
fn references_to_secrets_are_no_secrets() {
    for (value, secret) in [
        ("\"file:/run/credentials/token\"", false),
        ("\"credential:amt\"", false),
        ("\"file:\"", true),
        ("\"file:AGE-SECRET-KEY-1XYZ\"", true),
        ("\"plain\"", true),
        ("42", true),
    ] {
        let (_, found) = with(&format!("token = {value}\n"));
        let told = found.iter().any(|it| it.message.contains("everybody who can read the file has it"));
        assert_eq!(told, secret, "{value}: {found:?}");
        assert!(!found.is_empty(), "`token` is no key of a policy either way");
    }
}

#[test]
fn one_recipient_is_enough_where_the_policy_says_so() {
    let body = |flag: &str| {
        format!(
            "[defaults]\naction = \"use\"\n[escrow]\n{flag}[[escrow.recipient]]\nname = \"ops\"\nrole = \"ops\"\nkey = \"{}\"\n",
            EXAMPLE_RECIPIENTS[0]
        )
    };
    assert!(with(&body("")).0.is_none());
    assert!(with(&body("allow_single_recipient = true\n")).0.is_some());
    assert!(with("[defaults]\naction = \"use\"\n[escrow]\nallow_single_recipient = true\n").0.is_none());
}

#[test]
fn a_file_of_absurd_size_is_refused_unread() {
    let (policy, found) = parse(&"#".repeat((1 << 20) + 1));
    assert!(policy.is_none());
    assert_eq!(found.len(), 1);
}

/// What a maker prints on a machine is no password, whatever it looks like; key material stays one even there.
#[test]
fn a_serial_is_not_judged_by_its_looks() {
    let rule =
        |matching: &str| format!("[[rule]]\nid = \"a\"\nmatch = {{ {matching} }}\naction = \"ignore\"\n");
    for matching in [
        r#"serial = "/C8F9X2/CNFCW0019B001A/""#,
        r#"serial = ["A1", "/C8F9X2/CNFCW0019B001A/", "xK9mQ2vLp7Rw4TzB"]"#,
        r#"serial = "5f4dcc3b5aa765d61d8327deb882cf99""#,
        r#"sku = "xK9mQ2vLp7Rw4TzB""#,
        r#"product = "xK9mQ2vLp7Rw4TzB*""#,
        r#"vendor = "xK9mQ2vLp7Rw4TzB""#,
    ] {
        let (policy, found) = with(&rule(matching));
        assert_eq!((policy.is_some(), found), (true, Vec::new()), "{matching}");
    }
    for matching in [
        r#"role = "xK9mQ2vLp7Rw4TzB""#,
        r#"serial = "AGE-SECRET-KEY-1QQQ""#,
        r#"serial = ["-----BEGIN PRIVATE KEY-----"]"#,
        r#"serial = "A1", password = "x""#,
        r#"serial = "A1" } # xK9mQ2vLp7Rw4TzB
        amt = { sol = true"#,
    ] {
        let (policy, found) = with(&rule(matching));
        let told = found.iter().any(|it| it.message.contains("everybody who can read the file has it"));
        assert!(policy.is_none() && told, "{matching}: {found:?}");
    }
    let (_, found) = with("serial = \"xK9mQ2vLp7Rw4TzB\"\n");
    assert!(
        found.iter().any(|it| it.message.contains("high-entropy")),
        "a key of that name elsewhere: {found:?}"
    );
}

#[test]
fn of_thousands_of_mistakes_a_hundred_are_told_and_the_rest_is_a_number() {
    let rule =
        |at: usize| format!("[[rule]]\nid = \"r{at}\"\nmatch = {{ role = \"a\" }}\nactoin = \"use\"\n");
    let rules: String = (0..3000).map(rule).collect();
    let (policy, found) = with(&rules);
    assert!(policy.is_none());
    assert_eq!(found.len(), 101);
    assert!(found[100].message.starts_with("and 5900 more"), "{}", found[100].message);
    assert!(found[..100].iter().all(|it| it.line < 250), "the first of the file");
    assert!(found.windows(2).all(|pair| pair[0].span.start <= pair[1].span.start));
    assert_eq!(found[100].line, 4 + 50 * 4 + 1);
    // The one that is too many, and the one that is not.
    for (unknown, told) in [(100, 100), (101, 101)] {
        let keys: String = (0..unknown).map(|at| format!("k{at} = 1\n")).collect();
        let (_, found) = parse(&format!("{keys}schema = 1\n[policy]\nname = \"a\"\nserial = 1\n"));
        assert_eq!(found.len(), told);
        assert_eq!(found.iter().any(|it| it.message.starts_with("and 1 more")), told > 100);
    }
}

#[test]
fn errors_are_told_before_warnings_and_refuse_the_file_wherever_they_stand() {
    let warned = |at: usize| {
        format!(
            "[[rule]]\nid = \"r{at}\"\nmatch = {{ role = \"r{at}\" }}\naction = \"ignore\"\namt = {{ sol = true }}\n"
        )
    };
    let warnings: String = (0..150).map(warned).collect();
    let (policy, found) = with(&warnings);
    assert!(policy.is_some() && found.iter().all(|it| it.severity == DiagnosticLevel::Warning));
    assert_eq!(found.len(), 101);
    let (policy, found) = with(&format!("{warnings}[report]\nfromats = [\"html\"]\n"));
    assert!(policy.is_none());
    assert!(found.iter().any(|it| it.severity == DiagnosticLevel::Error && it.message.contains("fromats")));
    assert_eq!(found.len(), 101);
}

#[test]
fn ambiguous_pairs_end_after_a_hundred() {
    let rule =
        |at: usize| format!("[[rule]]\nid = \"r{at}\"\nmatch = {{ role = \"a\" }}\naction = \"ignore\"\n");
    let (_, found) = with(&(0..15).map(rule).collect::<String>());
    assert_eq!(found.len(), 101, "105 pairs");
    assert!(found[100].message.contains("at least 1 more"), "{}", found[100].message);
    assert!(found.iter().all(|it| it.severity == DiagnosticLevel::Error));
    let (_, found) = with(&(0..14).map(rule).collect::<String>());
    assert_eq!(found.len(), 91, "all pairs of fourteen");
}

/// A value beside one that is shown stays hidden though its own diagnostic is left out.
#[test]
fn values_of_diagnostics_that_are_left_out_stay_hidden() {
    let keys: Vec<String> = (0..130).map(|at| format!("k{at:03} = \"Canary{at}\"")).collect();
    let source =
        format!("schema = 1\nreport = {{ {} }}\n[policy]\nname = \"a\"\nserial = 1\n", keys.join(", "));
    let (_, found) = parse(&source);
    assert_eq!(found.len(), 101);
    let page = render(&found, &source, "policy.toml", false);
    assert!(page.contains("k102") && !page.contains("Canary"), "{page}");
}

#[test]
fn how_to_neutralize_is_read_and_what_has_no_effect_is_a_warning() {
    let rule = |table: &str| {
        with(&format!(
            "[[rule]]\nid = \"a\"\nmatch = {{ role = \"a\" }}\naction = \"neutralize\"\nneutralize = {{ {table} }}\n"
        ))
    };
    let (one, other) = ("0f".repeat(32), "A1".repeat(32));
    let (policy, found) = rule(&format!(
        "methods = [\"clean+soft-disable\", \"report-only\"], read_flash = true, keep = [\"MFS\"], accept_boot_guard = true, \
         result_sha256 = [\"{one}\", \"{other}\"]"
    ));
    assert_eq!(found, []);
    let rule_a = &policy.unwrap().rules[0];
    assert_eq!(rule_a.methods, [Method::CleanAndSoftDisable, Method::ReportOnly]);
    let neutralize = &rule_a.neutralize;
    assert!(neutralize.read_flash && neutralize.accept_boot_guard);
    assert_eq!(neutralize.keep.as_deref(), Some(&["MFS".to_owned()][..]));
    assert_eq!(neutralize.result_sha256, [one.clone(), other.to_lowercase()]);
    let (policy, found) = rule(&format!("methods = [\"soft-disable\"], result_sha256 = \"{one}\""));
    let neutralize = policy.unwrap().rules[0].neutralize.clone();
    assert_eq!((found, neutralize.result_sha256), (Vec::new(), vec![one.clone()]));
    assert_eq!((neutralize.keep, neutralize.read_flash), (None, false));
    let (policy, found) = rule("methods = [\"clean+soft-disable\"], keep = []");
    assert_eq!((found, policy.unwrap().rules[0].neutralize.keep.clone()), (Vec::new(), Some(Vec::new())));
    for (table, key) in [
        (format!("methods = [\"report-only\"], result_sha256 = \"{one}\""), "result_sha256"),
        ("methods = [\"lockdown\", \"report-only\"], read_flash = true".to_owned(), "read_flash"),
        ("methods = [\"soft-disable\"], keep = [\"MFS\"]".to_owned(), "keep"),
        ("methods = [\"soft-disable\"], accept_boot_guard = true".to_owned(), "accept_boot_guard"),
    ] {
        let (policy, found) = rule(&table);
        assert!(policy.is_some(), "{table}");
        assert_eq!((found.len(), found[0].severity), (1, DiagnosticLevel::Warning), "{table}: {found:?}");
        assert!(found[0].message.starts_with(&format!("`{key}` has no effect")), "{found:?}");
    }
    assert_eq!(rule("methods = [\"report-only\"], read_flash = false").1, []);
}
