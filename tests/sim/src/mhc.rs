//! The two small clients: manageability commands on the watchdog's GUID (MHC), and MKHI (`reference/amt.md` 1.4,
//! 2.2, 2.3).

use crate::amt::Amt;
use crate::profile::{Facts, Firmware};

/// `max_msg_length` of the watchdog client.
pub const MHC_MAX_MESSAGE: u32 = 128;
/// `max_msg_length` of the MKHI client.
pub const MKHI_MAX_MESSAGE: u32 = 2048;

/// "Not supported" of both clients.
const NOT_SUPPORTED: u8 = 0x89;
/// "Invalid command" of MKHI.
const INVALID_COMMAND: u8 = 0x8d;

/// The subcommand of an MHC message `{05, count, subcommand, 10}`, when its count is right: the bytes from the
/// subcommand on.
#[must_use]
pub fn mhc_command(message: &[u8]) -> Option<u8> {
    match message {
        [0x05, count, rest @ ..] if usize::from(*count) == rest.len() => match rest {
            [command, 0x10, ..] => Some(*command),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an MHC command changes the device by its nature.
#[must_use]
pub fn mhc_mutates(command: u8) -> bool {
    matches!(command, 0x52 | 0x53)
}

/// The answer. `status` stands in for the outcome where a fault says so.
#[must_use]
pub fn mhc_answer(message: &[u8], amt: &mut Amt, facts: &Facts, status: Option<u32>) -> Vec<u8> {
    match (mhc_command(message), status) {
        // From 16.1 on: bit 7 the new interface, 6 TLS enforced for the host, 1 enabled, 0 may be
        // changed.
        (Some(0x51), None) if facts.is_tls_only() => {
            let enforced = u32::from(facts.is_host_tls_only()) << 6;
            let flags = 0x80 | enforced | u32::from(!amt.disabled) << 1 | u32::from(amt.is_switchable());
            flags.to_le_bytes().to_vec()
        }
        // Before: the old boolean, and bit 7 is clear.
        (Some(0x51), None) => u32::from(!amt.disabled).to_le_bytes().to_vec(),
        // Enabling and disabling came with 16.1: the four bytes echoed, then the status.
        (command, status) => {
            let wish = message.get(4).copied();
            // Where a fault stands in, nothing is switched.
            let status = status.or_else(|| match (command, wish) {
                (Some(0x53), Some(on @ 0..=1)) if facts.is_tls_only() => Some(amt.switch(on == 1)),
                _ => None,
            });
            let mut out = message.to_vec();
            out.resize(4, 0); // echoed is the header only
            out.extend(status.unwrap_or(u32::from(NOT_SUPPORTED)).to_le_bytes());
            out
        }
    }
}

/// The first four bytes of an MKHI message: group, command.
#[must_use]
pub fn mkhi_command(message: &[u8]) -> Option<(u8, u8)> {
    match message {
        [group, command, _, _, ..] if command & 0x80 == 0 => Some((*group, *command)),
        _ => None,
    }
}

/// The answer to an MKHI message, or `None` when it is no request.
#[must_use]
pub fn mkhi_answer(message: &[u8], facts: &Facts, status: Option<u32>) -> Option<Vec<u8>> {
    let (group, command) = mkhi_command(message)?;
    let mut out = vec![group, command | 0x80, 0, 0];
    match ((group, command), status) {
        ((0xff, 0x02), None) => {
            let Firmware { major, minor, hotfix, build } = facts.firmware;
            // The code partition, then the same of the fallback one.
            let order = [minor, major, build, hotfix];
            out.extend(order.iter().chain(&order).flat_map(|number| number.to_le_bytes()));
        }
        (_, Some(status)) => out[3] = u8::try_from(status).unwrap_or(u8::MAX),
        _ => out[3] = INVALID_COMMAND,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_firmware_version_is_minor_major_build_hotfix() {
        let facts = Profile::ConsumerLaptop.facts(1);
        let answer = mkhi_answer(&[0xff, 0x02, 0, 0], &facts, None).unwrap();
        let half = [0, 0, 16, 0, 0xc7, 0x06, 15, 0];
        assert_eq!(answer, [[0xff, 0x82, 0, 0].as_slice(), &half, &half].concat());
        assert_eq!(mkhi_answer(&[0xff, 0x7f, 0, 0], &facts, None).unwrap(), [0xff, 0xff, 0, 0x8d]);
        assert_eq!(mkhi_answer(&[0xff], &facts, None), None);
    }

    #[test]
    fn the_old_answer_has_no_new_bits() {
        let machine = |profile: Profile| {
            let facts = profile.facts(1);
            (Amt::new(&facts, &crate::device::Settings::default()).unwrap(), facts)
        };
        let (mut amt, old) = machine(Profile::VproDesktopAmt16);
        assert_eq!(mhc_answer(&[0x05, 0x02, 0x51, 0x10], &mut amt, &old, None), [1, 0, 0, 0]);
        assert_eq!(
            mhc_answer(&[0x05, 0x03, 0x53, 0x10, 0], &mut amt, &old, None),
            [0x05, 3, 0x53, 0x10, 0x89, 0, 0, 0]
        );
        assert!(!amt.disabled);
        let (mut amt, new) = machine(Profile::VproDesktopAmt16_1);
        let asked = |amt: &mut Amt| mhc_answer(&[0x05, 0x02, 0x51, 0x10], amt, &new, None)[0];
        assert_eq!(asked(&mut amt), 0x83);
        let off = [0x05, 0x03, 0x53, 0x10, 0];
        assert_eq!(mhc_answer(&off, &mut amt, &new, None), [0x05, 3, 0x53, 0x10, 0, 0, 0, 0]);
        assert_eq!((asked(&mut amt), amt.disabled), (0x81, true));
        assert_eq!(mhc_answer(&off, &mut amt, &new, Some(3))[4], 3);
        assert_eq!(mhc_command(&[0x05, 0x03, 0x51, 0x10]), None);
    }
}
