//! MKHI, the kernel host interface: firmware version and feature rules, there even where AMT is not.
//!
//! Source: `reference/amt.md` 1.4. The header is one u32: bits 0-7 group, 8-14 command, 15 response, 24-31 result.

use crate::bytes::{Cursor, Truncated};

/// The request for the firmware's version (group GEN, command 2).
pub const GET_FW_VERSION: [u8; 4] = [0xff, 0x02, 0x00, 0x00];

/// A firmware version as people write it: major, minor, hotfix, build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FwVersion {
    /// As in 16.x.
    pub major: u16,
    /// As in x.1.
    pub minor: u16,
    /// Third number.
    pub hotfix: u16,
    /// Fourth number.
    pub build: u16,
}

/// A rule of the group FWCAPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 0: what the SKU can do.
    SkuCapable,
    /// 29: platform type.
    PlatformType,
    /// 32: features enabled.
    FeaturesEnabled,
    /// 39: features available.
    FeaturesAvailable,
}

/// The value of a feature rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleBits(pub u32);

impl RuleBits {
    /// Bit 2 of the feature rules: AMT.
    pub fn has_amt(self) -> bool {
        self.0 >> 2 & 1 == 1
    }

    /// Bit 18 of the feature rules: KVM.
    pub fn has_kvm(self) -> bool {
        self.0 >> 18 & 1 == 1
    }

    /// Bit 21 of the feature rules: TLS.
    pub fn has_tls(self) -> bool {
        self.0 >> 21 & 1 == 1
    }

    /// Bits 12-15 of [`Rule::PlatformType`]: 0 none, 1 AMT, 2 Standard Manageability, 3 L3, 4 RPAT, 5 SBT.
    pub fn brand(self) -> u8 {
        (self.0 >> 12 & 0xf) as u8
    }
}

/// Why a reply is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MkhiError {
    /// Too short.
    #[error("MKHI reply: {0}")]
    Truncated(#[from] Truncated),
    /// It answers another command or another rule.
    #[error(
        "reading MKHI reply: word {got:#010x}, expected {expected:#010x}; close the connection and ask again"
    )]
    WrongAnswer {
        /// What was asked.
        expected: u32,
        /// What was answered.
        got: u32,
    },
    /// The firmware refused; 0x88 not ready, 0x89 not supported, 0x8D invalid command, 0xFE retry.
    #[error("reading MKHI reply: result {0:#04x}")]
    Result(u8),
}

impl Rule {
    /// The request for this rule (group FWCAPS, command 2).
    pub fn encode(self) -> Vec<u8> {
        let mut request = vec![FWCAPS, GET, 0, 0];
        request.extend(self.id().to_le_bytes());
        request
    }

    /// Reads the answer: header, u32 rule id, u8 length, up to four bytes of value.
    pub fn decode(self, reply: &[u8]) -> Result<RuleBits, MkhiError> {
        let mut cursor = checked(reply, FWCAPS, GET)?;
        let got = cursor.u32_le()?;
        if got != self.id() {
            return Err(MkhiError::WrongAnswer { expected: self.id(), got });
        }
        let length = cursor.u8()?;
        let value = cursor.take(length.into())?;
        let mut word = [0; 4];
        word.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
        Ok(RuleBits(u32::from_le_bytes(word)))
    }

    fn id(self) -> u32 {
        match self {
            Self::SkuCapable => 0,
            Self::PlatformType => 29,
            Self::FeaturesEnabled => 32,
            Self::FeaturesAvailable => 39,
        }
    }
}

/// Reads the answer to [`GET_FW_VERSION`]: u16 minor, major, build, hotfix of the code partition; the rest is ignored.
pub fn decode_fw_version(reply: &[u8]) -> Result<FwVersion, MkhiError> {
    let mut cursor = checked(reply, GEN, GET)?;
    let (minor, major, build, hotfix) =
        (cursor.u16_le()?, cursor.u16_le()?, cursor.u16_le()?, cursor.u16_le()?);
    Ok(FwVersion { major, minor, hotfix, build })
}

fn checked(reply: &[u8], group: u8, command: u8) -> Result<Cursor<'_>, MkhiError> {
    let mut cursor = Cursor::new(reply);
    let [got_group, got_command, reserved, result] = cursor.array()?;
    if (got_group, got_command) != (group, command | RESPONSE) {
        return Err(MkhiError::WrongAnswer {
            expected: u32::from_le_bytes([group, command | RESPONSE, 0, 0]),
            got: u32::from_le_bytes([got_group, got_command, reserved, result]),
        });
    }
    if result != 0 {
        return Err(MkhiError::Result(result));
    }
    Ok(cursor)
}

const GEN: u8 = 0xff;
const FWCAPS: u8 = 0x03;
const GET: u8 = 0x02;
const RESPONSE: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_words_are_in_the_wire_order_minor_major_build_hotfix() {
        let mut reply = vec![0xff, 0x82, 0, 0];
        for word in [1u16, 16, 2308, 32, 1, 16, 2308, 32] {
            reply.extend(word.to_le_bytes());
        }
        assert_eq!(decode_fw_version(&reply), Ok(FwVersion { major: 16, minor: 1, hotfix: 32, build: 2308 }));
        reply[3] = 0x88;
        assert_eq!(decode_fw_version(&reply), Err(MkhiError::Result(0x88)));
        reply[1] = 0x02;
        assert!(matches!(decode_fw_version(&reply), Err(MkhiError::WrongAnswer { .. })));
    }

    #[test]
    fn a_rule_answer_must_name_the_rule_asked() {
        assert_eq!(Rule::PlatformType.encode(), [3, 2, 0, 0, 29, 0, 0, 0]);
        let mut reply = vec![3, 0x82, 0, 0, 0, 0, 0, 0, 4, 0x04, 0, 0x24, 0];
        let bits = Rule::SkuCapable.decode(&reply).unwrap();
        assert!(bits.has_amt() && bits.has_kvm() && bits.has_tls());
        assert_eq!(Rule::PlatformType.decode(&reply), Err(MkhiError::WrongAnswer { expected: 29, got: 0 }));
        reply[8] = 5;
        assert!(matches!(Rule::SkuCapable.decode(&reply), Err(MkhiError::Truncated(_))));
    }
}
