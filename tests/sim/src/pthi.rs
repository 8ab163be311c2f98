//! PTHI, the host's way to AMT through MEI (`reference/amt.md` 2): little-endian, a 12-byte header both ways.

use crate::addresses::LEASED;
use crate::amt::{Amt, SetUpBy, status};
use crate::chain::Algorithm;
use crate::profile::{Facts, Firmware};

/// The client's `max_msg_length`.
pub const MAX_MESSAGE: u32 = 5120;

/// A request whose frame can be read.
pub struct Request<'a> {
    /// The command word.
    pub command: u32,
    body: &'a [u8],
    frame: u32,
}

/// Reads a datagram; `None` for one that is shorter than a header.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Request<'_>> {
    let (head, body) = datagram.split_first_chunk::<12>()?;
    let [major, minor, reserved_0, reserved_1, c0, c1, c2, c3, l0, l1, l2, l3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let frame = if (major, minor, reserved_0, reserved_1) != (1, 1, 0, 0) {
        status::PARAMETER
    } else if usize::try_from(length) != Ok(body.len()) {
        status::LENGTH
    } else {
        status::OK
    };
    Some(Request { command: u32::from_le_bytes([c0, c1, c2, c3]), body, frame })
}

/// Whether a command changes the device by its nature.
#[must_use]
pub fn mutates(command: u32) -> bool {
    const SETTERS: [u32; 11] = [0x10, 0x28, 0x29, 0x2a, 0x2f, 0x3f, 0x5b, 0x5e, 0x62, 0x85, 0x88];
    command == 0x0400_008b || command >> 16 == 0x0400 && SETTERS.contains(&(command & 0xffff))
}

/// A reply that carries a status and nothing else.
#[must_use]
pub fn refused(command: u32, status: u32) -> Vec<u8> {
    reply(command, status, &[])
}

/// Carries a request out and gives the reply.
#[must_use]
pub fn answer(request: &Request<'_>, amt: &mut Amt, facts: &Facts) -> Vec<u8> {
    let outcome =
        if request.frame == status::OK { carry_out(request, amt, facts) } else { Err(request.frame) };
    match outcome {
        Ok(payload) => reply(request.command, status::OK, &payload),
        Err(status) => refused(request.command, status),
    }
}

