//! The device: its state, its account and its faults behind one lock. Every call of every peer passes here.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::amt::{Amt, Standing, Surroundings};
use crate::chance::Stream;
use crate::fault::{Fault, Spec};
use crate::habits::Habits;
use crate::host_tls::HostTls;
use crate::ledger::Ledger;
use crate::ports::Ports;
use crate::profile::Facts;

/// How the machine is to be run, beside its profile.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Faults, in the order in which they are looked at: the first that strikes is taken.
    pub faults: Vec<Spec>,
    /// Multiplies every waiting time of the firmware.
    pub time_scale: f64,
    /// Makes this machine another one of its kind.
    pub seed: u64,
    /// Names each call on stderr. Never shows what a message holds.
    pub trace: bool,
    /// The window, in bytes, that AMT grants on a new APF channel.
    pub apf_window: u32,
    /// Whether the firmware drops the LME session with each channel (`reference/amt-calls.md` 1: seen and denied).
    pub lme_drops_on_close: bool,
    /// What maker, MEBx and network gave to the firmware.
    pub surroundings: Surroundings,
    /// In what this machine differs from others of its type.
    pub habits: Habits,
    /// How TLS-only firmware is to behave.
    pub host_tls: HostTls,
}

impl Default for Settings {
    fn default() -> Self {
        // 4095 is what AMT was seen to grant (`reference/amt.md` 3.2).
        let (time_scale, apf_window, surroundings) = (1.0, 4095, Surroundings::default());
        let (faults, trace, lme_drops_on_close) = (Vec::new(), false, false);
        let (host_tls, habits) = (HostTls::default(), Habits::default());
        let seed = 1;
        Self {
            faults,
            time_scale,
            seed,
            trace,
            apf_window,
            lme_drops_on_close,
            surroundings,
            host_tls,
            habits,
        }
    }
}

/// One running device.
pub struct Device {
    /// What the profile says of this machine; never changes while it runs.
    pub facts: Facts,
    /// How it is run.
    pub settings: Settings,
    state_file: PathBuf,
    inner: Mutex<Inner>,
}

/// What a call may look at and change.
pub struct Inner {
    /// The AMT firmware's state; a machine without AMT has one that nobody can reach.
    pub amt: Amt,
    /// The account.
    pub ledger: Ledger,
    /// For noise and for odd places.
    pub stream: Stream,
    ports: Option<Ports>,
    faults: Vec<Spec>,
}

impl Device {
    /// A device as it leaves the factory, with its first `state.json` written.
    ///
    /// # Errors
    /// When the kernel gives no random bytes or the state file cannot be written.
    pub fn new(facts: Facts, mut settings: Settings, state_file: PathBuf) -> io::Result<Self> {
        settings.habits.amt_disabled &= !was_switched_on(&state_file);
        let inner = Inner {
            amt: Amt::new(&facts, &settings)?,
            ledger: Ledger::default(),
            stream: Stream::new(settings.seed),
            ports: None,
            faults: settings.faults.clone(),
        };
        let device = Self { facts, settings, state_file, inner: Mutex::new(inner) };
        device.save(&device.lock())?;
        Ok(device)
    }

    /// Counts one device call and says whether a fault strikes it. `mutating` is the call's nature, not its success.
    pub fn begin(&self, name: &str, mutating: bool) -> Option<Fault> {
        self.act(|inner| {
            let number = inner.ledger.count(name, mutating);
            // Every spec counts the call, also those behind the one that strikes.
            let struck: Vec<Fault> =
                inner.faults.iter_mut().filter_map(|spec| spec.strikes(name, number)).collect();
            let fault = struck.first().copied();
            self.trace(|| match fault {
                Some(fault) => format!("call {number} {name}, fault {fault:?}"),
                None => format!("call {number} {name}"),
            });
            match fault {
                Some(Fault::MeRestart) => {
                    inner.amt.restart_me();
                    Some(Fault::DropBefore)
                }
                Some(Fault::TlsOff) => {
                    inner.amt.switch_tls_off();
                    None
                }
                fault => fault,
            }
        })
    }

    /// Looks at or changes the state, then writes `state.json` and `ports.json`: a reply made from what this returns is
    /// never ahead of the files.
    pub fn act<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = act(&mut inner);
        if let Err(error) = self.save(&inner) {
            let _ = writeln!(io::stderr(), "writing {}: {error}", self.state_file.display());
        }
        let Inner { amt, ports, .. } = &mut *inner;
        if let Some(Err(error)) = ports.as_mut().map(|ports| ports.tell(amt)) {
            let _ = writeln!(io::stderr(), "writing ports.json: {error}");
        }
        result
    }

    /// Looks at the state without changing it.
    pub fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// How often the ME has restarted: no MEI connection outlives that.
    #[must_use]
    pub fn me_restarts(&self) -> u64 {
        self.look(|inner| inner.amt.ports().me_restarted)
    }

    /// Tells the ports for the first time, and from now on whenever they change.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tell_ports(&self, mut ports: Ports) -> io::Result<()> {
        let mut inner = self.lock();
        ports.tell(&inner.amt)?;
        inner.ports = Some(ports);
        Ok(())
    }

    /// One trace line, if traces are wanted.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.settings.trace {
            let _ = writeln!(io::stderr(), "oob-sim: {}", line());
        }
    }

    /// A waiting time of the firmware, in this machine's time.
    #[must_use]
    pub fn scaled(&self, time: Duration) -> Duration {
        scaled(time, self.settings.time_scale)
    }

    fn save(&self, inner: &Inner) -> io::Result<()> {
        let standing: Standing = inner.amt.standing();
        if let Some(on) = inner.amt.next_start() {
            fs::write(self.state_file.with_file_name(OPERATION), if on { ON } else { b"off" })?;
        }
        inner.ledger.save(&self.state_file, &standing)
    }

    /// A thread that panicked while it held the lock has broken its own connection only: the state is plain data.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the host switched AMT on in an earlier life of this machine: that holds in this one.
#[must_use]
pub fn was_switched_on(state_file: &Path) -> bool {
    fs::read(state_file.with_file_name(OPERATION)).is_ok_and(|word| word == ON)
}

/// Beside `state.json`, and outliving it: whether the host switched AMT on or off.
const OPERATION: &str = "operation";
const ON: &[u8] = b"on";

/// `time` multiplied by `scale`, which the command line has checked.
#[must_use]
pub fn scaled(time: Duration, scale: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * scale).unwrap_or(time)
}
