//! The APF session against a scripted AMT: windows, order, slots, stale messages.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::apf::{ApfError, CLEARTEXT_PORT, ChannelId, Event, Message, OpenFailure, Session, TLS_PORT};
use proptest::prelude::*;

const REMOTE: u32 = 40;

fn forward(port: u32) -> Vec<u8> {
    Message::TcpipForward { want_reply: true, address: b"::1".to_vec(), port }.encode()
}

fn drain(session: &mut Session) -> Vec<Message> {
    std::iter::from_fn(|| session.poll_transmit()).map(|bytes| Message::decode(&bytes).unwrap().0).collect()
}

/// A session whose channel is open with the given window; AMT's number for it is `REMOTE`.
fn opened(max_message: usize, window: u32) -> (Session, ChannelId, u32) {
    let mut session = Session::new(max_message);
    let channel = session.open(CLEARTEXT_PORT).unwrap();
    let local = local_of(&mut session);
    let events = confirm(&mut session, local, window);
    assert_eq!(events, [Event::Opened { channel }]);
    (session, channel, local)
}

fn local_of(session: &mut Session) -> u32 {
    match drain(session).last() {
        Some(Message::ChannelOpen { sender, .. }) => *sender,
        other => panic!("expected an open, got {other:?}"),
    }
}

fn confirm(session: &mut Session, local: u32, window: u32) -> Vec<Event> {
    session.receive(&Message::OpenConfirmation { recipient: local, sender: REMOTE, window }.encode()).unwrap()
}

#[test]
fn ready_needs_a_full_pair_and_comes_again_after_a_withdrawal() {
    let mut session = Session::new(4096);
    assert_eq!(session.receive(&forward(16992)), Ok(vec![]));
    assert_eq!(session.receive(&forward(664)), Ok(vec![]));
    assert_eq!(session.receive(&forward(623)), Ok(vec![Event::Ready { tls: false }]));
    assert_eq!(session.receive(&forward(623)), Ok(vec![]));
    assert_eq!(session.receive(&forward(16993)), Ok(vec![Event::Ready { tls: true }]));
    let cancel = Message::CancelTcpipForward { want_reply: true, address: vec![], port: 16992 };
    session.receive(&cancel.encode()).unwrap();
    assert!(!session.is_ready(false) && session.is_ready(true));
    assert_eq!(drain(&mut session).last(), Some(&Message::RequestSuccess { port: None }));
    assert_eq!(session.receive(&forward(16992)), Ok(vec![Event::Ready { tls: false }]));
}

#[test]
fn several_messages_and_padding_in_one_datagram_are_read() {
    let mut session = Session::new(4096);
    let datagram = [forward(16993), forward(664), vec![0; 3]].concat();
    assert_eq!(session.receive(&datagram), Ok(vec![Event::Ready { tls: true }]));
    assert_eq!(drain(&mut session).len(), 2);
}

#[test]
fn data_is_credited_and_a_flood_beyond_the_window_is_an_error() {
    let (mut session, channel, local) = opened(4096, 100);
    let data = |length: usize| Message::ChannelData { recipient: local, data: vec![7; length] }.encode();
    assert_eq!(session.receive(&data(4096)), Ok(vec![Event::Data { channel, bytes: vec![7; 4096] }]));
    assert_eq!(drain(&mut session), [Message::WindowAdjust { recipient: REMOTE, bytes: 4096 }]);
    assert_eq!(session.receive(&data(4097)), Err(ApfError::WindowViolated { channel: local }));
    assert_eq!(session.receive(&data(1)), Err(ApfError::Ended));
    assert_eq!(session.open(TLS_PORT), Err(ApfError::Ended));
    assert!(session.poll_transmit().is_none());
}

#[test]
fn both_directions_of_closing_free_the_slot_once() {
    let (mut session, channel, local) = opened(4096, 100);
    let close = Message::ChannelClose { recipient: local }.encode();
    assert_eq!(session.receive(&close), Ok(vec![Event::Closed { channel }]));
    assert_eq!(drain(&mut session), [Message::ChannelClose { recipient: REMOTE }]);
    assert_eq!(session.receive(&close), Ok(vec![]), "a stale close is ignored");
    assert!(drain(&mut session).is_empty());

    let (mut session, channel, local) = opened(4096, 100);
    session.close(channel);
    session.close(channel);
    assert_eq!(drain(&mut session), [Message::ChannelClose { recipient: REMOTE }]);
    assert!(session.send(channel, b"late").is_err());
    let late = Message::ChannelData { recipient: local, data: b"late".to_vec() }.encode();
    assert_eq!(session.receive(&late), Ok(vec![]));
    let close = Message::ChannelClose { recipient: local }.encode();
    assert_eq!(session.receive(&close), Ok(vec![Event::Closed { channel }]));
    assert!(drain(&mut session).is_empty(), "a close is answered once");
}

#[test]
fn a_close_for_a_channel_not_confirmed_is_stale() {
    let mut session = Session::new(4096);
    let channel = session.open(CLEARTEXT_PORT).unwrap();
    let local = local_of(&mut session);
    for stale in [0, local] {
        assert_eq!(session.receive(&Message::ChannelClose { recipient: stale }.encode()), Ok(vec![]));
    }
    assert_eq!(confirm(&mut session, local, 10), [Event::Opened { channel }]);
}

#[test]
fn a_channel_abandoned_while_opening_is_closed_once_confirmed() {
    let mut session = Session::new(4096);
    let channel = session.open(CLEARTEXT_PORT).unwrap();
    let local = local_of(&mut session);
    session.close(channel);
    assert!(drain(&mut session).is_empty());
    assert_eq!(confirm(&mut session, local, 10), []);
    assert_eq!(drain(&mut session), [Message::ChannelClose { recipient: REMOTE }]);
}

