//! Where the descriptor's own tables lie, and whether they can lie there.

use super::{Descriptor, Maps, Warning, field};
use crate::bytes::{ImageError, slice};

/// FLMAP0 to FLMAP2 behind the signature; what follows may be the first table.
const MAP_END: usize = 0x10;

/// Every table lies in the file and behind the map; reads in them need no further thought.
pub(super) fn check(image: &[u8], signature_offset: usize, maps: &Maps) -> Result<(), ImageError> {
    for (what, offset, len) in [
        ("FLCOMP", field(maps.flmap0, 0), 4),
        ("flash region table", field(maps.flmap0, 16), 4 * 5),
        ("flash master table", field(maps.flmap1, 0), 4 * 3),
        ("PCH straps", field(maps.flmap1, 16), 4 * (maps.flmap1 >> 24) as usize),
    ] {
        if offset < signature_offset + MAP_END {
            return Err(ImageError::new(
                what,
                offset,
                "lies inside the descriptor map; the descriptor is damaged",
            ));
        }
        slice(image, offset, len, what)?;
    }
    Ok(())
}

/// Tables that share bytes: to write a strap would then write a region or a right.
pub(super) fn compare(descriptor: &mut Descriptor) {
    let maps = &descriptor.maps;
    let masters = descriptor.masters.iter().map(|master| master.offset + 4).max().unwrap_or(0);
    let fmba = field(maps.flmap1, 0);
    let straps = 4 * usize::from(descriptor.strap_count);
    let processor = 4 * usize::from(descriptor.processor_strap_count);
    let regions = 4 * descriptor.regions.iter().map(|region| usize::from(region.id) + 1).max().unwrap_or(1);
    let mut tables = vec![
        ("FLCOMP", field(maps.flmap0, 0), 4),
        ("the region table", field(maps.flmap0, 16), regions),
        ("the master table", fmba, masters.saturating_sub(fmba)),
        ("the PCH straps", descriptor.strap_base, straps),
    ];
    if processor > 0 {
        tables.push(("the processor straps", descriptor.processor_strap_base, processor));
    }
    let end = descriptor.region("descriptor").map_or(0, |own| own.limit + 1);
    let mut warnings = Vec::new();
    for (index, (first, offset, len)) in tables.iter().enumerate() {
        if end > 0 && offset + len > end {
            warnings.push(Warning::TableOutsideDescriptor { table: first, offset: *offset });
        }
        for (second, other, other_len) in tables.iter().skip(index + 1) {
            let start = *offset.max(other);
            if start < (offset + len).min(other + other_len) {
                warnings.push(Warning::TablesOverlap { first, second, offset: start });
            }
        }
    }
    descriptor.warnings.append(&mut warnings);
}
