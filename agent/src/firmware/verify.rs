//! `firmware verify`: whether a file holds what it should, by itself and against a staging directory. Nothing is
//! written; the proof that the running machine took it is `verify`'s alone.

use std::path::Path;

use oob_mecheck::container::{Kind, identify};
use oob_mecheck::me::{Checksum, MeImage, SignedManifest};
use oob_mecheck::signature::Verdict;
use oob_mecheck::{Descriptor, inspect};
use oob_policy::Exit;
use serde::Serialize;

use super::{read, sha256_hex};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `descriptor`, `signature of FTPR.man`, `region bios`.
    pub what: String,
    /// File offset of what was looked at, in bytes.
    pub offset: usize,
    pub verdict: Word,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    Holds,
    Fails,
    /// The text says what stood in the way.
    NotChecked,
}

/// What a file is worth.
#[derive(Debug, Serialize)]
pub struct Verified {
    pub size: usize,
    pub sha256: String,
    pub checks: Vec<Check>,
    /// Against a staging directory, where one was given.
    pub staged: Option<Comparison>,
}

/// The file against the two images of a staging directory.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub state: State,
    pub regions: Vec<RegionState>,
}

/// By the regions that neutralizing may change: the descriptor and the ME's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// They are those of `neutralized.bin`.
    Neutralized,
    /// They are those of `original.bin`: never flashed, or rolled back.
    Original,
    /// Some are the one's, some the other's: a flashing that was cut short.
    Mixed,
    /// At least one is neither.
    Other,
}

#[derive(Debug, Serialize)]
pub struct RegionState {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
    /// Equal to `neutralized.bin`'s.
    pub neutralized: bool,
    /// Equal to `original.bin`'s.
    pub original: bool,
    /// First offset that differs from `neutralized.bin`.
    pub differs_at: Option<usize>,
}

impl Verified {
    /// Looks at `bytes`, and compares it with the staging directory's images.
    pub fn of(bytes: &[u8], staged: Option<&Staged>) -> Self {
        let mut checks = Checks(Vec::new());
        match identify(bytes).kind {
            Kind::FlashDump => checks.dump(bytes),
            Kind::MeRegion => checks.engine(MeImage::parse(bytes).as_ref().map_err(ToString::to_string)),
            _ => {
                let container = identify(bytes);
                checks.add("file", container.offset, Word::Fails, container.what.to_string());
            }
        }
        Self {
            size: bytes.len(),
            sha256: sha256_hex(bytes),
            checks: checks.0,
            staged: staged.map(|staged| staged.compare(bytes)),
        }
    }

    /// 5 where the file itself is not sound, 9 where it is not what was staged.
    pub fn exit(&self) -> (Exit, &'static str) {
        let state = self.staged.as_ref().map(|staged| staged.state);
        if self.checks.iter().any(|check| check.verdict == Word::Fails) {
            return (Exit::DeviceFailed, "image-not-sound");
        }
        match state {
            None => (Exit::Satisfied, "image-sound"),
            Some(State::Neutralized) => (Exit::Satisfied, "as-staged"),
            Some(State::Original) => (Exit::Drift, "not-flashed"),
            Some(State::Mixed) => (Exit::Drift, "partly-flashed"),
            Some(State::Other) => (Exit::Drift, "differs"),
        }
    }
}

/// The images of a staging directory, and the regions of its original.
pub struct Staged {
    original: Vec<u8>,
    neutralized: Vec<u8>,
    descriptor: Descriptor,
}

