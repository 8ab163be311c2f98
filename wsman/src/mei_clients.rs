//! The firmware's MEI clients that the agent speaks to: their GUIDs as text and as the connect call wants them.
//!
//! Source: `reference/amt.md` 1.2.

/// A MEI client. `wire` is what the connect ioctl takes: the first three groups of the text byte-swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeiClient {
    /// Short name for messages and reports.
    pub name: &'static str,
    /// Canonical text, lower case, as sysfs prints it.
    pub guid: &'static str,
    /// The 16 bytes of the connect call.
    pub wire: [u8; 16],
}

/// AMT host interface (PTHI, AMTHI, IAMTHIF): state, versions, the local account.
pub const PTHI: MeiClient = MeiClient {
    name: "PTHI",
    guid: "12f80028-b4b7-4b2d-aca8-46e0ff65814c",
    wire: [0x28, 0x00, 0xf8, 0x12, 0xb7, 0xb4, 0x2d, 0x4b, 0xac, 0xa8, 0x46, 0xe0, 0xff, 0x65, 0x81, 0x4c],
};

/// Local manageability engine: APF, hence WS-Man with no LMS daemon.
pub const LME: MeiClient = MeiClient {
    name: "LME",
    guid: "6733a4db-0476-4e7b-b3af-bcfc29bee7a7",
    wire: [0xdb, 0xa4, 0x33, 0x67, 0x76, 0x04, 0x7b, 0x4e, 0xb3, 0xaf, 0xbc, 0xfc, 0x29, 0xbe, 0xe7, 0xa7],
};

/// Watchdog and manageability (MHC). The kernel's `mei_wdt` normally owns it: EBUSY means unknown, not disabled.
pub const WATCHDOG: MeiClient = MeiClient {
    name: "watchdog",
    guid: "05b79a6f-4628-4d7f-899d-a91514cb32ab",
    wire: [0x6f, 0x9a, 0xb7, 0x05, 0x28, 0x46, 0x7f, 0x4d, 0x89, 0x9d, 0xa9, 0x15, 0x14, 0xcb, 0x32, 0xab],
};

/// ME kernel host interface: firmware version and SKU even where there is no AMT.
pub const MKHI: MeiClient = MeiClient {
    name: "MKHI",
    guid: "8e6a6715-9abc-4043-88ef-9e39c6f63e0f",
    wire: [0x15, 0x67, 0x6a, 0x8e, 0xbc, 0x9a, 0x43, 0x40, 0x88, 0xef, 0x9e, 0x39, 0xc6, 0xf6, 0x3e, 0x0f],
};

/// Unique platform id.
pub const UPID: MeiClient = MeiClient {
    name: "UPID",
    guid: "92136c79-5fea-4cfd-980e-23be07fa5e9f",
    wire: [0x79, 0x6c, 0x13, 0x92, 0xea, 0x5f, 0xfd, 0x4c, 0x98, 0x0e, 0x23, 0xbe, 0x07, 0xfa, 0x5e, 0x9f],
};

/// All of the above.
pub const ALL: [MeiClient; 5] = [PTHI, LME, WATCHDOG, MKHI, UPID];

/// A GUID or UUID in the mixed-endian form of the wire (first three groups little-endian) as lower-case text.
pub fn mixed_endian_text(wire: &[u8; 16]) -> String {
    let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5] = wire;
    format!(
        "{a3:02x}{a2:02x}{a1:02x}{a0:02x}-{b1:02x}{b0:02x}-{c1:02x}{c0:02x}-{d0:02x}{d1:02x}-\
         {e0:02x}{e1:02x}{e2:02x}{e3:02x}{e4:02x}{e5:02x}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_bytes_of_every_client_agree() {
        for client in ALL {
            assert_eq!(mixed_endian_text(&client.wire), client.guid, "{}", client.name);
        }
    }
}
