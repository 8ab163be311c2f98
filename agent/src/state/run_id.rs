//! The name of a run.

use std::time::{SystemTime, UNIX_EPOCH};

use super::StateError;

/// A new UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then random bits. A wrong clock only
/// spoils the sorting; the random bits alone keep it unique.
pub fn new_run_id() -> Result<String, StateError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(StateError::random)?;
    Ok(uuid_v7(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), random))
}

fn uuid_v7(milliseconds: u64, random: [u8; 10]) -> String {
    let mut value = (u128::from(milliseconds) & 0xffff_ffff_ffff) << 80;
    value |= random.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
    value &= !(0xf << 76 | 0x3 << 62);
    value |= 0x7 << 76 | 0x2 << 62;
    let digits = format!("{value:032x}");
    let part = |range| digits.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9562 appendix A.6.
    #[test]
    fn example_of_the_standard() {
        let random = [0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        assert_eq!(uuid_v7(0x017F_22E2_79B0, random), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn ids_differ_and_sort_by_time() {
        assert_ne!(new_run_id().unwrap(), new_run_id().unwrap());
        assert!(uuid_v7(1, [0xff; 10]) < uuid_v7(2, [0; 10]));
        assert_eq!(uuid_v7(u64::MAX, [0xff; 10]), "ffffffff-ffff-7fff-bfff-ffffffffffff");
    }
}
