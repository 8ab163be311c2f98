//! What a newcomer runs first: the main job on the machine the tests run on, with the example policy.

use std::fs;

use oob_tests::{agent, code, files, json, scratch, text};

#[test]
fn applies_the_example_policy_to_this_machine() {
    let scratch = scratch();
    let out = scratch.path().join("oob-state");
    let run =
        || agent(["apply", "--policy", "packaging/examples/policy.toml", "--out", out.to_str().unwrap()]);
    let first = run();
    assert_eq!(code(&first), Some(0), "{}\n{}", text(&first.stdout), text(&first.stderr));
    let summary = text(&first.stdout);
    assert!(summary.contains("ignore"), "the summary names the action:\n{summary}");
    assert!(summary.lines().count() <= 30, "a person reads the summary in ten seconds:\n{summary}");

    let written: Vec<String> = files(&out).iter().map(|file| file.display().to_string()).collect();
    for part in ["/events/e1-", ".dsse.json", "/reports/", ".html", ".json"] {
        assert!(written.iter().any(|file| file.contains(part)), "no {part} among {written:?}");
    }
    assert!(!written.iter().any(|file| file.contains("/escrow/")), "ignore makes no credential: {written:?}");
    let page =
        files(&out).into_iter().find(|file| file.extension().is_some_and(|kind| kind == "html")).unwrap();
    let page = fs::read_to_string(page).unwrap();
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("href=\"http"));

    // The same machine again: the same device directory, and a chain of two events.
    let second = run();
    assert_eq!(code(&second), Some(0), "{}", text(&second.stderr));
    let devices = fs::read_dir(out.join("devices")).unwrap().count();
    assert_eq!(devices, 1, "a second run finds its own device directory");
}

#[test]
fn plan_touches_nothing() {
    let scratch = scratch();
    let out = scratch.path().join("oob-state");
    let plan = agent([
        "plan",
        "--policy",
        "packaging/examples/policy.toml",
        "--out",
        out.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(code(&plan), Some(0), "{}", text(&plan.stderr));
    assert_eq!(json(&plan)["action"], "ignore");
    assert!(!out.exists(), "plan made {}", out.display());
}

#[test]
fn detect_prints_every_name_and_never_calls_the_unknown_absent() {
    let detection = json(&agent(["detect", "--json"]));
    assert_eq!(detection["schema"], "oob-detection/1");
    assert_eq!(detection["root"], "live");
    let facts = detection["facts"].as_array().unwrap();
    for name in [
        "host.vendor",
        "intel.me.state",
        "intel.me.version",
        "intel.me.sku",
        "intel.amt.verdict",
        "intel.amt.provisioning",
        "intel.amt.control_mode",
        "amd.pro",
        "dash.nic",
        "bmc.verdict",
        "bmc.vendor",
        "virt.hypervisor",
        "cloud.provider",
        "tpm.version",
        "secure_boot",
    ] {
        let fact = facts.iter().find(|fact| fact["name"] == name).unwrap_or_else(|| panic!("no fact {name}"));
        if fact["value"] == "unknown" {
            assert!(fact["reason"].is_string(), "{name} is unknown without a reason");
        }
    }
    let table = agent(["detect"]);
    assert_eq!(code(&table), Some(0));
    assert!(text(&table.stdout).contains("intel.amt.verdict"));
}
