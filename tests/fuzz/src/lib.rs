//! What the fuzz targets share: a bound on memory, seeds made by code, and images built from a few changes to a sound one.

pub mod base;
pub mod bound;
pub mod seeds;
mod sign;

// Fixtures of the product's own tests, which the seeds are made from. They name each other by these paths.
#[path = "../../../mecheck/tests/straps/board.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod board;
#[path = "../../../mecheck/src/me/fixture.rs"]
#[allow(dead_code, unreachable_pub)]
mod fixture;
#[path = "../../../mecheck/tests/straps/generated.rs"]
#[allow(dead_code, unused_imports, clippy::unwrap_used)]
mod generated;
#[path = "../../../mecheck/tests/images/mod.rs"]
#[allow(dead_code)]
mod images;
#[path = "../../../mecheck/tests/uefi_fixture/mod.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod uefi_fixture;

/// Where `fixture` looks for manifests that openssl signed.
mod signature {
    pub(crate) mod vectors {
        pub(crate) fn get(name: &str) -> Vec<u8> {
            crate::seeds::vector(name)
        }
    }
}
