//! Frozen bytes of PTHI and MHC.
//!
//! If a test here fails, do not change the test: revert your change. The bytes are the wire, the firmware will not
//! follow us. Source: `reference/amt.md` 2.5.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{mhc, pthi::*, upid};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn requests() {
    let zeros = "00 ".repeat(40);
    let cases = [
        (GetCodeVersions.encode(), "01 01 00 00 1a 00 00 04 00 00 00 00"),
        (GetProvisioningState.encode(), "01 01 00 00 11 00 00 04 00 00 00 00"),
        (GetControlMode.encode(), "01 01 00 00 6b 00 00 04 00 00 00 00"),
        (GetUuid.encode(), "01 01 00 00 5c 00 00 04 00 00 00 00"),
        (EnumerateHashes.encode(), "01 01 00 00 2c 00 00 04 00 00 00 00"),
        (GetHash { handle: 1 }.encode(), "01 01 00 00 2d 00 00 04 04 00 00 00 01 00 00 00"),
        (GetPkiSuffix.encode(), "01 01 00 00 36 00 00 04 00 00 00 00"),
        (GetLocalSystemAccount.encode(), &format!("01 01 00 00 67 00 00 04 28 00 00 00 {zeros}")),
        (
            GetLanSettings { interface: LanInterface::Wired }.encode(),
            "01 01 00 00 48 00 00 04 04 00 00 00 00 00 00 00",
        ),
        (
            GetLanSettings { interface: LanInterface::Wireless }.encode(),
            "01 01 00 00 48 00 00 04 04 00 00 00 01 00 00 00",
        ),
        (Unprovision.encode(), "01 01 00 00 10 00 00 04 04 00 00 00 00 00 00 00"),
        (StopConfiguration.encode(), "01 01 00 00 5e 00 00 04 00 00 00 00"),
        (GetProvisioningMode.encode(), "01 01 00 00 08 00 00 04 00 00 00 00"),
        (GetRemoteAccessStatus.encode(), "01 01 00 00 46 00 00 04 00 00 00 00"),
        (GetSetupAuditRecord.encode(), "01 01 00 00 50 00 00 04 00 00 00 00"),
        (GetZeroTouchEnabled.encode(), "01 01 00 00 30 00 00 04 00 00 00 00"),
        (GetEhbcState.encode(), "01 01 00 00 84 00 00 04 00 00 00 00"),
        (DisableAndClearAmt.encode(), "01 01 00 00 88 00 00 04 00 00 00 00"),
        (mhc::IS_CHANGE_TO_AMT_ENABLED.to_vec(), "05 02 51 10"),
        (upid::GET_PLATFORM_ID.to_vec(), "00 05 00 00"),
        (
            StartConfigurationHBased { leaf: LeafHash::Sha256([0xab; 32]) }.encode(),
            &format!("01 01 00 00 8b 00 00 04 86 01 00 00 02 {}{}", "ab ".repeat(32), "00 ".repeat(357)),
        ),
        (
            StartConfigurationHBased { leaf: LeafHash::Sha384([0xcd; 48]) }.encode(),
            &format!("01 01 00 00 8b 00 00 04 86 01 00 00 03 {}{}", "cd ".repeat(48), "00 ".repeat(341)),
        ),
    ];
    for (bytes, golden) in cases {
        assert_eq!(bytes, hex(golden));
    }
}

#[test]
fn replies() {
    let acm = hex("01 01 00 00 6b 00 80 04 08 00 00 00 00 00 00 00 02 00 00 00");
    assert_eq!(GetControlMode.decode(&acm), Ok(ControlMode::Admin));
    let refused = hex("01 01 00 00 10 00 80 04 04 00 00 00 03 00 00 00");
    assert_eq!(Unprovision.decode(&refused), Err(PthiError::Status(PtStatus::INVALID_PT_MODE)));
    let done = hex("01 01 00 00 10 00 80 04 04 00 00 00 00 00 00 00");
    assert_eq!(Unprovision.decode(&done), Ok(()));
}

