//! `oob-sim`: simulated machines for `oob-agent`. A machine is a directory (`sys`, `proc`, `dev`, `ports.json`)
//! with firmware behind its `dev/mei0` and its loopback ports.
//!
//! Written from `reference/` alone and linked to no other crate of this project, so that a reference misread on
//! one side shows as a disagreement between the two. The device state is real: a refused call changes nothing, and
//! what firmware refuses is refused here. It is a peer for tests and never a product: the device's secrets live in
//! this process's memory only, and reach no file, no trace and no output.
//!
//! One way of data: [`host`] writes the directory; [`mei`] and [`tcp`] accept peers; a PTHI, MHC, MKHI or HTTP
//! request becomes one *device call* at [`device::Device::begin`], where it is counted and where its fault, if
//! any, strikes; [`amt`] holds the state; the reply leaves only after `sim/state.json` tells of the call.

pub mod addresses;
pub mod amt;
pub mod apf;
pub mod chain;
pub mod chance;
pub mod der;
pub mod device;
pub mod digest;
pub mod fault;
pub mod features;
pub mod habits;
pub mod host;
pub mod host_tls;
pub mod http;
pub mod ledger;
pub mod lme;
pub mod lms;
pub mod mei;
pub mod mhc;
pub mod on_die;
pub mod p384;
pub mod ports;
pub mod profile;
pub mod pthi;
pub mod rsa;
pub mod serve;
pub mod store;
pub mod tcp;
pub mod tls;
pub mod upid;
pub mod wifi;
pub mod wsman;
pub mod www;
pub mod x509;
