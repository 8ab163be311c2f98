//! The client of the unique platform id (`reference/amt.md` 1.2, 2.5): a header of feature, command and count, all
//! little-endian.

use crate::amt::Amt;
use crate::chance::derived;
use crate::device::Settings;
use crate::profile::Facts;

/// The client's `max_msg_length`; the reference names none.
pub const MAX_MESSAGE: u32 = 512;

/// Feature and command of a message whose count is right.
#[must_use]
pub fn command(message: &[u8]) -> Option<(u8, u8)> {
    match message {
        [feature, command, low, high, rest @ ..]
            if usize::from(u16::from_le_bytes([*low, *high])) == rest.len() =>
        {
            Some((*feature, *command))
        }
        _ => None,
    }
}

/// Feature 0, the platform id; command 5, get.
const GET: (u8, u8) = (0, 5);
/// The references name no number for it.
const NOT_SUPPORTED: u32 = 1;

/// The answer. `status` stands in for the outcome where a fault says so.
#[must_use]
pub fn answer(message: &[u8], amt: &Amt, facts: &Facts, settings: &Settings, status: Option<u32>) -> Vec<u8> {
    let (feature, command) = command(message).unwrap_or_default();
    let options = &settings.host_tls;
    let body = match (status, amt.on_die_chain()) {
        (Some(status), _) => status.to_le_bytes().to_vec(),
        (None, Some(chain)) if (feature, command) == GET => {
            let ids =
                [derived(facts.seed, "upid/oem"), chain.hardware_serial(facts.seed, options.foreign_upid)];
            // A short success says that nobody has provisioned it.
            let known =
                (!options.upid_unset).then(|| [1u32.to_le_bytes().as_slice(), &ids.concat()].concat());
            [0u32.to_le_bytes().to_vec(), known.unwrap_or_default()].concat()
        }
        _ => NOT_SUPPORTED.to_le_bytes().to_vec(),
    };
    let count = u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
    [[feature, command].as_slice(), &count, &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_id_has_76_bytes_and_a_short_success_is_none() {
        let facts = Profile::VproDesktopAmt19.facts(1);
        let mut settings = Settings::default();
        let amt = Amt::new(&facts, &settings).unwrap();
        let get = [0, 5, 0, 0];
        let known = answer(&get, &amt, &facts, &settings, None);
        assert_eq!((known.len(), &known[..8]), (76, [0, 5, 72, 0, 0, 0, 0, 0].as_slice()));
        assert_eq!(known[44..64], amt.on_die_chain().unwrap().rom_sha256[..20]);
        settings.host_tls.upid_unset = true;
        assert_eq!(answer(&get, &amt, &facts, &settings, None), [0, 5, 4, 0, 0, 0, 0, 0]);
        assert_eq!(answer(&get, &amt, &facts, &settings, Some(9)), [0, 5, 4, 0, 9, 0, 0, 0]);
        assert_eq!(answer(&[0, 6, 0, 0], &amt, &facts, &settings, None)[4], 1);
        assert_eq!((command(&[0, 5, 1, 0]), command(&[0, 5, 0])), (None, None));
    }
}
