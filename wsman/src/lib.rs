//! WS-Man and what it speaks to: envelopes, verbs, digest, AMT classes, and the byte codecs of PTHI, MKHI, MHC and APF.
//!
//! Everything here is bytes in, bytes out. The crate deliberately opens no file and no socket, starts no runtime, reads
//! no clock and draws no random number: the agent moves the bytes, this crate decides what they mean.
//!
//! ```text
//! pthi, mhc, mkhi,
//! upid              one request, one reply, over a MEI client        Command::encode / Command::decode
//! apf               port forwarding over the LME client              Session: receive / poll_transmit
//! client            WS-Man over HTTP over any byte stream            Client<T: Transport>
//!   envelope, verbs, xml, fault, http, digest, classes               what Client is made of
//! x509              provisioning chains, public keys                 preflight
//! verifier          the device's certificate, for rustls             Pinned, OrgCa, OnDie, SelfMade
//! ```
//!
//! Success and failure travel on independent layers: HTTP status, SOAP fault, `ReturnValue`, PTHI status
//! (`reference/amt.md` 0.1). Every decoder here checks its own layer and returns a typed error, so that a caller who
//! gets a value knows that the device said yes on all of them. It still has to read back.
//!
//! Secrets ([`Secret`], [`digest::Ha1`]) have no `Debug`, no `Display` and no `Clone`, and are zeroized.

mod bytes;
mod secret;

pub mod apf;
pub mod classes;
pub mod client;
pub mod digest;
pub mod envelope;
pub mod fault;
pub mod http;
pub mod mei_clients;
pub mod mhc;
pub mod mkhi;
pub mod pthi;
pub mod upid;
pub mod verbs;
pub mod verifier;
pub mod x509;
pub mod xml;

pub use bytes::Truncated;
pub use secret::Secret;