/// Raw, or as text of newer firmware; what is neither is no answer.
#[test]
fn the_leaf_that_amt_will_show() {
    let start = StartConfigurationHBased { leaf: LeafHash::Sha256([1; 32]) };
    let reply = |payload: &str| {
        let payload = hex(payload);
        let mut reply = hex("01 01 00 00 8b 00 80 04");
        reply.extend(u32::try_from(4 + payload.len()).unwrap().to_le_bytes());
        reply.extend([0; 4]);
        reply.extend(payload);
        start.decode(&reply)
    };
    let zeros = |count: usize| "00 ".repeat(count);
    assert_eq!(start.encode().len(), 402);
    assert_eq!(reply(&format!("02 {}{}", "b5 ".repeat(32), zeros(32))), Ok(LeafHash::Sha256([0xb5; 32])));
    // "b5" and "B5" in ASCII.
    assert_eq!(reply(&format!("02 {}", "62 35 ".repeat(32))), Ok(LeafHash::Sha256([0xb5; 32])));
    assert_eq!(reply(&format!("02 {}{}", "42 35 ".repeat(32), zeros(3))), Ok(LeafHash::Sha256([0xb5; 32])));
    // A sign is no digit, so this is raw.
    let raw = [[0x2b, 0x35].repeat(16)].concat();
    assert_eq!(reply(&format!("02 {}", "2b 35 ".repeat(32))), Ok(LeafHash::Sha256(raw.try_into().unwrap())));
    assert_eq!(reply(&format!("03 {}{}", "b5 ".repeat(48), zeros(16))), Ok(LeafHash::Sha384([0xb5; 48])));
    for (bad, offset) in [(format!("04 {}", "b5 ".repeat(64)), 16), (format!("02 {}", zeros(64)), 16)] {
        assert_eq!(reply(&bad), Err(PthiError::Malformed { offset }), "{bad}");
    }
    assert!(reply(&format!("02 {}", "b5 ".repeat(63))).is_err());
    assert_eq!(LeafHash::of(b"no certificate"), None);
}

#[test]
fn the_platform_id() {
    let header = "00 05 48 00 00 00 00 00 ";
    let whole = hex(&format!("{header} 01 00 00 00 {} {}", "aa ".repeat(32), "bb ".repeat(32)));
    assert_eq!(whole.len(), 76);
    assert_eq!(upid::decode_platform_id(&whole), Ok(Some(upid::PlatformId { hardware: [0xbb; 32] })));
    // A short success says that there is none, and so do zeros.
    for end in 8..76 {
        assert_eq!(upid::decode_platform_id(&whole[..end]), Ok(None), "{end}");
    }
    let zeros = hex(&format!("{header} 01 00 00 00 {} {}", "aa ".repeat(32), "00 ".repeat(32)));
    assert_eq!(upid::decode_platform_id(&zeros), Ok(None));
    for end in 0..8 {
        assert_eq!(
            upid::decode_platform_id(&whole[..end]),
            Err(upid::UpidError::Short { got: end }),
            "{end}"
        );
    }
    let refused = hex("00 05 04 00 01 00 00 00");
    assert_eq!(upid::decode_platform_id(&refused), Err(upid::UpidError::Status(1)));
    let other = hex("00 06 04 00 00 00 00 00");
    let error = upid::UpidError::Other { feature: 0, command: 6 };
    assert_eq!(upid::decode_platform_id(&other), Err(error));
}

