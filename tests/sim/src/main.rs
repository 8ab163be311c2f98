//! The command line of `oob-sim`.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use oob_sim::amt::Surroundings;
use oob_sim::chain::Root;
use oob_sim::device::Settings;
use oob_sim::fault::Spec;
use oob_sim::habits::Habits;
use oob_sim::host_tls::HostTls;
use oob_sim::profile::Profile;
use oob_sim::serve;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Machine(machine) => run(*machine),
        Command::Profiles => list(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "oob-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Simulated machines for oob-agent.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a machine's directory and serve it in the foreground.
    Machine(Box<Machine>),
    /// List the machine types.
    Profiles,
}

#[derive(Args)]
struct Machine {
    /// The machine type; `oob-sim profiles` lists them.
    #[arg(long)]
    profile: String,
    /// Where to build it: a new or empty directory, or an earlier machine, which is rebuilt.
    #[arg(long)]
    dir: PathBuf,
    /// What goes wrong, as CALL=FAULT[#k]; may be repeated.
    ///
    /// CALL is a call's name as in sim/state.json (connect:pthi, pthi:0x0400006b, http:anonymous, tls:handshake,
    /// wsman:AMT_GeneralSettings.Get) or call:N, the N-th of all calls. #k is the k-th call of that name (1 unless
    /// said), #* every one. FAULT: return-value:N fault http-400 http-401 http-500 drop-before drop-after stall
    /// garbage kill-peer-before kill-peer-after short long wrong-command errno:N settle-401 me-restart tls-off redirect
    /// basic other-realm huge no-fields odd-values.
    #[arg(long = "fault", value_name = "CALL=FAULT[#k]", verbatim_doc_comment)]
    faults: Vec<Spec>,
    /// Multiplies every waiting time of the firmware; goes into ports.json for the agent.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Another seed is another machine of the same type.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name each call on stderr.
    #[arg(long)]
    trace: bool,
    /// The window in bytes that AMT grants on a new APF channel.
    #[arg(long, default_value_t = Settings::default().apf_window)]
    apf_window: u32,
    /// Drop the LME session whenever a channel closes.
    #[arg(long)]
    lme_drops_on_close: bool,
    /// Trust this root certificate (DER or PEM) for admin control mode; may be repeated.
    #[arg(long = "trusted-root", value_name = "FILE")]
    trusted_roots: Vec<PathBuf>,
    /// The same, by the SHA-256 of the root's DER.
    #[arg(long = "trusted-root-sha256", value_name = "HEX")]
    trusted_hashes: Vec<String>,
    /// List the SHA-256 of this root certificate under SHA-384, where it does not count; may be repeated.
    #[arg(long = "misfiled-root", value_name = "FILE")]
    misfiled_roots: Vec<PathBuf>,
    /// The PKI DNS suffix, as set in MEBx.
    #[arg(long, default_value = "")]
    pki_suffix: String,
    /// DHCP option 15, as AMT sees it; empty for none.
    #[arg(long, default_value_t = Surroundings::default().dhcp_suffix)]
    dhcp_suffix: String,
    /// The wired link is down.
    #[arg(long)]
    link_down: bool,
    /// Begin in provisioning: an earlier run died there.
    #[arg(long)]
    in_provisioning: bool,

    /// The maker allows client control mode only.
    #[arg(long)]
    client_mode_only: bool,

    /// Embedded host-based configuration is enabled: admin control mode without a certificate.
    #[arg(long)]
    ehbc: bool,
    /// AMT has a tunnel to this management presence server.
    #[arg(long, default_value = "")]
    mps_host: String,
    /// The setup audit record names this server: it set the machine up once.
    #[arg(long, value_name = "SERVER", default_value = "")]
    set_up_by: String,
    #[command(flatten)]
    host_tls: HostTls,
    /// Keep the primes of RSA keys in this directory, for the machines after this one. They depend on the seed alone.
    #[arg(long, value_name = "DIR")]
    keep_primes: Option<PathBuf>,
    /// End when standard input does, so that a test's machine ends with the test.
    #[arg(long)]
    until_stdin_closes: bool,
    #[command(flatten)]
    habits: Habits,
}

fn run(machine: Machine) -> Result<()> {
    let Machine { profile, dir, faults, time_scale, seed, trace, apf_window, lme_drops_on_close, .. } =
        machine;
    ensure!(
        (1e-6..=1e3).contains(&time_scale),
        "reading --time-scale {time_scale}: it must lie between 0.000001 and 1000"
    );
    ensure!(apf_window > 0, "reading --apf-window 0: no request could be sent");
    if let Some(dir) = machine.keep_primes {
        oob_sim::rsa::keep(dir, seed);
    }
    let files = machine.trusted_roots.iter().map(|path| Root::of_file(path));
    let hashes = machine.trusted_hashes.iter().map(|hash| Root::of_hex(hash));
    let misfiled = machine.misfiled_roots.iter().map(|path| Root::misfiled(path));
    let added_roots = files.chain(hashes).chain(misfiled).collect::<Result<_>>()?;
    let link_up = !machine.link_down;
    let client_only = machine.client_mode_only;
    let Machine { pki_suffix, dhcp_suffix, mps_host, set_up_by, ehbc, in_provisioning, .. } = machine;
    let host_tls = machine.host_tls;
    let surroundings = Surroundings {
        added_roots,
        pki_suffix,
        dhcp_suffix,
        link_up,
        in_provisioning,
        client_only,
        ehbc,
        mps_host,
        set_up_by,
    };
    let habits = machine.habits;
    let settings = Settings {
        faults,
        time_scale,
        seed,
        trace,
        apf_window,
        lme_drops_on_close,
        surroundings,
        host_tls,
        habits,
    };
    let running = serve::start(Profile::named(&profile)?, &dir, settings)?;
    let mut out = io::stdout();
    writeln!(out, "ready {}", dir.display())
        .and_then(|()| out.flush())
        .context("saying that the machine is ready")?;
    if machine.until_stdin_closes {
        // What comes in is of no matter; an error is an end, too.
        let _ = io::copy(&mut io::stdin().take(u64::MAX), &mut io::sink());
        let _ = writeln!(out, "{}", running.summary()); // whoever closed the input may be gone
        drop(running);
        return Ok(());
    }
    loop {
        thread::park(); // SIGTERM and SIGINT end the process; the next start clears the directory
    }
}

fn list() -> Result<()> {
    let mut out = io::stdout();
    for profile in Profile::ALL {
        writeln!(out, "{:20} {}", profile.name(), profile.about()).context("listing the profiles")?;
    }
    Ok(())
}
