//! `oob-agent`: parse, one match, exit code.

use std::process::ExitCode;

use clap::Parser;
use oob_agent::{cli::Cli, commands, log, secrets};
use oob_policy::Exit;

fn main() -> ExitCode {
    log::exit_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return commands::refuse_usage(&error),
    };
    log::start(&cli.log);
    // Before anything secret exists: no core dump, no ptrace by others of the same user.
    if let Err(error) = secrets::harden() {
        log::problem(&format!("keeping secrets out of core dumps: {error}; going on without"));
    }
    let exit = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::run(cli.command, cli.log.verbose)),
        Err(error) => {
            log::problem(&format!("starting the runtime: {error}"));
            Exit::Internal
        }
    };
    ExitCode::from(exit.code())
}
