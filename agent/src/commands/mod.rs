//! One verb a file; each takes its arguments and gives the exit code.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use oob_policy::Exit;

use crate::cli::{Command, Policy};
use crate::log;

mod apply;
mod detect;
mod firmware;
mod firmware_verify;
mod policy;
pub(crate) use policy::read_policy;
mod verify;
mod verify_remote;

/// `verbose` is how often -v was given: some results say more then.
pub async fn run(command: Command, verbose: u8) -> Exit {
    // A program that asked for JSON gets it on every path.
    let json = match &command {
        Command::Apply(it) | Command::Plan(it) => it.json.then(|| Some(it.out.clone())),
        Command::Detect(it) => it.json.then_some(None),
        Command::Verify(it) => it.json.then(|| Some(it.out.clone())),
        Command::Policy(Policy::Lint { json, .. } | Policy::Explain { json, .. }) => json.then_some(None),
        // Prints its own schema.
        Command::Firmware(_) => None,
    };
    let ended = match command {
        Command::Apply(arguments) => apply::apply(&arguments).await,
        Command::Plan(arguments) => apply::plan(&arguments).await,
        Command::Detect(arguments) => detect::detect(&arguments).await,
        Command::Verify(arguments) => verify::verify(&arguments).await,
        Command::Firmware(it) => firmware::run(&it, verbose),
        Command::Policy(Policy::Lint { file, json }) => policy::lint(&file, json),
        Command::Policy(Policy::Explain { file, facts, root, site, role, json }) => {
            policy::explain(&policy::Explain { file, facts, root, site, role, json }).await
        }
    };
    ended.unwrap_or_else(|stop| {
        log::problem(&stop);
        if let Some(out) = json {
            let _ = stop.print_json(out.as_deref());
        }
        stop.exit
    })
}

/// A command line that makes no sense, or one that asks for help. A program that said `--json` is told in JSON.
pub fn refuse_usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let _ = error.print();
    if error.use_stderr() && wants_json {
        let stop = Stop::new(Exit::Usage, "usage", error.kind());
        let _ = stop.print_json(None);
    }
    ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 })
}

/// Why a command ended before it had a report.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: Exit,
    /// A stable word for programs.
    pub(crate) cause: String,
    pub(crate) text: String,
}

impl Stop {
    pub(crate) fn new(exit: Exit, cause: &str, text: impl fmt::Display) -> Self {
        Self { exit, cause: cause.to_owned(), text: text.to_string() }
    }

    /// The result of a command that did nothing.
    pub(crate) fn print_json(&self, out: Option<&Path>) -> Result<(), Self> {
        print_json(&serde_json::json!({
            "schema": "oob-result/1", "exit_code": self.exit.code(), "reason": self.cause, "changed": false,
            "text": self.text, "plan": null, "outcomes": [], "capability": null,
            "out": out.map(|out| out.display().to_string()),
        }))
    }

    pub(crate) fn internal(text: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, "internal", text)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writes the result to stdout. A reader that went away is not an error of ours.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    // Colors only on a terminal, and never with NO_COLOR.
    let mut stdout = anstream::AutoStream::auto(io::stdout()).lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::internal(format!("writing the result to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Stop> {
    let text = crate::report::json(value)
        .map_err(|error| Stop::internal(format!("writing the result as JSON: {error}")))?;
    print(&text)
}
