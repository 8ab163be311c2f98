//! An inspection as people read it. Foreign text is escaped line by line, at the end.

use std::fmt::Write;

use oob_mecheck::fit::BootGuard;
use oob_mecheck::me::{Location, SkuKind};
use oob_mecheck::uefi::{Module, Uefi};
use oob_mecheck::{Descriptor, Master, MeImage, SoftDisable, StrapReading, StrapState};
use oob_policy::shown;

use super::inspect::Inspected;
use super::outlook::Outlook;

/// Lines start with a label of this width.
const LABEL: usize = 14;
/// Findings and doubts shown unless everything is asked for.
const FEW: usize = 8;

/// `all` lists every module and finding; otherwise counts and what matters.
pub fn text(found: &Inspected, all: bool) -> String {
    let mut page = Page { text: String::new(), all };
    page.line("size", &format!("{} bytes", found.size));
    page.line("sha256", &found.sha256);
    page.line("kind", &format!("{}: {}", found.container.kind, found.container.what));
    if let Some(flash) = &found.flash {
        page.descriptor(&flash.descriptor);
        page.strap(&flash.strap, &flash.soft_disable);
    }
    match found.engine() {
        Some(Ok(engine)) => page.engine(engine),
        Some(Err(error)) => page.line("ME", &format!("not read: {error}")),
        None => {}
    }
    match &found.boot_guard {
        Ok(Some(hints)) => page.boot_guard(hints),
        Ok(None) => {}
        Err(error) => page.line("Boot Guard", &format!("not read: {error}")),
    }
    if let Some(uefi) = &found.uefi {
        page.uefi(uefi);
    }
    if let Some(outlook) = &found.outlook {
        page.outlook(outlook);
    }
    page.text
}

