//! Seeds: a few sound inputs for each target, so that it starts behind the magic numbers. They are made when a target
//! starts, from the project's own fixtures; no bytes of anybody else are kept.

mod firmware;
mod machine;
mod messages;

use std::fs;
use std::path::Path;

pub(crate) use firmware::images;
pub use machine::MACHINE_FILES;

use crate::base::bases;

/// The project's root, for text files of its own that serve as seeds.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Writes the seeds of `target` into the directory that `OOB_FUZZ_SEEDS` names; `run` does so before the fuzzer reads it.
pub fn plant(target: &str) {
    let Some(directory) = std::env::var_os("OOB_FUZZ_SEEDS") else { return };
    let seeds = match target {
        "apf_session" => messages::apf(),
        "mei_replies" => messages::mei(),
        "soap_reply" => messages::soap(),
        "policy_file" => [files("packaging/examples", "toml"), files("policy/tests/bad", "toml")].concat(),
        "smbios" => machine::smbios(),
        "org_state_event" => machine::events(),
        "machine_root" => machine::roots(),
        "firmware_manifest" => vectors(),
        firmware if firmware.starts_with("firmware_") => firmware_seeds(),
        other => panic!("no seeds are made for {other}"),
    };
    assert!(!seeds.is_empty());
    for (index, seed) in seeds.iter().enumerate() {
        let path = Path::new(&directory).join(format!("seed-{index:02}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
    }
}

/// Every base as it is, and with each flag of a target's own.
fn firmware_seeds() -> Vec<Vec<u8>> {
    let bases = 1..=u8::try_from(bases().len()).expect("fewer than 256 bases");
    let flags = [0, 0xffff].into_iter().chain((0..12).map(|bit| 1_u16 << bit));
    let all = bases.flat_map(|base| flags.clone().map(move |flags| (base, flags.to_le_bytes())));
    // The changes do nothing yet; there is room for the fuzzer to write some.
    all.map(|(base, [low, high])| [&[base, low, high, 1][..], &[0x0f; 14]].concat()).collect()
}

/// A manifest that openssl signed, by its name in the product's test data.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let of_line = |line: &str| line.split_once(' ').map(|(name, hex)| (name.to_owned(), unhex(hex)));
    let all = include_str!("../../../mecheck/tests/data/manifests.hex").lines().filter_map(of_line);
    all.into_iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes).expect("a name of the list")
}

fn vectors() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../mecheck/tests/data/manifests.hex").lines();
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(_, hex)| [&[0; 4][..], &unhex(hex)].concat())
        .collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.trim().as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("hex digits")).collect()
}

/// Files of this project.
fn files(directory: &str, extension: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(ROOT).join(directory);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a directory").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|it| it == extension));
    wanted.map(|path| fs::read(path).expect("a file of this project")).collect()
}
