//! Dependencies form a tree (DESIGN section 4), and the core crates do no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const PRODUCT: [&str; 4] = ["oob-agent", "oob-mecheck", "oob-policy", "oob-wsman"];
/// Crates that reach the machine, the network or a runtime: the core must not see them.
const DOORS: [&str; 8] = ["tokio", "hyper", "reqwest", "rustix", "nix", "libc", "sysinfo", "getrandom"];

#[test]
fn dependencies_form_a_tree() {
    let edges = edges();
    let ours = |of: &str| -> BTreeSet<&str> {
        edges[of].iter().map(String::as_str).filter(|name| name.starts_with("oob-")).collect()
    };
    assert_eq!(ours("oob-agent"), BTreeSet::from(["oob-mecheck", "oob-policy", "oob-wsman"]));
    for core in ["oob-policy", "oob-wsman", "oob-mecheck"] {
        assert_eq!(ours(core), BTreeSet::new(), "{core} knows nothing of the others");
        for door in DOORS {
            assert!(
                !edges[core].contains(door),
                "{core} must not depend on {door}: I/O belongs to the agent"
            );
        }
    }
    assert_eq!(ours("oob-sim"), BTreeSet::new(), "the simulator shares no code with the product");
    assert_eq!(ours("oob-tests"), BTreeSet::new(), "end-to-end tests see programs, not crates");
}

#[test]
fn there_is_no_other_crate() {
    let names: BTreeSet<String> = edges().into_keys().collect();
    let known = PRODUCT.into_iter().chain(["oob-sim", "oob-tests"]).map(str::to_owned).collect();
    assert_eq!(names, known, "a new crate needs its place in ARCHITECTURE.md and in this test");
}

/// Normal dependencies of every workspace member, by name.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(oob_tests::workspace())
        .output()
        .expect("running cargo metadata");
    assert!(output.status.success(), "{}", oob_tests::text(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let entry = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let names =
            normal.map(|dependency| dependency["name"].as_str().expect("a name").to_owned()).collect();
        (package["name"].as_str().expect("a name").to_owned(), names)
    };
    packages.iter().map(entry).collect()
}
