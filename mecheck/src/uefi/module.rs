//! PE32 and TE images, read with goblin: what they run on, and what their debug entry calls them.
//!
//! Only headers and the debug entry are parsed: firmware needs no imports, exports or resources, and every table left
//! alone is one that a hostile image cannot use. goblin copies section names from a string table without bound, so
//! images with such names are not handed to it.

use goblin::pe::debug::DebugData;
use goblin::pe::header::{Header, machine_to_str};
use goblin::pe::options::ParseOptions;
use goblin::pe::section_table::SectionTable;
use goblin::pe::{TE, subsystem};
use serde::Serialize;

use super::file::{Scope, kind_word};
use super::{Guid, Place, Space};
use crate::bytes::{slice, u8_at, u16_at, u32_at};

/// Sections of one image: the loaders of firmware take fewer.
const MAX_SECTIONS: usize = 96;
const SECTION: usize = 40;
const TE_HEADER: usize = 40;
/// Bytes of a debug path.
const MAX_PATH: usize = 512;

/// An executable of the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Module {
    /// Name of the file that holds it.
    pub file: Guid,
    /// Type of that file: `driver`, `peim`, `dxe-core` and so on.
    pub kind: &'static str,
    /// The file's user interface name; foreign text.
    pub name: Option<String>,
    /// The file's version string; foreign text.
    pub version: Option<String>,
    pub format: Format,
    /// `X86_64`, `X86`, `ARM64`; `COFF_UNKNOWN` where the number is none that is known.
    pub machine: &'static str,
    /// `boot-service-driver`, `runtime-driver`, `application` and so on.
    pub subsystem: &'static str,
    /// Path of the debug file as the builder's machine had it; foreign text.
    pub debug_path: Option<String>,
    /// Bytes of the section's data.
    pub size: usize,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Pe32,
    /// Terse executable: PE32 with most of its headers stripped.
    Te,
}

impl Module {
    /// The best name there is: the file's own, else that of the debug file, else the GUID.
    pub fn title(&self) -> String {
        self.name
            .clone()
            .or_else(|| self.debug_name().map(str::to_owned))
            .unwrap_or_else(|| self.file.to_string())
    }

    /// The debug path's last part without its extension.
    pub fn debug_name(&self) -> Option<&str> {
        let file = self.debug_path.as_deref()?.rsplit(['/', '\\']).next()?;
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        (!stem.is_empty()).then_some(stem)
    }
}

pub(super) const fn what(terse: bool) -> &'static str {
    if terse { "TE image" } else { "PE32 image" }
}

/// A module, and what is wrong with the part of it that is not needed to name it.
///
/// # Errors
/// Why it is no such image, for people.
pub(super) fn parse(data: Space<'_>, terse: bool, scope: &Scope) -> Result<(Module, Option<String>), String> {
    let looked = if terse { te(data.bytes)? } else { pe32(data.bytes)? };
    let (debug_path, odd) = match looked.debug_path {
        Ok(path) => (path, None),
        Err(why) => (None, Some(why)),
    };
    let module = Module {
        file: scope.guid,
        kind: kind_word(scope.kind),
        name: None,
        version: None,
        format: if terse { Format::Te } else { Format::Pe32 },
        machine: machine_to_str(looked.machine),
        subsystem: subsystem_word(looked.subsystem),
        debug_path,
        size: data.bytes.len(),
        place: data.place(0),
    };
    Ok((module, odd))
}

struct Looked {
    machine: u16,
    subsystem: u16,
    /// An error where the debug entry could not be followed.
    debug_path: Result<Option<String>, String>,
}

