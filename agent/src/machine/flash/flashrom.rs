//! flashrom as a process: found once, run without a shell, with nothing of our environment, and never left behind.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::machine::raw;

/// What a run said.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) succeeded: bool,
    /// How it ended, such as `exit status: 1`.
    pub(super) ended: String,
    /// Both streams, at most [`MAX_OUTPUT`] bytes of them.
    pub(super) output: String,
}

/// The program by its absolute path: in PATH, or where distributions put it, which the PATH of a service often lacks.
pub(super) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin", "/bin"];
    env::split_paths(&path).chain(fixed.map(PathBuf::from)).find_map(|directory| {
        let program = directory.join("flashrom");
        // A relative entry would be whatever lies in the current directory.
        let sound = directory.is_absolute()
            && program.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
        sound.then_some(program)
    })
}

/// The chip of flashrom's dummy programmer for a size in bytes: a real one where flashrom then knows it without being
/// told its name.
pub(super) fn emulation(size: u64) -> String {
    match size {
        0x100_0000 => "W25Q128FV".to_owned(),
        other => format!("VARIABLE_SIZE,size={other}"),
    }
}

/// `flashrom -p PROGRAMMER -r NAME` in `directory`.
///
/// # Errors
/// Where it cannot be started, or was killed because it took longer than `limit`.
pub(super) async fn read(
    program: &Path,
    programmer: &str,
    directory: &Path,
    name: &str,
    limit: Duration,
) -> Result<Run, String> {
    let starting = |error: io::Error| format!("starting {}: {error}", program.display());
    let log = directory.join(LOG);
    let (stdout, stderr) =
        File::create(&log).and_then(|log| Ok((log.try_clone()?, log))).map_err(starting)?;
    let mut command = Command::new(program);
    command
        .args(["-p", programmer, "-r", name])
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    raw::die_with_us(&mut command);
    let child = command.spawn().map_err(starting)?;
    let ended = Running(child).ended_within(limit).await;
    let output = head_of(&log);
    let ended = ended.map_err(|error| format!("waiting for {}: {error}", program.display()))?;
    tracing::debug!(%programmer, ?ended, %output, "flashrom");
    match ended {
        Some(status) => Ok(Run { succeeded: status.success(), ended: status.to_string(), output }),
        None => Err(format!(
            "flashrom took longer than {} s and was killed; a chip that is read needs seconds to minutes",
            limit.as_secs()
        )),
    }
}

const LOG: &str = "flashrom.log";
/// flashrom says some dozens of lines.
const MAX_OUTPUT: u64 = 64 << 10;
/// Between two looks at a child, the later the longer.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// A child that does not outlive its owner, even where the owner is dropped while it waits.
struct Running(Child);

impl Running {
    /// How it ended; none where it had to be killed.
    async fn ended_within(mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        let mut pause = PAUSES[0];
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if begin.elapsed() >= limit {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // By its own id, which nobody else has before it is waited for. One that has ended is left alone.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn head_of(log: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(log) {
        let _ = file.take(MAX_OUTPUT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
