//! Whether Intel's Local Management Service runs on this host: it holds the LME client then, and who wants AMT's ports
//! must go through it (reference/amt.md 3.3). Seen without a connection to it.

use oob_policy::Fact;

use super::Survey;
use crate::machine::Seen;

const LMS: &str = "intel.amt.lms";
const PORTS: [u16; 2] = [16992, 16993];
const LISTENERS: &str = "proc/net/tcp";

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    vec![fact(survey)]
}

fn fact(survey: &Survey<'_>) -> Fact {
    let machine = survey.machine;
    // Elsewhere than on a live root the list of ports is the host's network.
    if let Ok(Some(ports)) = machine.ports() {
        let listed = PORTS.iter().any(|port| ports.by_key.contains_key(&format!("lms:{port}")));
        return Fact::inferred(LMS, if listed { "present" } else { "absent" }, "ports.json");
    }
    let mut owners = Vec::new();
    for port in PORTS {
        let seen = machine.listeners(port);
        match seen {
            Seen::Found(more) => owners.extend(more),
            other => {
                let why = survey.why_not(&other, LISTENERS).unwrap_or_default();
                return Fact::unknown(LMS, LISTENERS, &why);
            }
        }
    }
    match owners.iter().find(|uid| **uid != 0) {
        Some(uid) => Fact::inferred(LMS, "stranger", LISTENERS)
            .because(format!("a program of user {uid} listens on AMT's port, and LMS is root's")),
        None if owners.is_empty() => Fact::inferred(LMS, "absent", LISTENERS),
        None => Fact::inferred(LMS, "present", LISTENERS),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machine::Machine;

    #[test]
    fn it_is_told_by_who_listens() {
        let line = |port: &str, uid: u32| {
            format!("  sl  head\n   0: 0100007F:{port} 00000000:0000 0A 0:0 0:0 0 {uid} 0 1\n")
        };
        for (table, told) in [
            (line("4260", 0), "present"),
            (line("4261", 0), "present"),
            (line("4261", 1000), "stranger"),
            (line("0016", 0), "absent"),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("proc/net")).unwrap();
            fs::write(root.path().join("proc/net/tcp"), table).unwrap();
            let machine = Machine::open(root.path()).unwrap();
            assert_eq!(fact(&Survey::of(&machine)).value.as_text(), Some(told));
        }
        for (ports, told) in [(r#"{"lms:16993": 4}"#, "present"), (r#"{"16992": 4}"#, "absent")] {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("ports.json"), ports).unwrap();
            let machine = Machine::open(root.path()).unwrap();
            assert_eq!(fact(&Survey::of(&machine)).value.as_text(), Some(told));
        }
    }
}
