//! The release binary has no crash points. `OOB_RELEASE_BINARY` names it, as `.ci/run` does.

use std::fs;
use std::process::Command;

use oob_tests::{Machine, scratch, skip};

use crate::use_ccm::arguments;

#[test]
fn the_release_binary_has_no_crash_points() {
    let Some(binary) = std::env::var_os("OOB_RELEASE_BINARY") else {
        skip("crash points in the release binary: OOB_RELEASE_BINARY is not set");
        return;
    };
    let bytes = fs::read(&binary).expect("OOB_RELEASE_BINARY names no file");
    for name in ["OOB_PROBE_KILL", "OOB_PROBE_TRACE"] {
        let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(!found, "{name} stands in the release binary");
    }
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let run = Command::new(binary)
        .args(arguments(&machine, &scratch.path().join("out")))
        .current_dir(oob_tests::workspace())
        .env("OOB_PROBE_KILL", "1")
        .output()
        .expect("running the release binary");
    assert_eq!(run.status.code(), Some(0), "{}", oob_tests::text(&run.stderr));
}
