//! A machine whose every file anybody may have written: sysfs, procfs, SMBIOS, PCI and a simulator's port list. An input is a
//! list of files: which one, its length in two bytes, its content.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oob_agent::machine::Machine;
use oob_agent::{detect, report};
use oob_fuzz::seeds::{MACHINE_FILES, plant};
use tokio::runtime::{Builder, Runtime};

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    // Memory, where there is some: every input writes files.
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    place.join(format!("oob-fuzz-{}", std::process::id()))
});
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(init: plant("machine_root"), |data: &[u8]| {
    fs::create_dir_all(&*ROOT).expect("a directory of our own");
    let mut written = Vec::new();
    let mut rest = data;
    while let Some(([choice, low, high], tail)) = rest.split_first_chunk() {
        let (content, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(tail.len()));
        rest = tail;
        let path = ROOT.join(MACHINE_FILES[usize::from(*choice) % MACHINE_FILES.len()]);
        fs::create_dir_all(path.parent().expect("a file has one")).expect("a directory of our own");
        fs::write(&path, content).expect("a file of our own");
        written.push(path);
    }
    if let Ok(machine) = Machine::open(&ROOT) {
        let detection = RUNTIME.block_on(detect::detect(&machine));
        let table = report::facts_table(&detection);
        // Its own colors, which the program takes away where there is no terminal.
        let plain = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[33m"].iter().fold(table, |text, color| text.replace(color, ""));
        let control = plain.chars().find(|it| it.is_control() && *it != '\n');
        assert_eq!(control, None, "foreign text reaches the terminal: {plain:?}");
        assert!(serde_json::to_string(&detection).is_ok());
    }
    // A directory shows as hardware, so that it must go with its files.
    let _ = fs::remove_dir_all(&*ROOT);
});
