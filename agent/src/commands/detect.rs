//! `oob-agent detect`.

use oob_policy::Exit;

use super::{Stop, print, print_json};
use crate::carry_out::amt;
use crate::cli::Detect;
use crate::machine::Machine;
use crate::{detect, report};

pub(super) async fn detect(arguments: &Detect) -> Result<Exit, Stop> {
    let machine = open_machine(&arguments.root)?;
    let detection = look(&machine).await;
    if arguments.json { print_json(&detection) } else { print(&report::facts_table(&detection)) }?;
    Ok(Exit::Satisfied)
}

pub(super) fn open_machine(root: &std::path::Path) -> Result<Machine, Stop> {
    Machine::open(root).map_err(|error| Stop::new(Exit::Usage, "root-unreadable", error))
}

/// Everything that can be read without changing anything, AMT's own answers over MEI included.
pub(super) async fn look(machine: &Machine) -> oob_policy::Detection {
    let answer = amt::ask(machine).await;
    detect::detect_with(machine, answer).await
}