/// The documentation's response code for "disable and clear" has no response bit; others must have it.
#[test]
fn disable_and_clear_may_answer_without_the_response_bit() {
    for command in ["88 00 80 04", "88 00 00 04"] {
        let done = hex(&format!("01 01 00 00 {command} 04 00 00 00 00 00 00 00"));
        assert_eq!(DisableAndClearAmt.decode(&done), Ok(()));
        let provisioned = hex(&format!("01 01 00 00 {command} 04 00 00 00 03 00 00 00"));
        assert_eq!(
            DisableAndClearAmt.decode(&provisioned),
            Err(PthiError::Status(PtStatus::INVALID_PT_MODE))
        );
    }
    let other = hex("01 01 00 00 84 00 00 04 08 00 00 00 00 00 00 00 01 00 00 00");
    assert!(matches!(DisableAndClearAmt.decode(&other), Err(PthiError::WrongCommand { .. })));
    assert!(matches!(GetEhbcState.decode(&other), Err(PthiError::WrongCommand { .. })));
    let enabled = hex("01 01 00 00 84 00 80 04 08 00 00 00 00 00 00 00 01 00 00 00");
    assert_eq!(GetEhbcState.decode(&enabled), Ok(true));
}

#[test]
fn the_setup_audit_record_says_who_and_how() {
    let mut payload = vec![0];
    [1u32, 1, 2].iter().for_each(|number| payload.extend(number.to_le_bytes()));
    payload.extend((0..64).map(|index| if index < 32 { 0xaa } else { 0 }));
    payload.extend((0..48).map(|index| index / 16));
    [0u32, 1, 1].iter().for_each(|number| payload.extend(number.to_le_bytes()));
    let mut address = b"192.0.2.7".to_vec();
    address.resize(46, 0);
    payload.extend(address);
    [2026u16, 11, 6, 21, 15, 4, 5].iter().for_each(|number| payload.extend(number.to_le_bytes()));
    payload.extend(hex("08 00"));
    payload.extend(b"rps.test");
    let reply = |payload: &[u8]| {
        let mut reply = hex("01 01 00 00 50 00 80 04");
        reply.extend(u32::try_from(payload.len() + 4).unwrap().to_le_bytes());
        reply.extend([0; 4]);
        reply.extend(payload);
        reply
    };
    let record = GetSetupAuditRecord.decode(&reply(&payload)).unwrap();
    assert_eq!((record.tls_mode, record.secure_dns, record.host_initiated), (0, true, true));
    assert_eq!((record.hash_algorithm, record.hash), (HashAlgorithm::Sha256, vec![0xaa; 32]));
    assert_eq!(record.serials, [[0; 16], [1; 16], [2; 16]]);
    assert_eq!((record.more_serials, record.is_oem_default, record.is_time_valid), (false, true, true));
    assert_eq!((record.server_ip.as_str(), record.server_name.as_str()), ("192.0.2.7", "rps.test"));
    assert_eq!(record.time, [2026, 11, 6, 21, 15, 4, 5]);
    for length in 0..payload.len() {
        assert!(GetSetupAuditRecord.decode(&reply(&payload[..length])).is_err(), "{length}");
    }
}

#[test]
fn code_versions() {
    let mut payload = vec![0; 65];
    payload[..4].copy_from_slice(b"BIOS");
    payload.extend(4u32.to_le_bytes());
    for (description, version) in
        [("AMT", "12.0.67"), ("Sku", "16392"), ("Netstack", "12.0.67"), ("Build Number", "1579")]
    {
        for text in [description, version] {
            payload.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
            let mut field = [0; 20];
            field[..text.len()].copy_from_slice(text.as_bytes());
            payload.extend(field);
        }
    }
    let versions = GetCodeVersions.decode(&reply(0x1a, &payload)).unwrap();
    assert_eq!(versions.bios, "BIOS");
    assert_eq!(versions.full_version().as_deref(), Some("12.0.67.1579"));
    assert_eq!((versions.amt_major(), versions.netstack()), (Some(12), Some("12.0.67")));
    let sku = versions.sku().unwrap();
    assert!(sku.is_amt_pro() && sku.is_corporate() && !sku.is_standard_manageability());
    // One entry fewer on the wire than counted, more than 50 counted, a length beyond its field.
    assert!(matches!(
        GetCodeVersions.decode(&reply(0x1a, &payload[..payload.len() - 44])),
        Err(PthiError::Malformed { .. })
    ));
    let mut many = payload.clone();
    many[65..69].copy_from_slice(&51u32.to_le_bytes());
    assert_eq!(GetCodeVersions.decode(&reply(0x1a, &many)), Err(PthiError::Malformed { offset: 16 + 65 }));
    let mut long = payload;
    long[69] = 21;
    assert_eq!(GetCodeVersions.decode(&reply(0x1a, &long)), Err(PthiError::Malformed { offset: 16 + 69 }));
}

