//! The soft-disable strap by descriptor: real ones against an explicit table, generated ones for families without a
//! real sample, and what must never happen.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod board;
mod corpus;
mod generated;
mod hostile;
