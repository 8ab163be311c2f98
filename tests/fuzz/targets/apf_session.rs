//! An APF peer that says anything: each datagram is prefixed by its length, and what the session queues is drained.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{bound::within, seeds::plant};
use oob_wsman::apf::{CLEARTEXT_PORT, Message, Session};

fuzz_target!(init: plant("apf_session"), |data: &[u8]| {
    within(0x1_0000 + 64 * data.len(), || {
        if let Ok((message, length)) = Message::decode(data) {
            let bytes = message.encode();
            assert!(length <= data.len());
            assert_eq!(Message::decode(&bytes), Ok((message, bytes.len())), "what we write reads back");
        }
        converse(data);
    });
});

fn converse(data: &[u8]) {
    let mut session = Session::new(4096);
    session.start();
    let mut channel = None;
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        if session.is_ready(false) && channel.is_none() {
            channel = session.open(CLEARTEXT_PORT).ok();
        }
        if let Some(channel) = channel {
            let _ = session.send(channel, b"GET");
        }
        let ended = session.receive(datagram).is_err();
        while let Some(message) = session.poll_transmit() {
            assert!(message.len() <= 4096, "longer than the peer takes");
            assert!(Message::decode(&message).is_ok(), "what we send is APF");
        }
        if ended {
            return;
        }
    }
}