fn pe32(bytes: &[u8]) -> Result<Looked, String> {
    let cut = |_| "the DOS header is cut off".to_owned();
    if !bytes.starts_with(b"MZ") {
        return Err("no MZ signature".into());
    }
    let start = u32_at(bytes, 0x3c, "").map_err(cut)?;
    let image = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
    let image = image.filter(|image| image.starts_with(b"PE\0\0")).ok_or("no PE signature")?;
    let header = Header::parse_without_dos(image).map_err(|error| error.to_string())?;
    let optional = header.optional_header.ok_or("no optional header")?;
    let debug_path = optional.data_directories.get_debug_table().map_or(Ok(None), |table| {
        // PE signature and COFF header are 24 bytes; sections follow the optional header.
        let after = 24 + usize::from(header.coff_header.size_of_optional_header);
        let sections = sections(image, after, usize::from(header.coff_header.number_of_sections))?;
        let alignment = optional.windows_fields.file_alignment;
        DebugData::parse_with_opts(bytes, *table, &sections, alignment, &ParseOptions::default())
            .map(|debug| debug_path(&debug))
            .map_err(|error| error.to_string())
    });
    Ok(Looked {
        machine: header.coff_header.machine,
        subsystem: optional.windows_fields.subsystem,
        debug_path,
    })
}

/// The four fields of each section header that map addresses to offsets.
fn sections(image: &[u8], from: usize, count: usize) -> Result<Vec<SectionTable>, String> {
    if count > MAX_SECTIONS {
        return Err(format!("{count} sections, more than {MAX_SECTIONS}"));
    }
    let table = slice(image, from, count * SECTION, "section table").map_err(|error| error.why)?;
    let field = |entry: &[u8], offset| u32_at(entry, offset, "").unwrap_or_default();
    Ok(table
        .chunks_exact(SECTION)
        .map(|entry| SectionTable {
            virtual_size: field(entry, 8),
            virtual_address: field(entry, 12),
            size_of_raw_data: field(entry, 16),
            pointer_to_raw_data: field(entry, 20),
            ..SectionTable::default()
        })
        .collect())
}

fn te(bytes: &[u8]) -> Result<Looked, String> {
    let cut = |_| "the TE header is cut off".to_owned();
    if !bytes.starts_with(b"VZ") {
        return Err("no VZ signature".into());
    }
    slice(bytes, 0, TE_HEADER, "").map_err(cut)?;
    let count = usize::from(u8_at(bytes, 4, "").map_err(cut)?);
    let stripped = usize::from(u16_at(bytes, 6, "").map_err(cut)?);
    let debug = u32_at(bytes, 36, "").map_err(cut)?;
    let debug_path = if debug == 0 {
        Ok(None)
    } else if stripped < TE_HEADER {
        Err(format!("{stripped} bytes stripped, fewer than the TE header has"))
    } else if named_elsewhere(bytes, count) {
        Err("section names in a string table".into())
    } else {
        TE::parse(bytes).map(|te| debug_path(&te.debug_data)).map_err(|error| error.to_string())
    };
    Ok(Looked {
        machine: u16_at(bytes, 2, "").map_err(cut)?,
        subsystem: u16::from(u8_at(bytes, 5, "").map_err(cut)?),
        debug_path,
    })
}

/// Whether a section's name is a reference into a string table.
fn named_elsewhere(bytes: &[u8], count: usize) -> bool {
    let table = bytes.get(TE_HEADER..).unwrap_or_default();
    table.chunks(SECTION).take(count).any(|section| section.first() == Some(&b'/'))
}

fn debug_path(debug: &DebugData<'_>) -> Option<String> {
    let name = debug
        .codeview_pdb70_debug_info
        .map(|info| info.filename)
        .or_else(|| debug.codeview_pdb20_debug_info.map(|info| info.filename))?;
    let name = name.get(..MAX_PATH).unwrap_or(name);
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let path = String::from_utf8_lossy(name.get(..end)?).into_owned();
    (!path.is_empty()).then_some(path)
}

const fn subsystem_word(number: u16) -> &'static str {
    match number {
        subsystem::IMAGE_SUBSYSTEM_NATIVE => "native",
        subsystem::IMAGE_SUBSYSTEM_EFI_APPLICATION => "application",
        subsystem::IMAGE_SUBSYSTEM_EFI_BOOT_SERVICE_DRIVER => "boot-service-driver",
        subsystem::IMAGE_SUBSYSTEM_EFI_RUNTIME_DRIVER => "runtime-driver",
        subsystem::IMAGE_SUBSYSTEM_EFI_ROM => "rom",
        _ => "other",
    }
}
