//! FLCOMP: how many flash chips there are and what each holds (reference/me.md 1.1).

use super::{IfdVersion, Maps, Warning, field};
use crate::bytes::{ImageError, u32_at};

/// The flash chips.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Components {
    /// 1 or 2 (FLMAP0 NC).
    pub count: u8,
    /// Bytes of each chip in order; None where the field has no meaning.
    pub bytes: Vec<Option<u64>>,
    /// FLCOMP as it lies in the file.
    pub flcomp: u32,
}

impl Components {
    pub(super) fn read(
        image: &[u8],
        maps: &Maps,
        version: IfdVersion,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ImageError> {
        let flcomp = u32_at(image, field(maps.flmap0, 0), "FLCOMP")?;
        // Two bits, but no PCH drives more than two chips.
        let count = ((maps.flmap0 >> 8 & 3) as u8 + 1).min(2);
        let width = if version == IfdVersion::V1 { 3 } else { 4 };
        let densities = (0..count).map(|chip| {
            let value = (flcomp >> (width * u32::from(chip)) & ((1 << width) - 1)) as u8;
            (chip, value, density(value))
        });
        let mut bytes = Vec::new();
        for (chip, value, density) in densities {
            if density.is_none() {
                warnings.push(Warning::DensityUnknown { chip: chip + 1, value });
            }
            bytes.push(density);
        }
        Ok(Self { count, bytes, flcomp })
    }

    /// Bytes of all chips; None where one of them is unknown.
    pub fn total(&self) -> Option<u64> {
        self.bytes.iter().copied().sum()
    }
}

/// 0 is 512 KiB, and each step doubles up to 64 MiB; 3-bit fields end at 5 (16 MiB) in practice.
fn density(value: u8) -> Option<u64> {
    (value <= 7).then(|| 0x8_0000 << value)
}
