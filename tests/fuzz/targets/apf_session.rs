//! An APF peer that says anything: each datagram is prefixed by its length, and what the session queues is drained.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_wsman::apf::{CLEARTEXT_PORT, Message, Session};

fuzz_target!(|data: &[u8]| {
    let _ = Message::decode(data);
    let mut session = Session::new(4096);
    session.start();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        if session.is_ready(false) {
            let _ = session.open(CLEARTEXT_PORT);
        }
        let ended = session.receive(datagram).is_err();
        while session.poll_transmit().is_some() {}
        if ended {
            return;
        }
    }
});
