//! Bad input ends with a clear error and the right code, and touches nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oob_tests::{Machine, agent, agent_command, code, files, json, scratch, skylake_capture, text};

use crate::use_ccm::{apply, escrow_files};

const HEAD: &str = "schema = 1\n[policy]\nname = \"t\"\nserial = 1\n[defaults]\naction = \"ignore\"\n";

/// Policies named by what is wrong, and what the diagnostic must say besides its line.
fn bad_policies() -> Vec<(&'static str, String, &'static [&'static str])> {
    let with = |tail: &str| format!("{HEAD}{tail}");
    vec![
        ("malformed", "schema = [".to_owned(), &["1:"]),
        ("no-schema", HEAD.replace("schema = 1\n", ""), &["schema"]),
        (
            "unknown-keys-everywhere",
            with("bogus = 1\n[report]\nformat = []\n[escrow]\nfoo = true\n"),
            &["bogus", "format", "foo"],
        ),
        (
            "wrong-types",
            HEAD.replace("serial = 1", "serial = \"one\"").replace("\"ignore\"", "3"),
            &["serial", "action"],
        ),
        (
            "secret-password",
            with(
                "[[rule]]\nid = \"a\"\nmatch = { vendor = \"x\" }\naction = \"ignore\"\npassword = \"Sup3r-s3cret!\"\n",
            ),
            &["password"],
        ),
        (
            "secret-age-key",
            with("# AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ\n"),
            &["age"],
        ),
        (
            "ambiguous",
            with(
                "[[rule]]\nid = \"a\"\nmatch = { role = \"x\" }\naction = \"ignore\"\n[[rule]]\nid = \"b\"\nmatch = { site = \"y\" }\naction = \"ignore\"\n",
            ),
            &["priority"],
        ),
        (
            "duplicate-rule",
            with(
                "[[rule]]\nid = \"a\"\nmatch = { role = \"x\" }\naction = \"ignore\"\n[[rule]]\nid = \"a\"\nmatch = { role = \"y\" }\naction = \"ignore\"\n",
            ),
            &["a"],
        ),
        (
            "use-without-recipients",
            with("[[rule]]\nid = \"a\"\nmatch = { role = \"x\" }\naction = \"use\"\n"),
            &["recipient"],
        ),
        ("not-utf8", String::new(), &["UTF-8"]),
    ]
}

#[test]
fn a_bad_policy_is_refused_whole_and_touches_nothing() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let file = scratch.path().join("policy.toml");
    let out = scratch.path().join("out");
    for (name, source, parts) in bad_policies() {
        if name == "not-utf8" {
            fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
        } else {
            fs::write(&file, source).unwrap();
        }
        let run = agent([
            "apply",
            "--root",
            machine.dir.to_str().unwrap(),
            "--policy",
            file.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ]);
        let stderr = text(&run.stderr);
        assert_eq!(code(&run), Some(3), "{name}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{name}: nothing about `{part}` in\n{stderr}");
        }
        assert!(
            !stderr.contains("Sup3r-s3cret!") && !stderr.contains("KEY-1QQQ"),
            "{name}: a secret is repeated"
        );
        assert!(!stderr.contains('\u{1b}'), "{name}: raw escape");
        let lint = agent(["policy", "lint", file.to_str().unwrap()]);
        assert_eq!(code(&lint), Some(3), "{name}");
    }
    let missing = agent(["apply", "--policy", "/nonexistent.toml", "--out", out.to_str().unwrap()]);
    assert_eq!(code(&missing), Some(3));
    assert!(!out.exists(), "a refused policy made {}", out.display());
    assert!(machine.calls().is_empty(), "a refused policy reached the device: {:?}", machine.calls());
}

#[test]
fn all_diagnostics_come_at_once_with_line_and_column() {
    let scratch = scratch();
    let file = scratch.path().join("policy.toml");
    let source = format!(
        "{HEAD}oops = 1\n[report]\nformat = [\"html\"]\n[[rule]]\nid = 3\nmatch = {{ vendor = 7 }}\naction = \"usse\"\n"
    );
    fs::write(&file, &source).unwrap();
    let lint = agent(["policy", "lint", file.to_str().unwrap()]);
    let stderr = format!("{}{}", text(&lint.stdout), text(&lint.stderr));
    for line in [7, 9, 11, 12, 13] {
        assert!(stderr.contains(&format!(":{line}:")), "nothing about line {line} in\n{stderr}");
    }
}