fn reply(command: u32, status: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 1, 0, 0];
    out.extend((command | 0x0080_0000).to_le_bytes());
    out.extend(u32::try_from(4 + payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(status.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// fwupd words this status as "AMT disabled" (`reference/detect.md` 1.5).
const AMT_DISABLED: u32 = 0x4000;

fn carry_out(request: &Request<'_>, amt: &mut Amt, facts: &Facts) -> Result<Vec<u8>, u32> {
    if amt.disabled {
        return Err(AMT_DISABLED);
    }
    if amt.wants_it_again() {
        return Err(status::NOT_READY);
    }
    // The body is checked before anything is done: a command of the wrong length changes nothing.
    let wanted = match request.command & 0x7f_ffff {
        0x10 | 0x2d | 0x48 => 4,
        0x67 => 40,
        _ => 0,
    };
    let known = KNOWN.contains(&request.command);
    if known && request.body.len() != wanted {
        return Err(status::LENGTH);
    }
    let argument = request.body.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let done = |status| if status == status::OK { Ok(Vec::new()) } else { Err(status) };
    match request.command {
        // Enterprise once provisioned; no legacy mode.
        0x0400_0008 => Ok(words(&[u32::from(amt.is_provisioned()), 0])),
        0x0400_0010 => done(amt.unprovision_locally()),
        0x0400_0011 => Ok(words(&[amt.told_over_mei().1])),
        0x0400_001a => Ok(code_versions(facts)),
        0x0400_002c => {
            let handles: Vec<u32> = (1..).take(amt.roots().len()).collect();
            Ok([words(&[u32::try_from(handles.len()).unwrap_or(0)]), words(&handles)].concat())
        }
        0x0400_002d => hash_entry(argument, amt),
        0x0400_0030 => Ok(words(&[1])), // remote configuration is enabled
        0x0400_0036 => Ok(ansi(amt.pki_suffix())),
        // Direct and no tunnel; or outside, and a tunnel that is up and was begun by the timer.
        0x0400_0046 => match amt.mps_host() {
            "" => Ok([words(&[0, 0, 0]), ansi("")].concat()),
            host => Ok([words(&[2, 2, 3]), ansi(host)].concat()),
        },
        0x0400_0047 => Ok(ansi(facts.power_schemes().get(amt.features.power_scheme).map_or("", |it| it.0))),
        0x0400_0048 => lan(argument, amt, facts),
        0x0400_0050 => setup_audit(amt),
        0x0400_005c => Ok(facts.wire_uuid().to_vec()),
        0x0400_005e => done(amt.stop_configuration()),
        0x0400_0067 => local_account(request.body, amt),
        0x0400_006b => Ok(words(&[amt.told_over_mei().0])),
        0x0400_0084 => Ok(words(&[u32::from(amt.ehbc())])),
        0x0400_0088 => done(amt.disable_and_clear()),
        0x0400_008b => amt.start_host_based(request.body),
        // Of the statuses that the reference lists, INVALID_COMMAND says it; no recording of this case is known.
        _ => Err(status::COMMAND),
    }
}

const KNOWN: [u32; 18] = [
    0x0400_0008,
    0x0400_0010,
    0x0400_0011,
    0x0400_001a,
    0x0400_002c,
    0x0400_002d,
    0x0400_0030,
    0x0400_0036,
    0x0400_0046,
    0x0400_0047,
    0x0400_0048,
    0x0400_0050,
    0x0400_005c,
    0x0400_005e,
    0x0400_0067,
    0x0400_006b,
    0x0400_0084,
    0x0400_0088,
];

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn ansi(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes(), text.as_bytes()].concat()
}

/// `u8[65]` BIOS version, a count, and that many pairs of counted strings in fields of 20 bytes.
fn code_versions(facts: &Facts) -> Vec<u8> {
    let Firmware { build, .. } = facts.firmware;
    let (version, build) = (facts.version(), build.to_string());
    // 0x4008: AMT Pro and Corporate; 0x4010: Standard Manageability, which has no KVM.
    let sku = if facts.has_kvm() { "16392" } else { "16400" };
    let pairs = [
        ("Flash", version.as_str()),
        ("Netstack", &version),
        ("AMTApps", &version),
        ("AMT", &version),
        ("Sku", sku),
        ("VendorID", "8086"),
        ("Build Number", &build),
        ("Recovery Version", &version),
        ("Recovery Build Num", &build),
        ("Legacy Mode", "False"),
    ];
    let mut out = fixed(crate::host::BIOS_VERSION.as_bytes(), 65);
    out.extend(words(&[u32::try_from(pairs.len()).unwrap_or(0)]));
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend(u16::try_from(text.len()).unwrap_or(20).to_le_bytes());
        out.extend(fixed(text.as_bytes(), 20));
    }
    out
}

fn fixed(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(len, 0);
    out
}

fn hash_entry(handle: u32, amt: &Amt) -> Result<Vec<u8>, u32> {
    let at = usize::try_from(handle).unwrap_or(0).checked_sub(1);
    let root = at.and_then(|at| amt.roots().get(at)).ok_or(status::HANDLE)?;
    let algorithm = match root.algorithm {
        Algorithm::Sha256 => 2,
        Algorithm::Sha384 => 3,
    };
    let flags = words(&[u32::from(root.is_default), u32::from(root.is_active)]);
    Ok([flags, fixed(&root.hash, 64), vec![algorithm], ansi(&root.name)].concat())
}

/// Who set the device up last. Of one that nobody ever set up it is the wrong state (the references name no status).
fn setup_audit(amt: &Amt) -> Result<Vec<u8>, u32> {
    let (by_host, server) = match &amt.set_up_by {
        None => return Err(status::WRONG_STATE),
        Some(SetUpBy::Host) => (1, ""),
        Some(SetUpBy::Server(name)) => (0, name.as_str()),
    };
    let mut out = vec![0]; // with certificates
    out.extend(words(&[0, by_host, 2]));
    out.extend(vec![0; 64 + 48]); // no root, no intermediates
    out.extend(words(&[0, 0, 1]));
    out.extend(fixed(b"", 46));
    out.extend([2026_u16, 1, 2, 3, 4, 5, 6].iter().flat_map(|number| number.to_le_bytes()));
    out.extend(ansi(server));
    Ok(out)
}

/// With an address once AMT has its own; the mode is active then, passive before. Where there is no such interface
/// all is zero (the references name no status for it).
fn lan(interface: u32, amt: &Amt, facts: &Facts) -> Result<Vec<u8>, u32> {
    let (there, up) = match interface {
        0 => (facts.has_wired(), amt.link_up()),
        1 => (facts.radio, amt.wireless_up()),
        _ => return Err(status::PARAMETER),
    };
    if !there {
        return Ok(vec![0; 20]);
    }
    let provisioned = amt.is_provisioned();
    let own = if interface == 0 { amt.wired_address() } else { Some(LEASED) };
    let address = own.filter(|_| provisioned && up).map_or(0, u32::from);
    let mut out = words(&[1, address, u32::from(interface == 1 || amt.has_dhcp())]);
    out.extend([if provisioned { 1 } else { 2 }, u8::from(up)]);
    out.extend(if interface == 0 { facts.mac } else { facts.radio_mac() });
    Ok(out)
}

fn local_account(body: &[u8], amt: &Amt) -> Result<Vec<u8>, u32> {
    if body.iter().any(|byte| *byte != 0) {
        return Err(status::PARAMETER);
    }
    let (user, password) = amt.local_account();
    Ok([fixed(user.as_bytes(), 33), fixed(password.as_bytes(), 33), vec![0; 2]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amt::control;
    use crate::profile::Profile;

    fn asked(amt: &mut Amt, command: u32, body: &[u8]) -> (u32, Vec<u8>) {
        let facts = Profile::VproDesktopAmt16.facts(1);
        let mut datagram = vec![1, 1, 0, 0];
        datagram.extend(command.to_le_bytes());
        datagram.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        datagram.extend_from_slice(body);
        let reply = answer(&parse(&datagram).unwrap(), amt, &facts);
        assert_eq!(reply[..4], [1, 1, 0, 0]);
        assert_eq!(reply[4..8], (command | 0x0080_0000).to_le_bytes());
        assert_eq!(
            usize::try_from(u32::from_le_bytes(reply[8..12].try_into().unwrap())).unwrap(),
            reply.len() - 12
        );
        (u32::from_le_bytes(reply[12..16].try_into().unwrap()), reply[16..].to_vec())
    }

    fn amt() -> Amt {
        Amt::new(&Profile::VproDesktopAmt16.facts(1), &crate::device::Settings::default()).unwrap()
    }

    #[test]
    fn code_versions_carry_only_the_entries_there_are() {
        let (status, payload) = asked(&mut amt(), 0x0400_001a, &[]);
        let count = usize::try_from(u32::from_le_bytes(payload[65..69].try_into().unwrap())).unwrap();
        assert_eq!((status, payload.len()), (0, 69 + count * 44));
        let text = String::from_utf8_lossy(&payload);
        assert!(text.contains("Sku") && text.contains("16392") && text.contains("16.0.15"));
    }

    #[test]
    fn frames_that_lie_are_refused_and_change_nothing() {
        let (facts, mut amt) = (Profile::VproDesktopAmt16.facts(1), amt());
        assert_eq!(amt.set_up("2", "0123456789abcdef0123456789abcdef"), 0);
        let good = [1, 1, 0, 0, 0x10, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0];
        for (at, value, wanted) in [(0, 2, 36), (2, 1, 36), (8, 3, 4), (8, 5, 4), (11, 255, 4)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(answer(&parse(&bad).unwrap(), &mut amt, &facts)[12], wanted, "byte {at}");
        }
        assert_eq!(asked(&mut amt, 0x0400_0010, &[]).0, status::LENGTH);
        assert_eq!(amt.control_mode, control::CLIENT);
        assert!(parse(&good[..11]).is_none());
        assert_eq!(answer(&parse(&good).unwrap(), &mut amt, &facts)[12], 0);
        assert_eq!(amt.control_mode, control::NONE);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut amt = amt();
        assert_eq!(asked(&mut amt, 0x0400_0099, &[]), (status::COMMAND, vec![]));
        assert_eq!(asked(&mut amt, 0x0400_002d, &9u32.to_le_bytes()), (status::HANDLE, vec![]));
        assert_eq!(asked(&mut amt, 0x0400_0048, &2u32.to_le_bytes()), (status::PARAMETER, vec![]));
        assert_eq!(asked(&mut amt, 0x0400_0088, &[]).0, 0);
        assert_eq!(asked(&mut amt, 0x0400_006b, &[]).0, AMT_DISABLED);
    }

    #[test]
    fn the_changing_commands_are_known_as_such() {
        for command in [0x0400_0010, 0x0400_005e, 0x0400_0088, 0x0400_008b] {
            assert!(mutates(command), "{command:#x}");
        }
        for command in KNOWN.iter().filter(|c| !matches!(**c & 0xff, 0x10 | 0x5e | 0x88)) {
            assert!(!mutates(*command), "{command:#x}");
        }
    }
}
