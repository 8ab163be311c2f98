//! The command line (DESIGN section 6). Types only; [`crate::commands`] gives them meaning.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run-once, enrolment-time agent for out-of-band management.
///
/// Detects Intel AMT/ME, AMD PRO/DASH and every other channel that could bring this machine back, applies the
/// org's policy (use, neutralize or ignore), and reports the resulting recovery capability.
#[derive(Debug, Parser)]
#[command(name = "oob-agent", version, max_term_width = 100, help_expected = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: Log,
}

const EXIT_CODES: &str = "Exit codes: 0 satisfied, 2 usage, 3 policy refused, 4 escrow not durable or --out not writable,\n\
5 device or image refused or failed, 6 device state indeterminate, 7 done but not recorded or shown,\n\
8 policy asks what this machine, image or build cannot do, 9 drift, 10 done but a power cycle or flashing is\n\
needed, 70 internal.";

#[derive(Debug, Args)]
pub struct Log {
    /// Log what happens on stderr: -v steps, -vv calls, -vvv every message (never secrets)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Form of the log on stderr
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Detect, decide, carry out, report: the main job
    Apply(Apply),
    /// Print what apply would do; touch nothing
    Plan(Apply),
    /// Print what this machine has
    Detect(Detect),
    /// Look again, and compare with what org state claims; alone may say `effective`
    Verify(Verify),
    /// Look at a policy file
    #[command(subcommand)]
    Policy(Policy),
    /// Work on firmware images as files
    #[command(subcommand)]
    Firmware(Firmware),
}

#[derive(Debug, Args)]
pub struct Apply {
    /// The org's policy file
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,

    /// Directory of org state: events, escrow, reports
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// The machine: / or a captured or simulated one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// Full flash dump to neutralize; it is read, never written
    #[arg(long, value_name = "FILE")]
    pub firmware_image: Option<PathBuf>,

    /// Where this machine will stand, for rules that match on it
    #[arg(long)]
    pub site: Option<String>,

    /// What this machine is for, for rules that match on it
    #[arg(long)]
    pub role: Option<String>,

    /// A password of AMT's admin: what an escrow file opens to, or one line; given twice, the newest first
    #[arg(long, value_name = "FILE")]
    pub known_credential: Vec<PathBuf>,

    /// Give AMT a new password in place of the known one, and a new certificate where policy asks for TLS
    #[arg(long, requires = "known_credential")]
    pub rotate: bool,

    /// Ed25519 key that signs the events: PKCS#8 PEM or raw 32-byte seed
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,