#[test]
fn an_unwritable_out_is_exit_4_and_the_device_is_untouched() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    fs::write(&out, "a file, not a directory").unwrap();
    let run = apply(&machine, &out);
    assert_eq!(code(&run), Some(4), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(machine.mutating_calls(), 0);
}

/// JSON has no word for such a path, and a run that has done its work tells its result all the same.
#[test]
fn an_out_that_is_not_utf8_is_told_as_well_as_it_can_be() {
    let scratch = scratch();
    let root = skylake_capture(&scratch.path().join("skylake"));
    let out = scratch.path().join(OsStr::from_bytes(b"out\xff"));
    let policy = OsStr::new("packaging/examples/policy.toml");
    for verb in ["apply", "plan", "verify"] {
        let mut command = agent_command();
        command.args([verb, "--json", "--root"]).arg(&root).arg("--out").arg(&out);
        if verb != "verify" {
            command.arg("--policy").arg(policy);
        }
        let run = command.output().unwrap();
        assert_ne!(code(&run), Some(70), "{verb}: {}", text(&run.stderr));
        // A plan is no result: it names neither.
        if verb == "plan" {
            assert_eq!(json(&run)["schema"], "oob-plan/1");
        } else {
            assert_eq!(json(&run)["exit_code"].as_i64(), code(&run).map(i64::from), "{verb}");
            assert!(json(&run)["out"].as_str().unwrap().ends_with("out\u{fffd}"), "{verb}");
        }
    }
    // And where there is nothing to tell but the refusal.
    let mut command = agent_command();
    command.args(["apply", "--json", "--policy", "/nonexistent.toml", "--out"]).arg(&out);
    let run = command.output().unwrap();
    assert_eq!((code(&run), &json(&run)["exit_code"]), (Some(3), &3.into()), "{}", text(&run.stderr));
}

#[test]
fn escrow_on_a_tmpfs_is_exit_4_and_the_device_is_untouched() {
    let tmpfs = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some("/dev/shm") && line.contains("tmpfs")) {
        oob_tests::skip("escrow on a tmpfs: /dev/shm is not one");
        return;
    }
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = tempfile::tempdir_in(tmpfs).unwrap();
    let run = apply(&machine, out.path());
    assert_eq!(code(&run), Some(4), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(json(&run)["reason"], "escrow-not-durable");
    assert_eq!(machine.mutating_calls(), 0);
    assert!(escrow_files(out.path()).is_empty());
}

