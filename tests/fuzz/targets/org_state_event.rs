//! A file that lies in org state under an event's name: a DSSE envelope by anybody, or an event that somebody signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oob_agent::state::{Event, SignedEvent, Signer, Stored, claims, fold};
use oob_fuzz::{bound::within, seeds::plant};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::ephemeral().expect("random bytes"));

fuzz_target!(init: plant("org_state_event"), |data: &[u8]| {
    within(0x4_0000 + 256 * data.len(), || {
        let _ = SignedEvent::open(data);
        // Lines of events in place of envelopes: signed here, since no fuzzer signs them, and folded.
        let events = data.split(|byte| *byte == b'\n').filter_map(signed);
        let stored = Stored { events: events.take(8).collect(), ..Stored::default() };
        let history = fold(&stored, &[]);
        let _ = claims(&stored, &history);
        let mut turned = stored.clone();
        turned.events.reverse();
        assert_eq!(fold(&turned, &[]), history, "the order of events means nothing");
    });
});

fn signed(line: &[u8]) -> Option<SignedEvent> {
    let mut event: Event = serde_json::from_slice(line).ok()?;
    event.actor.pubkey = SIGNER.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let signed = event.sign(&SIGNER).ok()?;
    match SignedEvent::open(&signed.envelope) {
        Ok(opened) => {
            assert_eq!(opened, signed, "what we sign reads back");
            Some(opened)
        }
        Err(error) => {
            assert!(event.schema != Event::SCHEMA, "what we sign is refused: {error}");
            None
        }
    }
}
