//! APF, Intel's port forwarding protocol, over the MEI client [`crate::mei_clients::LME`]: TCP ports of AMT, reached
//! from the host with no LMS daemon and no network.
//!
//! [`Session`] is the state machine. It does no I/O and has no clock: the pump feeds it what the MEI descriptor gave
//! ([`Session::receive`]) and writes what it wants to say ([`Session::poll_transmit`]), one MEI message each.
//! [`Message`] is the codec below it. Source: `reference/amt.md` 3.
//!
//! ```
//! use oob_wsman::apf::{CLEARTEXT_PORT, Event, Session};
//! let mut session = Session::new(4096);
//! session.start();
//! while let Some(datagram) = session.poll_transmit() {
//!     // write(&datagram)
//! #   let _ = datagram;
//! }
//! # let read: Vec<u8> = Vec::new();
//! for event in session.receive(&read).unwrap_or_default() {
//!     if let Event::Ready { tls: false } = event {
//!         let _channel = session.open(CLEARTEXT_PORT);
//!     }
//! }
//! ```

mod channel;
mod message;
mod session;

pub use message::{ApfError, Message};
pub use session::{ChannelId, Event, OpenFailure, Session};

/// WS-Man in cleartext; its redirection-free sibling 623 completes the pair.
pub const CLEARTEXT_PORT: u16 = 16992;
/// WS-Man over TLS; 664 completes the pair. The only one from AMT 19 on.
pub const TLS_PORT: u16 = 16993;
