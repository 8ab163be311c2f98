//! Building a machine's directory and putting its device behind it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::device::{Device, Settings, was_switched_on};
use crate::lms::Lms;
use crate::ports::Ports;
use crate::profile::Profile;
use crate::{host, mei, tcp};

/// A machine that is being served, until the process ends or this is dropped.
pub struct Running {
    dir: PathBuf,
    device: Arc<Device>,
    _lock: File,
}

/// Builds `dir` afresh as a machine of this profile and serves it in the background.
///
/// # Errors
/// When `dir` is something else than an earlier machine or an empty directory, is served already, or cannot be
/// written.
pub fn start(profile: Profile, dir: &Path, settings: Settings) -> Result<Running> {
    let sim = dir.join("sim");
    claim(dir, &sim)?;
    let lock = File::create(sim.join("lock")).context("creating the machine's lock")?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("taking {}: another simulator serves it; end that one or name another --dir", dir.display());
    }
    clear(dir)?;
    let mut facts = profile.facts(settings.seed);
    facts.radio |= settings.habits.wifi && facts.has_wireless();
    facts.has_upid &= !settings.host_tls.no_upid;
    let state_file = sim.join("state.json");
    let off = settings.habits.amt_disabled && !was_switched_on(&state_file);
    facts.is_hidden = off && settings.habits.amt_hidden && facts.has_amt();
    host::build(dir, &facts).with_context(|| format!("building the machine in {}", dir.display()))?;
    let time_scale = settings.time_scale;
    let device = Device::new(facts, settings, state_file).context("starting the device")?;
    let device = Arc::new(device);
    let open = |port| match device.facts.has_amt() {
        true => tcp::listen(&device, port).map(Some).context("opening an AMT port"),
        false => Ok(None),
    };
    let (clear, tls) = (open(tcp::Port::Clear)?, open(tcp::Port::Tls)?);
    let lms = match device.facts.has_amt() && device.settings.habits.has_lms() {
        true => Some(Lms::start(&device).context("opening LMS's ports")?),
        false => None,
    };
    if device.facts.has_mei() {
        mei::serve(&device, &dir.join("dev/mei0")).context("opening dev/mei0")?;
    }
    let mut ports = Ports::new(dir.join(PORTS), &sim, clear, tls, time_scale).with_lms(lms);
    if let Some(root) = device.look(|inner| inner.amt.on_die_chain().map(|chain| chain.root.clone())) {
        ports = ports.with_on_die_root(&root);
    }
    device.tell_ports(ports).context("writing ports.json")?;
    Ok(Running { dir: dir.to_owned(), device, _lock: lock })
}

impl Running {
    /// One line of how much was asked of the device, by kind.
    #[must_use]
    pub fn summary(&self) -> String {
        self.device.look(|inner| inner.ledger.summary())
    }
}

impl Drop for Running {
    /// An ended machine is not ready, and has no MEI.
    fn drop(&mut self) {
        let _ = fs::remove_file(self.dir.join(PORTS));
        let _ = fs::remove_file(self.dir.join("dev/mei0"));
    }
}

const PORTS: &str = "ports.json";

/// Makes sure that `dir` is ours to build in: new, empty, or an earlier machine.
fn claim(dir: &Path, sim: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let empty = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?.next().is_none();
    if !empty && !sim.is_dir() {
        bail!("taking {}: it is not empty and no simulated machine; name another --dir", dir.display());
    }
    fs::create_dir_all(sim).with_context(|| format!("creating {}", sim.display()))
}

/// Removes what an earlier run built, and nothing else.
fn clear(dir: &Path) -> Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for file in [PORTS, "sim/state.json", "sim/state.new", "sim/ports.new"] {
        gone(fs::remove_file(dir.join(file))).with_context(|| format!("removing the earlier {file}"))?;
    }
    for part in ["sys", "proc", "dev"] {
        gone(fs::remove_dir_all(dir.join(part))).with_context(|| format!("removing the earlier {part}"))?;
    }
    Ok(())
}
