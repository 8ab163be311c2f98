//! A whole run to a target on a machine type, as the matrices repeat it.

use std::fs;
use std::path::{Path, PathBuf};

use oob_tests::provisioning::{Org, policy};
use oob_tests::{Machine, code, text};

use crate::honesty::{Target, dishonest};
use crate::use_acm::apply;

/// What a run needs besides the machine.
pub(crate) struct Wanted {
    pub(crate) target: Target,
    pub(crate) profile: &'static str,
    pub(crate) policy: PathBuf,
    root: Option<PathBuf>,
}

impl Wanted {
    pub(crate) fn new(target: Target, profile: &'static str, dir: &Path) -> Self {
        let settings = target.settings();
        if target.is_admin() {
            let org = Org::new(dir, &settings);
            return Self { target, profile, policy: org.policy, root: Some(org.root) };
        }
        let policy = policy(dir, &format!("control_mode = \"ccm\", {settings}"));
        Self { target, profile, policy, root: None }
    }

    /// The device calls of a run in which nothing goes wrong.
    pub(crate) fn calls(&self, dir: &Path) -> Vec<String> {
        let dir = dir.join("clean");
        fs::create_dir(&dir).unwrap();
        let machine = self.machine(&dir, &[]);
        let before = machine.state();
        let run = apply(&machine, &self.policy, &dir.join("out"));
        assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
        assert_eq!(dishonest(&run, &before, &machine, &dir.join("out"), self.target), None);
        machine.calls()
    }

    pub(crate) fn machine(&self, dir: &Path, faults: &[&str]) -> Machine {
        let mut arguments: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        if let Some(root) = &self.root {
            arguments.extend(["--trusted-root", root.to_str().unwrap()]);
        }
        Machine::start(self.profile, &dir.join("vpro"), &arguments)
    }
}
