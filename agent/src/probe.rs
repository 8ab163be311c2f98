//! Crash points: named places just before and just after everything that outlives the process.
//!
//! A debug build counts them, and can write them down or die at one of them, so that a test can kill the agent at
//! every place where a real machine may lose power. A release build has neither the code nor the names of the
//! variables; a test looks for them in the binary.
//!
//! - `OOB_PROBE_TRACE=FILE` appends one line per point: `7 before disk.rename devices/ab/...`.
//! - `OOB_PROBE_KILL=N` kills the process, as `kill -9` does, at the N-th point; the first is 1.
//!
//! A point's text is an operation and its subject, such as `disk.fsync local/d1-.../journal.jsonl` or
//! `device mutating IPS_HostBasedSetupService.Setup`. It never holds anything secret.

use std::fmt::Display;

/// Marks the place just before an act.
#[inline]
pub fn before(point: impl Display) {
    #[cfg(debug_assertions)]
    armed::pass("before", &point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// Marks the place just after an act.
#[inline]
pub fn after(point: impl Display) {
    #[cfg(debug_assertions)]
    armed::pass("after", &point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

#[cfg(debug_assertions)]
mod armed {
    use std::fmt::Display;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    struct Probe {
        trace: Option<File>,
        kill_at: Option<u64>,
        passed: u64,
    }

    /// One lock over number, line and death, so that the trace shows exactly what had happened.
    pub(super) fn pass(side: &str, point: &dyn Display) {
        static PROBE: OnceLock<Mutex<Probe>> = OnceLock::new();
        let mut probe = PROBE
            .get_or_init(|| Mutex::new(Probe::from_environment()))
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        probe.passed += 1;
        let number = probe.passed;
        if let Some(trace) = &mut probe.trace {
            // A trace that cannot be written would only hide points from a test that counts them.
            let written = trace.write_all(format!("{number} {side} {point}\n").as_bytes());
            assert!(written.is_ok(), "writing the probe trace: {written:?}");
        }
        if probe.kill_at == Some(number) {
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }

    impl Probe {
        fn from_environment() -> Self {
            let trace = std::env::var_os("OOB_PROBE_TRACE").map(|path| {
                let opened = OpenOptions::new().append(true).create(true).open(&path);
                assert!(opened.is_ok(), "opening the probe trace {}: {opened:?}", path.display());
                opened.ok()
            });
            let kill_at = std::env::var("OOB_PROBE_KILL").ok().map(|text| {
                let number = text.parse();
                assert!(number.is_ok(), "OOB_PROBE_KILL={text} is not a number");
                number.unwrap_or(0)
            });
            Self { trace: trace.flatten(), kill_at, passed: 0 }
        }
    }
}