struct Page {
    text: String,
    all: bool,
}

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.text, "{label:LABEL$}{}", shown(text));
    }

    /// At most [`FEW`] lines unless all are asked for.
    fn some<T: ToString>(&mut self, label: &str, items: &[T]) {
        let most = if self.all { items.len() } else { FEW };
        for item in items.iter().take(most) {
            self.line(label, &item.to_string());
        }
        if items.len() > most {
            self.line(label, &format!("{} more; -v shows them", items.len() - most));
        }
    }

    fn descriptor(&mut self, descriptor: &Descriptor) {
        let version = match descriptor.version {
            oob_mecheck::IfdVersion::V1 => "v1",
            oob_mecheck::IfdVersion::V15 => "v1.5",
            oob_mecheck::IfdVersion::V2 => "v2",
        };
        let chips: Vec<String> = descriptor
            .components
            .bytes
            .iter()
            .map(|bytes| bytes.map_or("unknown size".into(), |bytes| format!("{} KiB", bytes >> 10)))
            .collect();
        self.line(
            "descriptor",
            &format!(
                "{version} at {:#x}; flash chips: {}; {} straps at {:#x}",
                descriptor.signature_offset,
                chips.join(", "),
                descriptor.strap_count,
                descriptor.strap_base
            ),
        );
        self.line("chipset", descriptor.family.word());
        for evidence in &descriptor.evidence {
            self.line("  evidence", evidence);
        }
        for region in &descriptor.regions {
            self.line(
                "  region",
                &format!("{:<11}{:#010x} to {:#010x}", region.name, region.base, region.limit),
            );
        }
        for master in &descriptor.masters {
            self.line("  master", &rights(descriptor, master));
        }
        if let Some(range) = &descriptor.protected_range {
            self.line("  protected", &format!("{:#010x} to {:#010x}", range.start, range.end));
        }
    }

    fn strap(&mut self, reading: &StrapReading, verdict: &SoftDisable) {
        let state = match reading.state {
            StrapState::Set => "set",
            StrapState::Clear => "clear",
            StrapState::Unknown => "unknown",
        };
        let why = reading.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        self.line("strap", &format!("{state}{why}"));
        for strap in &reading.straps {
            let bit = if strap.is_set() { "set" } else { "clear" };
            let (offset, value, source) = (strap.offset, strap.value, strap.source);
            self.line(
                "  located",
                &format!("{} at {offset:#x} is {value:#010x}: {bit} ({source})", strap.what),
            );
        }
        if reading.straps.is_empty() || self.all {
            for candidate in &reading.candidates {
                let (offset, value) = (candidate.offset, candidate.value);
                self.line("  candidate", &format!("{} at {offset:#x} is {value:#010x}", candidate.what));
            }
        }
        for wrong in &reading.misplaced {
            self.line(
                "  misplaced",
                &format!(
                    "strap {} bit {} at {:#x} is set ({:#010x}), which is no soft-disable strap on this chipset",
                    wrong.dword, wrong.bit, wrong.offset, wrong.value
                ),
            );
        }
        if let SoftDisable::Refused(why) = verdict
            && reading.why.as_ref() != Some(why)
        {
            self.line("  not written", why);
        }
    }

    fn engine(&mut self, engine: &MeImage) {
        let place = match engine.location {
            Location::MeRegion => "",
            Location::BiosRegion => ", in the BIOS region",
        };
        let kind = engine.sku.and_then(|sku| sku.kind).map_or("", |kind| match kind {
            SkuKind::Corporate => ", corporate",
            SkuKind::Consumer => ", consumer",
            SkuKind::Slim => ", slim",
        });
        let ignition = if engine.ignition { ", Ignition" } else { "" };
        self.line(
            "ME",
            &format!(
                "{}, {}{kind}{ignition}, {:#x} bytes at {:#x}{place}",
                engine.version, engine.generation, engine.region.size, engine.region.offset
            ),
        );
        for partition in &engine.partitions {
            if partition.state.has_place() {
                let (offset, size) = (partition.offset, partition.size);
                let line = format!(
                    "{:<12}{offset:#010x}, {size:#x} bytes, {}",
                    partition.name.to_string(),
                    partition.state
                );
                self.line("  partition", &line);
            } else if self.all {
                self.line("  partition", &format!("{:<12}{}", partition.name.to_string(), partition.state));
            }
        }
        for signed in &engine.manifests {
            let known = signed.manifest.as_ref().and_then(|manifest| manifest.key.known());
            let key = known.map_or("an unknown key", |known| known.name);
            let early = if signed.pre_production { ", pre-production" } else { "" };
            self.line("  signature", &format!("{}: {} ({key}{early})", signed.name, signed.verdict));
        }
    }

    fn boot_guard(&mut self, hints: &BootGuard) {
        let at = |offset: Option<usize>| offset.map_or("none".to_owned(), |at| format!("{at:#x}"));
        let (keys, policy) = (at(hints.key_manifest), at(hints.boot_policy));
        self.line("Boot Guard", "hints only: the chipset's fuses decide");
        self.line("  FIT", &format!("{} entries at {:#x}", hints.entries.len(), hints.fit));
        if let Some(acm) = &hints.acm {
            let kind = if acm.pre_production { ", not a production module" } else { "" };
            self.line("  ACM", &format!("{} bytes at {:#x}, built {}{kind}", acm.size, acm.offset, acm.date));
        }
        self.line("  manifests", &format!("keys: {keys}, boot policy: {policy}"));
        self.some("  doubt", &hints.doubts);
    }

    fn uefi(&mut self, uefi: &Uefi) {
        self.line(
            "UEFI",
            &format!(
                "{} volumes, {} files, {} modules, {} bytes decompressed",
                uefi.volumes.len(),
                uefi.files,
                uefi.modules.len(),
                uefi.decompressed
            ),
        );
        for related in &uefi.related {
            let technology = format!("{:?}", related.technology).to_uppercase();
            self.line("  related", &format!("{} ({technology}: {})", related.name, related.why));
        }
        if self.all {
            for volume in &uefi.volumes {
                let name = volume.name.unwrap_or(volume.filesystem_guid);
                self.line("  volume", &format!("{name}, {:#x} bytes at {}", volume.length, volume.place));
            }
            for module in &uefi.modules {
                self.line("  module", &described(module));
            }
        }
        self.some("  finding", &uefi.findings);
        if uefi.more_findings > 0 {
            self.line("  finding", &format!("{} more were not kept", uefi.more_findings));
        }
    }

    fn outlook(&mut self, outlook: &Outlook) {
        self.line("possible", outlook.best);
        for method in &outlook.methods {
            let verdict = if method.possible { "yes" } else { "no" };
            self.line("  method", &format!("{}: {verdict}: {}", method.method, method.text));
        }
        if let Some(rung) = outlook.generation {
            self.line("  engine", rung.engines);
            self.line("  code", rung.code_removal);
            self.line("  bit", rung.soft_disable);
            self.line("  Boot Guard", rung.boot_guard);
        }
        for warning in &outlook.warnings {
            self.line("  warning", warning);
        }
    }
}

fn rights(descriptor: &Descriptor, master: &Master) -> String {
    let names = |allowed: &dyn Fn(u8) -> bool| {
        let names: Vec<_> =
            descriptor.regions.iter().filter(|region| allowed(region.id)).map(|region| region.name).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
    };
    format!(
        "{:<6}reads {}; writes {}",
        master.name,
        names(&|region| master.may_read(region)),
        names(&|region| master.may_write(region))
    )
}

fn described(module: &Module) -> String {
    let debug = module.debug_path.as_deref().map(|path| format!(", {path}")).unwrap_or_default();
    format!(
        "{}, {}, {}, {}, {} bytes at {}{debug}",
        module.title(),
        module.kind,
        module.machine,
        module.subsystem,
        module.size,
        module.place
    )
}
