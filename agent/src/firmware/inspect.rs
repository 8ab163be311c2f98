//! `firmware inspect`: everything that can be said about a file, and nothing changed.

use oob_mecheck::container::{Container, Kind, identify};
use oob_mecheck::fit::BootGuard;
use oob_mecheck::uefi::{Uefi, walk};
use oob_mecheck::{ImageError, Inspection, MeImage};
use oob_policy::Exit;
use serde_json::{Value, json};

use super::outlook::Outlook;
use super::sha256_hex;

/// What a file turned out to be. Parts that it does not have are None.
pub struct Inspected {
    pub size: usize,
    pub sha256: String,
    pub container: Container,
    /// Descriptor, straps and engine of a dump, or of a descriptor alone.
    pub flash: Option<Inspection>,
    /// The engine of an ME region alone, or why it could not be read.
    pub region: Option<Result<MeImage, ImageError>>,
    /// Hints, or why a table that is there could not be read.
    pub boot_guard: Result<Option<BootGuard>, ImageError>,
    pub uefi: Option<Uefi>,
    pub outlook: Option<Outlook>,
}

/// Looks at `bytes`.
pub fn inspect(bytes: &[u8]) -> Inspected {
    let container = identify(bytes);
    let mut found = Inspected {
        size: bytes.len(),
        sha256: sha256_hex(bytes),
        container,
        flash: None,
        region: None,
        boot_guard: Ok(None),
        uefi: None,
        outlook: None,
    };
    match found.container.kind {
        Kind::FlashDump | Kind::DescriptorAlone => found.read_flash(bytes),
        Kind::MeRegion => found.region = Some(MeImage::parse(bytes)),
        Kind::UefiVolumes => {
            found.boot_guard = BootGuard::find(bytes);
            found.uefi = Some(walk(bytes, 0));
        }
        _ => return found,
    }
    let outlook =
        Outlook::of(bytes, found.container.kind, found.flash.as_ref(), found.engine().and_then(Result::ok));
    found.outlook = Some(outlook);
    found
}

impl Inspected {
    /// The engine, wherever it lies; None for files that have none.
    pub fn engine(&self) -> Option<Result<&MeImage, &ImageError>> {
        let in_dump = self.flash.as_ref().filter(|_| self.container.kind == Kind::FlashDump);
        self.region.as_ref().or(in_dump.map(|flash| &flash.me)).map(Result::as_ref)
    }

    /// Whether anything of the file could be read.
    pub fn exit(&self) -> Exit {
        let engine_failed = matches!(self.region, Some(Err(_)));
        let readable = self.container.kind.is_readable() && !engine_failed;
        if readable { Exit::Satisfied } else { Exit::DeviceFailed }
    }

    /// Why nothing could be read, with the offset: for [`Inspected::exit`] other than 0.
    pub fn reason(&self) -> String {
        match &self.region {
            Some(Err(error)) => format!("{}, but {error}", self.container.what),
            _ => format!("at offset {:#x}: {}", self.container.offset, self.container.what),
        }
    }

    /// For programs. Keys are written with underscores, however deep.
    pub fn json(&self) -> Value {
        let error =
            |error: &ImageError| json!({"what": error.what, "offset": error.offset, "why": error.why});
        let flash = self.flash.as_ref();
        let engine = self.engine();
        let mut value = json!({
            "schema": "oob-inspection/1",
            "exit_code": self.exit().code(),
            "reason": if self.exit() == Exit::Satisfied { "understood" } else { "no-firmware-image" },
            "changed": false,
            "size": self.size,
            "sha256": self.sha256,
            "kind": self.container.kind,
            "offset": self.container.offset,
            "text": self.container.what,
            "descriptor": flash.map(|flash| &flash.descriptor),
            "strap": flash.map(|flash| &flash.strap),
            "soft_disable": flash.map(|flash| &flash.soft_disable),
            "me": engine.and_then(Result::ok),
            "me_error": engine.and_then(Result::err).map(error),
            "boot_guard": self.boot_guard.as_ref().ok(),
            "boot_guard_error": self.boot_guard.as_ref().err().map(error),
            "uefi": self.uefi,
            "outlook": self.outlook,
        });
        underscore_keys(&mut value);
        value
    }

    fn read_flash(&mut self, bytes: &[u8]) {
        // `identify` has parsed the descriptor already, so this does not fail; without one there is nothing to say.
        let Ok(seen) = oob_mecheck::inspect(bytes) else { return };
        let bios = seen.descriptor.region("bios").filter(|_| self.container.kind == Kind::FlashDump);
        if let Some(region) = bios {
            let end = region.limit.saturating_add(1);
            // The last byte of the BIOS region is the one below 4 GiB; in a partial dump it is not there.
            if let Some(flash) = bytes.get(..end) {
                self.boot_guard = BootGuard::find(flash);
            }
            let held = bytes.get(region.base..end.min(bytes.len()));
            self.uefi = held.map(|bios| walk(bios, region.base));
        }
        self.flash = Some(seen);
    }
}

/// The crates below write some keys with hyphens; a reader of one document should not have to know which.
fn underscore_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, mut value) in std::mem::take(map) {
                underscore_keys(&mut value);
                map.insert(key.replace('-', "_"), value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(underscore_keys),
        _ => {}
    }
}
