//! Reading the flash chip with flashrom, a program of others: twice, and only what both readings agree on counts.
//!
//! A live machine is read through its chipset (`-p internal`). Any other root may hold a chip as `dev/flash.img`, which
//! flashrom's `dummy` programmer emulates from a private copy. Nothing is ever written to a chip here.

mod evidence;
mod flashrom;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use rustix::process::geteuid;

use self::evidence::Circumstances;
use super::{Machine, root};

/// The largest SPI flash in sight is 64 MiB; two of them make a dump of 128 MiB.
pub const LARGEST_FLASH: u64 = 128 << 20;

/// What a chip holds.
#[derive(Debug)]
pub struct FlashChip {
    pub bytes: Vec<u8>,
    /// What flashrom said about the chip's protection, for people.
    pub notes: Vec<String>,
}

impl Machine {
    /// Reads the whole chip twice, into files in `directory`, which the caller removes: a dump holds serial numbers and
    /// keys.
    ///
    /// # Errors
    /// Why there is nothing to be relied on, by the evidence at hand, and what to do next; foreign words in it are
    /// escaped.
    pub async fn read_flash(&self, directory: &Path) -> Result<FlashChip, String> {
        let (programmer, circumstances) = if self.is_live() {
            if !geteuid().is_root() {
                return Err("reading the flash chip needs root: run as root".to_owned());
            }
            ("internal".to_owned(), Circumstances::of(self))
        } else {
            (self.emulated(directory)?, Circumstances::default())
        };
        let Some(program) = flashrom::find() else {
            return Err(format!("flashrom is not installed: add it to the medium, or {EXTERNALLY}"));
        };
        read_twice(&program, &programmer, directory, &circumstances).await
    }

    /// flashrom's name for the chip in `dev/flash.img`, of which a copy is laid into `directory`.
    fn emulated(&self, directory: &Path) -> Result<String, String> {
        let nothing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("unknown({}): it has no {CHIP}", self.kind().word()),
            _ => format!("unknown({}): reading {CHIP}: {error}", self.kind().word()),
        };
        let path = self.open_beneath(CHIP, OFlags::PATH).map_err(nothing)?;
        if !root::is_type(&path, FileType::RegularFile).map_err(nothing)? {
            return Err(nothing(io::Error::other("this is not a regular file")));
        }
        let mut file =
            File::from(self.open_beneath(CHIP, OFlags::RDONLY | OFlags::NONBLOCK).map_err(nothing)?);
        let copy = File::create(directory.join(COPY));
        let size = copy
            .and_then(|mut copy| io::copy(&mut Read::by_ref(&mut file).take(LARGEST_FLASH + 1), &mut copy))
            .map_err(|error| format!("copying {CHIP}: {error}"))?;
        match size {
            0 => Err(format!("unknown({}): {CHIP} is empty", self.kind().word())),
            size if size > LARGEST_FLASH => {
                Err(format!("{CHIP} is larger than {LARGEST_FLASH} bytes, so it is no flash chip"))
            }
            size => Ok(format!("dummy:emulate={},image={COPY}", flashrom::emulation(size))),
        }
    }
}

/// The chip of a machine that is not live, and its copy beside the readings.
const CHIP: &str = "dev/flash.img";
const COPY: &str = "chip.img";
const EXTERNALLY: &str = "read the chip with an external programmer and name the dump with --firmware-image";
/// A chip of 64 MiB behind a slow controller takes minutes; one that takes longer than this has hung.
const LIMIT: Duration = Duration::from_secs(20 * 60);

async fn read_twice(
    program: &Path,
    programmer: &str,
    directory: &Path,
    circumstances: &Circumstances,
) -> Result<FlashChip, String> {
    let mut readings = Vec::new();
    let mut notes = Vec::new();
    for name in ["reading-1.bin", "reading-2.bin"] {
        let run = flashrom::read(program, programmer, directory, name, LIMIT).await?;
        if !run.succeeded {
            return Err(format!("{}; {EXTERNALLY}", evidence::refusal(&run, circumstances)));
        }
        let file = directory.join(name);
        let bytes = read_at_most(&file).map_err(|error| format!("reading what flashrom wrote: {error}"))?;
        // Two readings and an image to be made are enough for one disk.
        let _ = fs::remove_file(&file);
        notes = evidence::notes(&run.output);
        readings.push(bytes);
    }
    match <[Vec<u8>; 2]>::try_from(readings) {
        Ok([first, second]) if first != second => Err(format!(
            "two readings of the chip differ, so neither is relied on: run again, or {EXTERNALLY}"
        )),
        Ok([first, _]) if !first.is_empty() => Ok(FlashChip { bytes: first, notes }),
        _ => Err(format!("flashrom says that it read the chip, and wrote nothing: {EXTERNALLY}")),
    }
}

fn read_at_most(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST_FLASH + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FLASH {
        return Err(io::Error::other(format!("longer than {LARGEST_FLASH} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "flash/flash_tests.rs"]
mod tests;