#[test]
fn the_other_payloads() {
    assert_eq!(GetProvisioningState.decode(&reply(0x11, &[1, 0, 0, 0])), Ok(ProvisioningState::In));
    assert_eq!(GetProvisioningState.decode(&reply(0x11, &[9, 0, 0, 0])), Ok(ProvisioningState::Other(9)));
    assert_eq!(
        GetProvisioningMode.decode(&reply(0x08, &[1, 0, 0, 0, 0, 0, 0, 0])),
        Ok(ProvisioningMode { mode: 1, legacy: false })
    );
    let uuid = hex("00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff");
    assert_eq!(GetUuid.decode(&reply(0x5c, &uuid)).as_deref(), Ok("33221100-5544-7766-8899-aabbccddeeff"));
    assert_eq!(GetPkiSuffix.decode(&reply(0x36, b"\x05\0a.bc\0")).as_deref(), Ok("a.bc"));
    assert_eq!(GetPkiSuffix.decode(&reply(0x36, b"\0\0")).as_deref(), Ok(""));
    assert_eq!(GetPkiSuffix.decode(&reply(0x36, b"\x05\0a")), Err(PthiError::Malformed { offset: 18 }));
    assert_eq!(EnumerateHashes.decode(&reply(0x2c, &[2, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0])), Ok(vec![7, 9]));
    assert!(EnumerateHashes.decode(&reply(0x2c, &[0xff; 8])).is_err());

    let lan = hex("01 00 00 00 05 00 a8 c0 01 00 00 00 02 01 a4 bb 6d 00 00 01 00 00");
    assert_eq!(
        GetLanSettings { interface: LanInterface::Wired }.decode(&reply(0x48, &lan)),
        Ok(LanSettings {
            enabled: true,
            ipv4: [192, 168, 0, 5],
            dhcp: true,
            dhcp_mode: 2,
            link_up: true,
            mac: [0xa4, 0xbb, 0x6d, 0, 0, 1],
        })
    );
    let status = b"\x02\0\0\0\x02\0\0\0\x03\0\0\0\x05\0m.org";
    assert_eq!(
        GetRemoteAccessStatus.decode(&reply(0x46, status)),
        Ok(RemoteAccessStatus {
            network: 2,
            tunnel: TunnelState::Connected,
            trigger: 3,
            mps_host: "m.org".into()
        })
    );
}

#[test]
fn the_local_account_is_read_with_and_without_padding() {
    let mut payload = vec![0; 68];
    payload[..9].copy_from_slice(b"$$OsAdmin");
    payload[33..41].copy_from_slice(b"a1b2c3d4");
    for length in [66, 68] {
        let account = GetLocalSystemAccount.decode(&reply(0x67, &payload[..length])).ok().unwrap();
        assert_eq!((account.user.as_str(), account.password.expose()), ("$$OsAdmin", "a1b2c3d4"));
    }
    assert!(GetLocalSystemAccount.decode(&reply(0x67, &payload[..65])).is_err());
    payload[33] = 0;
    assert!(GetLocalSystemAccount.decode(&reply(0x67, &payload)).is_err(), "an empty password is no login");
}

