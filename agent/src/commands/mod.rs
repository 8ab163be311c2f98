//! One verb a file; each takes its arguments and gives the exit code.

use std::fmt;
use std::io::{self, Write};

use oob_policy::Exit;

use crate::cli::{Command, Policy};
use crate::log;

mod apply;
mod detect;
mod policy;

pub async fn run(command: Command) -> Exit {
    let ended = match command {
        Command::Apply(arguments) => apply::apply(&arguments).await,
        Command::Plan(arguments) => apply::plan(&arguments).await,
        Command::Detect(arguments) => detect::detect(&arguments).await,
        Command::Policy(Policy::Lint { file }) => policy::lint(&file),
        Command::Policy(Policy::Explain { file, facts, root, site, role, json }) => {
            policy::explain(&policy::Explain { file, facts, root, site, role, json }).await
        }
    };
    ended.unwrap_or_else(|stop| {
        log::problem(&stop);
        stop.exit
    })
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