#[test]
fn there_are_eight_slots_and_no_number_comes_twice() {
    let mut session = Session::new(4096);
    let channels: Vec<_> = (0..8).map(|_| session.open(TLS_PORT).unwrap()).collect();
    assert_eq!(session.open(TLS_PORT), Err(ApfError::NoFreeChannel));
    let local = local_of(&mut session);
    let refused = session.receive(&Message::OpenFailure { recipient: local, reason: 1 }.encode()).unwrap();
    assert_eq!(refused, [Event::OpenFailed { channel: channels[7], reason: OpenFailure::Prohibited }]);
    assert!(OpenFailure::Prohibited.is_retryable() && !OpenFailure::ResourceShortage.is_retryable());
    let again = session.open(TLS_PORT).unwrap();
    assert!(!channels.contains(&again));
}

#[test]
fn what_amt_asks_is_answered() {
    let mut session = Session::new(4096);
    let open = Message::ChannelOpen {
        kind: b"forwarded-tcpip".to_vec(),
        sender: 3,
        window: 9,
        address: vec![],
        port: 1,
        origin: vec![],
        origin_port: 2,
    };
    session.receive(&open.encode()).unwrap();
    session.receive(&Message::KeepaliveRequest { cookie: 77 }.encode()).unwrap();
    session.receive(&Message::KeepaliveOptionsRequest { interval: 1, timeout: 2 }.encode()).unwrap();
    let unknown = Message::GlobalRequest { name: b"x".to_vec(), want_reply: true, rest: vec![1, 2] };
    session.receive(&unknown.encode()).unwrap();
    assert_eq!(
        drain(&mut session),
        [
            Message::OpenFailure { recipient: 3, reason: 1 },
            Message::KeepaliveReply { cookie: 77 },
            Message::KeepaliveOptionsReply { interval: 1, timeout: 2 },
            Message::RequestFailure,
        ]
    );
    assert_eq!(
        session.receive(&Message::Disconnect { reason: 2 }.encode()),
        Ok(vec![Event::Disconnected { reason: 2 }])
    );
    assert_eq!(session.open(TLS_PORT), Err(ApfError::Ended));
    let version = Message::ProtocolVersion { major: 2, minor: 0, trigger: 0, uuid: [0; 16] };
    assert_eq!(Session::new(99).receive(&version.encode()), Err(ApfError::Version { major: 2, minor: 0 }));
    let service = Message::ServiceRequest { service: b"shell".to_vec() };
    assert_eq!(Session::new(99).receive(&service.encode()), Err(ApfError::UnknownService));
    let overflow = Message::WindowAdjust { recipient: 1, bytes: u32::MAX }.encode();
    assert!(opened(4096, 1).0.receive(&overflow).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8)
    ) {
        let mut session = opened(256, 50).0;
        for datagram in datagrams {
            let _ = session.receive(&datagram);
            while session.poll_transmit().is_some() {}
        }
    }

    /// Well-formed types with arbitrary fields, so that the state machine itself is reached.
    #[test]
    fn arbitrary_fields_never_panic(
        messages in proptest::collection::vec((0usize..8, 0u32..4, any::<u32>(), 0usize..5000), 0..40)
    ) {
        let (mut session, channel, _) = opened(64, 50);
        for (kind, recipient, word, length) in messages {
            let message = match kind {
                0 => Message::OpenConfirmation { recipient, sender: word, window: word },
                1 => Message::OpenFailure { recipient, reason: word },
                2 => Message::WindowAdjust { recipient, bytes: word },
                3 => Message::ChannelData { recipient, data: vec![0; length] },
                4 => Message::ChannelClose { recipient },
                5 => Message::TcpipForward { want_reply: true, address: vec![], port: word },
                6 => Message::CancelTcpipForward { want_reply: true, address: vec![], port: word },
                _ => Message::KeepaliveRequest { cookie: word },
            };
            let _ = session.receive(&message.encode());
            let _ = session.open(TLS_PORT);
            let _ = session.send(channel, &vec![1; length]);
            while let Some(datagram) = session.poll_transmit() {
                prop_assert!(datagram.len() <= 64);
            }
        }
    }

    /// Whatever windows AMT grants and however the caller cuts its writes: never more than granted is in flight, no
    /// message is longer than MEI allows, and in the end every byte has arrived in order.
    #[test]
    fn the_window_holds_and_every_byte_arrives_in_order(
        writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 1..8),
        window in 0u32..300,
        grants in proptest::collection::vec(1u32..400, 1..60),
        max_message in 10usize..300,
    ) {
        let (mut session, channel, local) = opened(max_message, window);
        let mut allowed = u64::from(window);
        let mut received = Vec::new();
        let mut collect = |session: &mut Session, allowed: u64| -> Result<(), TestCaseError> {
            while let Some(datagram) = session.poll_transmit() {
                prop_assert!(datagram.len() <= max_message);
                match Message::decode(&datagram).unwrap().0 {
                    Message::ChannelData { recipient, data } => {
                        prop_assert_eq!(recipient, REMOTE);
                        prop_assert!(!data.is_empty());
                        received.extend(data);
                    }
                    other => prop_assert!(false, "unexpected {:?}", other),
                }
                prop_assert!(received.len() as u64 <= allowed);
            }
            Ok(())
        };
        for write in &writes {
            session.send(channel, write).unwrap();
            collect(&mut session, allowed)?;
        }
        for bytes in grants.into_iter().cycle() {
            if session.unsent(channel) == 0 {
                break;
            }
            allowed += u64::from(bytes);
            session.receive(&Message::WindowAdjust { recipient: local, bytes }.encode()).unwrap();
            collect(&mut session, allowed)?;
        }
        prop_assert_eq!(received, writes.concat());
    }
}
