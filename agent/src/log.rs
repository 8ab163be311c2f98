//! What goes to stderr: the log, progress, and problems. stdout is for the result alone.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use tracing::Level;

use crate::cli::{Log, LogFormat};

/// Starts the log. Secrets have no text form, so no level can print one.
pub fn start(log: &Log) {
    let level = match log.verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && colors_wanted());
    // The first subscriber wins; a second start is harmless.
    let _ = match log.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// <https://no-color.org>: set and not empty means none.
pub fn colors_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// A panic is a defect of ours: it gets its own exit code, and no backtrace with foreign bytes.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        problem(&format!(
            "internal error at {place}; please report it, the journal in --out lets a next run resume"
        ));
        std::process::exit(i32::from(oob_policy::Exit::Internal.code()));
    }));
}

/// One line on stderr that a person must see whatever the log level.
pub fn problem(text: &dyn Display) {
    for line in text.to_string().lines() {
        let _ = writeln!(io::stderr(), "oob-agent: {}", oob_policy::shown(line));
    }
}

/// `[3/9] amt: setting the admin password ... done`, one line a step.
#[derive(Debug)]
pub struct Progress {
    done: usize,
    total: usize,
    /// A step was begun and not ended: its line wants an end.
    open: bool,
}

impl Progress {
    pub const fn new(total: usize) -> Self {
        Self { done: 0, total, open: false }
    }

    /// Says that a step begins; [`Self::end`] finishes the line.
    pub fn begin(&mut self, what: &str) {
        self.end("");
        self.done += 1;
        self.total = self.total.max(self.done);
        self.open = true;
        let _ = write!(io::stderr(), "[{}/{}] {} ... ", self.done, self.total, oob_policy::shown(what));
        let _ = io::stderr().flush();
    }

    /// Finishes the line of the step that was begun last; without one it says nothing.
    pub fn end(&mut self, how: &str) {
        if std::mem::take(&mut self.open) {
            let _ = writeln!(io::stderr(), "{}", oob_policy::shown(how));
        }
    }
}