#[test]
fn mei_replies_that_lie_are_named_and_nothing_is_changed() {
    for fault in ["short", "long", "wrong-command", "garbage", "stall", "drop-before"] {
        let scratch = scratch();
        let spec = format!("pthi:0x0400006b={fault}#*");
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &spec]);
        let root = machine.dir.to_str().unwrap();
        let detection = agent(["detect", "--json", "--root", root]);
        assert_eq!(code(&detection), Some(0), "{fault}: {}", text(&detection.stderr));
        let detection = json(&detection);
        let fact = detection["facts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|fact| fact["name"] == "intel.amt.control_mode")
            .unwrap();
        // A longer reply than needed is legal padding if its header agrees; every other lie is an unknown with a reason.
        if fact["value"] != "none" || fault != "long" {
            assert_eq!(fact["value"], "unknown", "{fault}");
            assert!(fact["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{fault}: {fact}");
            let out = scratch.path().join("out");
            let run = apply(&machine, &out);
            assert_eq!(code(&run), Some(5), "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
            assert_eq!(json(&run)["reason"], "amt-unreachable", "{fault}");
            assert_eq!(machine.mutating_calls(), 0, "{fault}");
            assert!(escrow_files(&out).is_empty(), "{fault}");
        }
    }
}

#[test]
fn hostile_strings_reach_neither_terminal_nor_page() {
    let scratch = scratch();
    let root = scratch.path().join("root");
    let id = root.join("sys/class/dmi/id");
    fs::create_dir_all(&id).unwrap();
    let hostile = "\u{1b}]0;owned\u{7}<script>alert(1)</script>=cmd|' /C calc'!A0\u{202e}\n";
    for name in ["sys_vendor", "product_name", "product_version", "board_name", "bios_version"] {
        fs::write(id.join(name), hostile).unwrap();
    }
    let root_text = root.to_str().unwrap();
    let table = agent_command().args(["detect", "--root", root_text]).output().unwrap();
    assert_eq!(code(&table), Some(0));
    let out = scratch.path().join("out");
    let run = agent([
        "apply",
        "--root",
        root_text,
        "--policy",
        "packaging/examples/policy.toml",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    for shown in [&table.stdout, &table.stderr, &run.stdout, &run.stderr] {
        let shown = text(shown);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "raw control characters in {shown:?}");
    }
    let page =
        files(&out).into_iter().find(|file| file.extension().is_some_and(|kind| kind == "html")).unwrap();
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("owned"), "the page shows the vendor, escaped");
    assert!(
        !page.contains("<script") && !page.contains(['\u{1b}', '\u{202e}']),
        "raw hostile text in the page"
    );
}

#[test]
fn a_truncated_smbios_table_is_a_fact_not_a_crash() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let table = fs::read(machine.dir.join("sys/firmware/dmi/tables/DMI")).unwrap();
    let entry = fs::read(machine.dir.join("sys/firmware/dmi/tables/smbios_entry_point")).unwrap();
    let root = scratch.path().join("capture");
    let tables = root.join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    fs::write(tables.join("smbios_entry_point"), entry).unwrap();
    for length in (0..table.len()).step_by(table.len() / 24 + 1) {
        fs::write(tables.join("DMI"), &table[..length]).unwrap();
        let run = agent(["detect", "--json", "--root", root.to_str().unwrap()]);
        assert_eq!(code(&run), Some(0), "cut at {length}: {}", text(&run.stderr));
        assert_ne!(json(&run)["facts"][0], serde_json::Value::Null, "cut at {length}");
    }
}

#[test]
fn who_asks_for_json_gets_json_on_every_path() {
    let scratch = scratch();
    let missing = scratch.path().join("nowhere");
    let missing = missing.to_str().unwrap();
    for (arguments, exit) in [
        (vec!["apply", "--json"], 2),
        (vec!["apply", "--json", "--frobnicate"], 2),
        (vec!["detect", "--json", "--root", missing], 2),
        (vec!["plan", "--json", "--policy", missing, "--out", missing, "--site", "a b"], 2),
        (vec!["apply", "--json", "--policy", missing, "--out", missing], 3),
        (vec!["plan", "--json", "--policy", missing, "--out", missing], 3),
    ] {
        let run = agent(&arguments);
        assert_eq!(code(&run), Some(exit), "{arguments:?}: {}", text(&run.stderr));
        let result = json(&run);
        assert_eq!(
            (&result["schema"], &result["exit_code"]),
            (&"oob-result/1".into(), &exit.into()),
            "{arguments:?}"
        );
    }
    let file = scratch.path().join("policy.toml");
    fs::write(&file, format!("{HEAD}oops = 1\n")).unwrap();
    let lint = agent(["policy", "lint", "--json", file.to_str().unwrap()]);
    assert_eq!((code(&lint), &json(&lint)["diagnostics"][0]["line"]), (Some(3), &7.into()));
    // Help is no error, and nobody's result.
    let help = agent(["apply", "--help", "--json"]);
    assert_eq!(code(&help), Some(0));
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let scratch = scratch();
    let pipe = scratch.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let pipe = pipe.to_str().unwrap();
    assert_eq!(code(&agent(["policy", "lint", pipe])), Some(3));
    let out = scratch.path().join("out");
    let image = [
        "apply",
        "--policy",
        "packaging/examples/policy.toml",
        "--firmware-image",
        pipe,
        "--out",
        out.to_str().unwrap(),
    ];
    assert_eq!(code(&agent(image)), Some(5));
}

#[test]
fn a_help_text_fits_a_terminal() {
    for arguments in [vec!["--help"], vec!["apply", "--help"], vec!["policy", "explain", "--help"]] {
        let help = text(&agent(&arguments).stdout);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
