//! `firmware inspect`: everything that can be said about a file, and nothing changed.

use oob_mecheck::container::{Container, Kind, identify};
use oob_mecheck::fit::BootGuard;
use oob_mecheck::manifest::Manifest;
use oob_mecheck::signature::Verdict;
use oob_mecheck::uefi::{Uefi, walk};
use oob_mecheck::{Descriptor, ImageError, MeImage, SoftDisable, StrapReading};
use oob_policy::Exit;
use serde_json::{Value, json};

use super::outlook::{Outlook, Seen};
use super::sha256_hex;

/// What a file turned out to be. Parts that it does not have are None.
pub struct Inspected {
    pub size: usize,
    pub sha256: String,
    pub container: Container,
    pub descriptor: Option<Descriptor>,
    pub strap: Option<StrapReading>,
    pub soft_disable: Option<SoftDisable>,
    /// The engine's region, or why it could not be read.
    pub me: Option<Result<Engine, ImageError>>,
    /// Hints, or why a table that is there could not be read.
    pub boot_guard: Result<Option<BootGuard>, ImageError>,
    pub uefi: Option<Uefi>,
    pub outlook: Option<Outlook>,
}

/// An ME region and its signatures.
pub struct Engine {
    pub image: MeImage,
    /// File offset of the region.
    pub base: usize,
    pub signatures: Vec<Signature>,
}

/// One manifest and what became of its check.
pub struct Signature {
    pub partition: String,
    pub manifest: Manifest,
    pub verdict: Verdict,
}

/// Looks at `bytes`.
pub fn inspect(bytes: &[u8]) -> Inspected {
    let container = identify(bytes);
    let mut found = Inspected {
        size: bytes.len(),
        sha256: sha256_hex(bytes),
        container,
        descriptor: None,
        strap: None,
        soft_disable: None,
        me: None,
        boot_guard: Ok(None),
        uefi: None,
        outlook: None,
    };
    match found.container.kind {
        Kind::FlashDump | Kind::DescriptorAlone => found.read_flash(bytes),
        Kind::MeRegion => found.me = Some(MeImage::parse(bytes).map(|image| Engine::new(image, bytes, 0))),
        Kind::UefiVolumes => {
            found.boot_guard = BootGuard::find(bytes);
            found.uefi = Some(walk(bytes, 0));
        }
        _ => return found,
    }
    found.outlook = Some(Outlook::of(&Seen {
        image: bytes,
        kind: found.container.kind,
        descriptor: found.descriptor.as_ref(),
        me: found.me.as_ref().and_then(|me| me.as_ref().ok()).map(|engine| &engine.image),
        soft_disable: found.soft_disable.as_ref(),
        boot_guard: found.boot_guard.as_ref().ok().and_then(Option::as_ref),
    }));
    found
}

impl Inspected {
    /// Whether anything of the file could be read.
    pub fn exit(&self) -> Exit {
        let engine_failed = self.container.kind == Kind::MeRegion && matches!(self.me, Some(Err(_)));
        let readable = self.container.kind.is_readable() && !engine_failed;
        if readable { Exit::Satisfied } else { Exit::DeviceFailed }
    }

    /// Why nothing could be read, with the offset: for [`Inspected::exit`] other than 0.
    pub fn reason(&self) -> String {
        match &self.me {
            Some(Err(error)) if self.container.kind == Kind::MeRegion => {
                format!("{}, but {error}", self.container.what)
            }
            _ => format!("at offset {:#x}: {}", self.container.offset, self.container.what),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let error =
            |error: &ImageError| json!({"what": error.what, "offset": error.offset, "why": error.why});
        let (me, me_error) = match &self.me {
            None => (Value::Null, Value::Null),
            Some(Ok(engine)) => (engine.json(), Value::Null),
            Some(Err(why)) => (Value::Null, error(why)),
        };
        json!({
            "schema": "oob-inspection/1",
            "exit_code": self.exit().code(),
            "reason": if self.exit() == Exit::Satisfied { "understood" } else { "no-firmware-image" },
            "changed": false,
            "size": self.size,
            "sha256": self.sha256,
            "kind": self.container.kind,
            "offset": self.container.offset,
            "text": self.container.what,
            "descriptor": self.descriptor,
            "strap": self.strap,
            "soft_disable": self.soft_disable,
            "me": me,
            "me_error": me_error,
            "boot_guard": self.boot_guard.as_ref().ok(),
            "boot_guard_error": self.boot_guard.as_ref().err().map(error),
            "uefi": self.uefi,
            "outlook": self.outlook,
        })
    }

    fn read_flash(&mut self, bytes: &[u8]) {
        // `identify` has parsed the descriptor already, so this does not fail; without one there is nothing to say.
        let Ok(seen) = oob_mecheck::inspect(bytes) else { return };
        let descriptor = seen.descriptor;
        self.strap = Some(seen.strap);
        self.soft_disable = Some(seen.soft_disable);
        if self.container.kind == Kind::FlashDump {
            if let Some(region) = descriptor.region("bios") {
                let end = region.limit.saturating_add(1);
                // The last byte of the BIOS region is the one below 4 GiB; in a partial dump it is not there.
                if let Some(flash) = bytes.get(..end) {
                    self.boot_guard = BootGuard::find(flash);
                }
                let held = bytes.get(region.base..end.min(bytes.len()));
                self.uefi = held.map(|bios| walk(bios, region.base));
            }
            let region = descriptor.region("me");
            let base = region.map_or(0, |region| region.base);
            let held = region.and_then(|region| bytes.get(region.base..=region.limit)).unwrap_or_default();
            self.me = Some(seen.me.map(|image| Engine::new(image, held, base)));
        }
        self.descriptor = Some(descriptor);
    }
}

impl Engine {
    fn new(image: MeImage, region: &[u8], base: usize) -> Self {
        let signatures = Manifest::parse(region, image.manifest_offset)
            .map(|manifest| Signature {
                partition: "FTPR".into(),
                verdict: manifest.verify(region),
                manifest,
            })
            .into_iter()
            .collect();
        Self { image, base, signatures }
    }

    fn json(&self) -> Value {
        let signatures = self.signatures.iter().map(|it| {
            json!({
                "partition": it.partition, "manifest": it.manifest, "verdict": it.verdict,
                "known_key": it.manifest.key.known(), "pre_production": it.manifest.pre_production(),
            })
        });
        json!({
            "base": self.base,
            "version": self.image.version.to_string(),
            "generation": self.image.generation.to_string(),
            "signatures": signatures.collect::<Vec<_>>(),
        })
    }
}
