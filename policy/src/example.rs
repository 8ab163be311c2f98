//! The recipients of the example policies, whose identities are published.

/// Everybody can open what is sealed to these keys (`packaging/examples/example-identity-*.txt`), so on a live root a
/// policy with one of them is refused.
pub const EXAMPLE_RECIPIENTS: &[&str] = &[
    "age1lcl3af7vxnvru6cjwt45p6hs2g39syd563xwxmqh5909mspn9e5s8ams8e",
    "age1fznrmnr5uaftst292v7vau3l3gcfryhhy5erttujakxqvtap7udsdsf6z0",
];
