//! Frozen bytes of APF.
//!
//! If a test here fails, do not change the test: revert your change. Source: `reference/amt.md` 3.1.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::apf::{ApfError, CLEARTEXT_PORT, Message, Session};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn protocol_version() -> Vec<u8> {
    [hex("c0 00000001 00000000 00000009"), vec![0; 80]].concat()
}

#[test]
fn the_handshake_is_these_bytes() {
    let mut session = Session::new(4096);
    session.start();
    assert_eq!(session.poll_transmit().as_deref(), Some(&protocol_version()));
    assert_eq!(protocol_version().len(), 93);
    let service = hex("05 00000012 70667764 40616d74 2e696e74 656c2e63 6f6d");
    session.receive(&service).unwrap();
    let accept = hex("06 00000012 70667764 40616d74 2e696e74 656c2e63 6f6d");
    assert_eq!(session.poll_transmit().as_deref(), Some(&accept));
    let forward = hex("50 0000000d 74637069 702d666f 72776172 64 01 00000003 3a3a31 00004260");
    session.receive(&forward).unwrap();
    assert_eq!(session.poll_transmit().as_deref(), Some(&hex("51 00004260")));
    session.open(CLEARTEXT_PORT).unwrap();
    let open = hex(
        "5a 0000000f 666f727761726465642d7463706970 00000001 00001000 ffffffff 00000003 3a3a31 00004260 \
                    00000003 3a3a31 0000007b",
    );
    assert_eq!(open.len(), 54);
    assert_eq!(session.poll_transmit().as_deref(), Some(&open));
}

#[test]
fn every_message_has_these_bytes_and_reads_back() {
    let service = b"pfwd@amt.intel.com".to_vec();
    let cases = [
        (Message::Disconnect { reason: 11 }, "01 0000000b 0000"),
        (Message::ServiceAccept { service }, "06 00000012 70667764 40616d74 2e696e74 656c2e63 6f6d"),
        (
            Message::CancelTcpipForward { want_reply: true, address: b"x".to_vec(), port: 623 },
            "50 00000014 63616e63 656c2d74 63706970 2d666f72 77617264 01 00000001 78 0000026f",
        ),
        (Message::RequestSuccess { port: None }, "51"),
        (Message::RequestFailure, "52"),
        (
            Message::OpenConfirmation { recipient: 1, sender: 5, window: 0x400 },
            "5b 00000001 00000005 00000400 ffffffff",
        ),
        (Message::OpenFailure { recipient: 1, reason: 4 }, "5c 00000001 00000004 00000000 00000000"),
        (Message::WindowAdjust { recipient: 5, bytes: 0x200 }, "5d 00000005 00000200"),
        (Message::ChannelData { recipient: 5, data: b"abc".to_vec() }, "5e 00000005 00000003 616263"),
        (Message::ChannelClose { recipient: 5 }, "61 00000005"),
        (Message::KeepaliveRequest { cookie: 7 }, "d0 00000007"),
        (Message::KeepaliveReply { cookie: 7 }, "d1 00000007"),
        (Message::KeepaliveOptionsRequest { interval: 30, timeout: 90 }, "d2 0000001e 0000005a"),
        (Message::KeepaliveOptionsReply { interval: 30, timeout: 90 }, "d3 0000001e 0000005a"),
    ];
    for (message, golden) in cases {
        let bytes = hex(golden);
        assert_eq!(message.encode(), bytes, "{message:?}");
        assert_eq!(Message::decode(&bytes), Ok((message.clone(), bytes.len())), "{message:?}");
        for cut in 1..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "{message:?} cut to {cut}");
        }
    }
    assert_eq!(
        Message::decode(&hex("5e 00000001 ffffffff 00")).map_err(|error| error.to_string()),
        Err("APF message: reading 4294967295 bytes at offset 0x9: only 1 are left".to_owned())
    );
    assert_eq!(Message::decode(&[50, 0, 0]), Err(ApfError::Unexpected { kind: 50 }));
}