impl Staged {
    /// Reads both images and holds them against the manifest beside them.
    ///
    /// # Errors
    /// A sentence for people where one is missing or is not the one that the manifest names.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join("manifest.json");
        let text = std::fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let manifest: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let image = |name: &str| -> Result<Vec<u8>, String> {
            let path = directory.join(name);
            let bytes = read(&path)?;
            let expected = manifest.get("sha256").and_then(|all| all.get(name)).and_then(|it| it.as_str());
            let actual = sha256_hex(&bytes);
            match expected {
                Some(expected) if expected == actual => Ok(bytes),
                Some(expected) => Err(format!(
                    "{} is {actual}, and the manifest beside it says {expected}: the staging directory was changed; \
                     stage anew",
                    path.display()
                )),
                None => Err(format!("{} does not name {name}: no staging manifest", path.display())),
            }
        };
        let (original, neutralized) = (image("original.bin")?, image("neutralized.bin")?);
        let descriptor = Descriptor::parse(&original)
            .map_err(|error| format!("reading {}: {error}", directory.join("original.bin").display()))?;
        Ok(Self { original, neutralized, descriptor })
    }

    fn compare(&self, bytes: &[u8]) -> Comparison {
        let regions: Vec<RegionState> = self
            .descriptor
            .regions
            .iter()
            .map(|region| {
                let range = region.base..region.limit.saturating_add(1);
                let held = bytes.get(range.clone());
                let (new, old) = (self.neutralized.get(range.clone()), self.original.get(range.clone()));
                RegionState {
                    name: region.name,
                    offset: range.start,
                    size: range.len(),
                    neutralized: held == new,
                    original: held == old,
                    differs_at: first_difference(held, new).map(|at| range.start + at),
                }
            })
            .collect();
        let changed: Vec<&RegionState> =
            regions.iter().filter(|it| ["descriptor", "me"].contains(&it.name)).collect();
        let all = |is: fn(&RegionState) -> bool| changed.iter().all(|region| is(region));
        let state = if bytes.len() != self.original.len() {
            State::Other
        } else if all(|region| region.neutralized) {
            State::Neutralized
        } else if all(|region| region.original) {
            State::Original
        } else if all(|region| region.neutralized || region.original) {
            State::Mixed
        } else {
            State::Other
        };
        Comparison { state, regions }
    }
}

/// None where both are the same; a file that ends early differs where it ends.
fn first_difference(held: Option<&[u8]>, wanted: Option<&[u8]>) -> Option<usize> {
    match (held, wanted) {
        (Some(held), Some(wanted)) => held.iter().zip(wanted).position(|(held, wanted)| held != wanted),
        (None, None) => None,
        _ => Some(0),
    }
}

struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, what: impl Into<String>, offset: usize, verdict: Word, text: impl Into<String>) {
        self.0.push(Check { what: what.into(), offset, verdict, text: text.into() });
    }

    fn dump(&mut self, bytes: &[u8]) {
        let found = match inspect(bytes) {
            Ok(found) => found,
            Err(error) => return self.add("descriptor", error.offset, Word::Fails, error.to_string()),
        };
        let (at, end) = (found.descriptor.signature_offset, found.descriptor.flash_end());
        if end > bytes.len() {
            let text = format!(
                "its regions end at {end:#x} and the file at {:#x}: a partial dump, such as chip 1 of 2",
                bytes.len()
            );
            self.add("descriptor", at, Word::Fails, text);
        } else {
            let regions = found.descriptor.regions.len();
            self.add("descriptor", at, Word::Holds, format!("{regions} regions, all within the file"));
        }
        self.engine(found.me.as_ref().map_err(ToString::to_string));
    }

    fn engine(&mut self, engine: Result<&MeImage, String>) {
        let engine = match engine {
            Ok(engine) => engine,
            // Whether that is as it should be nobody can tell from the file: ME 1 to 5 is removed whole, for one.
            Err(why) => return self.add("ME region", 0, Word::NotChecked, why),
        };
        if let Some(table) = &engine.table {
            self.checksum("$FPT", table.offset, table.checksum);
        }
        if let Some(layout) = &engine.layout {
            self.checksum("layout table", engine.region.offset, layout.checksum);
        }
        for table in &engine.boot_tables {
            self.checksum("BPDT", table.offset, table.checksum);
        }
        for partition in &engine.partitions {
            if let Some(directory) = partition.directory() {
                self.checksum(&format!("$CPD of {}", partition.name), partition.offset, directory.checksum);
            }
        }
        for signed in &engine.manifests {
            self.signature(signed);
        }
    }

    fn checksum(&mut self, what: &str, offset: usize, checksum: Checksum) {
        let (verdict, text) = match checksum {
            Checksum::Right => (Word::Holds, "checksum right".to_owned()),
            Checksum::Wrong { stored, computed } => {
                (Word::Fails, format!("checksum {stored:#x}, computed {computed:#x}"))
            }
            Checksum::Unknown => (Word::NotChecked, "no rule for its checksum is known".to_owned()),
        };
        self.add(what, offset, verdict, text);
    }

    fn signature(&mut self, signed: &SignedManifest) {
        let verdict = match &signed.verdict {
            Verdict::Valid { .. } => Word::Holds,
            Verdict::Invalid { .. } => Word::Fails,
            Verdict::NotChecked { .. } => Word::NotChecked,
        };
        let key = signed.manifest.as_ref().and_then(|manifest| manifest.key.known());
        let key = key.map_or("an unknown key", |known| known.name);
        let early = if signed.pre_production { ", pre-production" } else { "" };
        let text = format!("{} ({key}{early})", signed.verdict);
        self.add(format!("signature of {}", signed.name), signed.offset, verdict, text);
    }
}