#[test]
fn hash_entries_resolve_algorithm_3_by_content() {
    let entry = |algorithm: u8, used: usize| {
        let mut payload = hex("01 00 00 00 00 00 00 00");
        payload.extend((0..64).map(|index| if index < used { 0xab } else { 0 }));
        payload.push(algorithm);
        payload.extend(b"\x04\0Root");
        GetHash { handle: 0 }.decode(&reply(0x2d, &payload)).unwrap()
    };
    let sha256 = entry(2, 32);
    assert_eq!((sha256.is_default, sha256.is_active, sha256.name.as_str()), (true, false, "Root"));
    assert_eq!(sha256.hash, [0xab; 32]);
    assert_eq!((entry(3, 48).algorithm, entry(3, 48).hash.len()), (HashAlgorithm::Sha384, 48));
    assert_eq!((entry(3, 64).algorithm, entry(3, 64).hash.len()), (HashAlgorithm::Sha512, 64));
    assert_eq!(entry(7, 64).algorithm, HashAlgorithm::Other(7));
}

#[test]
fn every_layer_of_a_reply_is_checked() {
    let good = reply(0x6b, &[1, 0, 0, 0]);
    assert_eq!(GetControlMode.decode(&good), Ok(ControlMode::Client));
    let spoil = |offset: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[offset] = byte;
        GetControlMode.decode(&bytes)
    };
    assert_eq!(spoil(0, 2), Err(PthiError::Version { major: 2, minor: 1 }));
    assert_eq!(spoil(4, 0x11), Err(PthiError::WrongCommand { expected: 0x0480_006b, got: 0x0480_0011 }));
    assert_eq!(spoil(6, 0), Err(PthiError::WrongCommand { expected: 0x0480_006b, got: 0x0400_006b }));
    assert_eq!(spoil(8, 4), Err(PthiError::LengthMismatch { header: 4, actual: 8 }));
    assert_eq!(spoil(12, 2), Err(PthiError::Status(PtStatus::NOT_READY)));
    assert_eq!(GetControlMode.decode(&good[..15]), Err(PthiError::Short { got: 15 }));
    assert_eq!(GetControlMode.decode(&reply(0x6b, &[])), Err(PthiError::Malformed { offset: 16 }));
    assert_eq!(
        PthiError::Status(PtStatus::NOT_READY).to_string(),
        "status 2 (NOT_READY): wait 4 seconds and ask again"
    );
}

fn reply(command: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 0, 0, command, 0, 0x80, 4];
    bytes.extend(u32::try_from(payload.len() + 4).unwrap().to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

proptest! {
    /// Arbitrary payloads behind a correct header, so that the readers themselves are reached.
    #[test]
    fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..300), handle in any::<u32>()) {
        let _ = GetCodeVersions.decode(&reply(0x1a, &payload));
        let _ = GetUuid.decode(&reply(0x5c, &payload));
        let _ = GetLocalSystemAccount.decode(&reply(0x67, &payload));
        let _ = EnumerateHashes.decode(&reply(0x2c, &payload));
        let _ = GetHash { handle }.decode(&reply(0x2d, &payload));
        let _ = GetPkiSuffix.decode(&reply(0x36, &payload));
        let _ = GetLanSettings { interface: LanInterface::Wired }.decode(&reply(0x48, &payload));
        let _ = GetRemoteAccessStatus.decode(&reply(0x46, &payload));
        let _ = GetControlMode.decode(&payload);
        let _ = StartConfigurationHBased { leaf: LeafHash::Sha256([0; 32]) }.decode(&reply(0x8b, &payload));
        let _ = upid::decode_platform_id(&payload);
        let _ = LeafHash::of(&payload);
        let _ = mhc::decode_is_change_to_amt_enabled(&payload);
        let _ = oob_wsman::mkhi::decode_fw_version(&payload);
        let _ = oob_wsman::mkhi::Rule::SkuCapable.decode(&payload);
    }
}