    /// Permit `use` and `neutralize` on a live machine though the policy has no valid signature
    #[arg(long)]
    pub allow_unsigned: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Detect {
    /// The machine: / or a captured or simulated one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// Print the facts as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Directory of org state, as `apply` wrote it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// The machine: / or a captured or simulated one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// The flash of this machine, read again; it is read, never written
    #[arg(long, value_name = "FILE")]
    pub firmware_image: Option<PathBuf>,

    /// AMT of another machine: prove over the network that it is ours and reachable; no power action is taken
    #[arg(long, value_name = "HOST:PORT", requires = "device", requires = "known_credential",
          conflicts_with_all = ["root", "firmware_image"])]
    pub remote: Option<String>,

    /// The device id, as org state has it, of the machine at --remote
    #[arg(long, value_name = "ID", requires = "remote")]
    pub device: Option<String>,

    /// The password of the machine at --remote: what its escrow file opens to, or one line
    #[arg(long, value_name = "FILE", requires = "remote")]
    pub known_credential: Option<PathBuf>,

    /// A client's certificate with its chain and key, PEM, for AMT that lets in nobody without
    #[arg(long, value_name = "FILE", requires = "remote")]
    pub client_certificate: Option<PathBuf>,

    /// Where the cleartext port is to be tried, if not at port 16992 of the same host
    #[arg(long, value_name = "HOST:PORT", requires = "remote")]
    pub cleartext: Option<String>,

    /// Ed25519 key that signs the event: PKCS#8 PEM or raw 32-byte seed
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check a policy file and print every diagnostic
    Lint {
        /// The policy file
        file: PathBuf,

        /// Print the diagnostics as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Print every rule, matched or not, and why
    Explain {
        /// The policy file
        file: PathBuf,

        /// Facts as printed by `detect --json`; without it the machine under --root is looked at
        #[arg(long, value_name = "FILE")]
        facts: Option<PathBuf>,

        /// The machine: / or a captured or simulated one
        #[arg(long, value_name = "DIR", default_value = "/", conflicts_with = "facts")]
        root: PathBuf,

        /// Where the machine will stand
        #[arg(long)]
        site: Option<String>,

        /// What the machine is for
        #[arg(long)]
        role: Option<String>,

        /// Print the explanation as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Firmware {
    /// Remove the ME's code from an image, with me_cleaner's own flags; without -O the file is edited in place
    Clean(Clean),
    /// Stage a neutralized copy of a full dump, with scripts that flash it and take it back; nothing is flashed
    Neutralize(Neutralize),
    /// Say what a file is, what it holds and what could be done with it; with -v every module
    Inspect(Inspect),
    /// Check a file's tables and signatures, and whether it is what was staged
    Verify(VerifyImage),
}

#[derive(Debug, Args)]
pub struct Neutralize {
    /// A full flash dump; it is read, never written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The staging directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Take methods, kept partitions and pinned results from this policy's rule that neutralizes
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Which rule of the policy, where several neutralize
    #[arg(long, value_name = "ID", requires = "policy")]
    pub rule: Option<String>,

    /// A method to try, in order; without it clean+soft-disable, then soft-disable
    #[arg(long, value_enum, value_name = "METHOD", conflicts_with = "policy")]
    pub method: Vec<ImageMethod>,

    /// A partition that code removal keeps besides FTPR, such as MFS; may be repeated
    #[arg(long, value_name = "NAME")]
    pub keep: Vec<String>,

    /// Remove code though the image carries Boot Guard manifests, which fuses may enforce
    #[arg(long)]
    pub accept_boot_guard: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageMethod {
    #[value(name = "clean+soft-disable")]
    CleanAndSoftDisable,
    #[value(name = "soft-disable")]
    SoftDisable,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// A flash dump, a single region, or anything that might be one
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyImage {
    /// A full flash dump, or an ME region alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// A staging directory: compare FILE with its images, region by region
    #[arg(long, value_name = "DIR")]
    pub staging: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Clean {
    /// A full flash dump, or an ME region alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Write the result here and leave FILE as it is
    #[arg(short = 'O', long, value_name = "FILE", conflicts_with = "check")]
    pub output: Option<PathBuf>,

    /// Set the soft-disable strap (HAP, AltMeDisable) besides removing code
    #[arg(short = 'S', long, conflicts_with = "soft_disable_only")]
    pub soft_disable: bool,

    /// Set the soft-disable strap and remove nothing
    #[arg(short = 's', long)]
    pub soft_disable_only: bool,

    /// Move FTPR to the top of the ME region
    #[arg(short, long)]
    pub relocate: bool,

    /// Cut off the empty end of the ME region; of a full image that shows in -D and -M alone
    #[arg(short, long)]
    pub truncate: bool,

    /// Keep the modules of FTPR
    #[arg(short, long)]
    pub keep_modules: bool,

    /// Partitions to keep besides FTPR, separated by commas
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "blacklist")]
    pub whitelist: Option<Vec<String>>,

    /// Partitions to remove, separated by commas; all others are kept
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    pub blacklist: Option<Vec<String>>,

    /// Take away the ME's access to other regions
    #[arg(short, long)]
    pub descriptor: bool,

    /// Write the resulting flash descriptor here
    #[arg(short = 'D', long, value_name = "FILE")]
    pub extract_descriptor: Option<PathBuf>,

    /// Write the resulting ME region here
    #[arg(short = 'M', long, value_name = "FILE")]
    pub extract_me: Option<PathBuf>,

    /// Look at the image and check its signature; change nothing
    #[arg(short, long)]
    pub check: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
