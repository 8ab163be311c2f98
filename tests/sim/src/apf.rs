//! The messages of APF, AMT's port forwarding protocol (`reference/amt.md` 3.1): big-endian, first byte the type.

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// 192: version, trigger; the 16-byte id and 64 reserved bytes are zero here.
    Version { major: u32, minor: u32, trigger: u32 },
    /// 5: what AMT wants to begin.
    ServiceRequest(String),
    /// 6: what the host agrees to.
    ServiceAccept(String),
    /// 80 with the name `tcpip-forward`.
    Forward { address: String, port: u32 },
    /// 81, with the port when it answers a forward.
    RequestSuccess(Option<u32>),
    /// 82.
    RequestFailure,
    /// 90.
    Open {
        kind: String,
        sender: u32,
        window: u32,
        address: String,
        port: u32,
        origin: String,
        origin_port: u32,
    },
    /// 91.
    OpenConfirmation { recipient: u32, sender: u32, window: u32 },
    /// 92.
    OpenFailure { recipient: u32, reason: u32 },
    /// 93.
    WindowAdjust { recipient: u32, bytes: u32 },
    /// 94.
    Data { recipient: u32, data: Vec<u8> },
    /// 97.
    Close { recipient: u32 },
    /// 1.
    Disconnect { reason: u32 },
}

/// Reasons of an open failure.
pub mod refusal {
    /// Not forwarded.
    pub const PROHIBITED: u32 = 1;
    /// Nothing listens there.
    pub const CONNECT_FAILED: u32 = 2;
    /// Not `forwarded-tcpip`.
    pub const UNKNOWN_TYPE: u32 = 3;
    /// No slot is left.
    pub const SHORTAGE: u32 = 4;
}

/// Reason of a disconnect: the protocol was broken.
pub const PROTOCOL_ERROR: u32 = 2;

/// Bytes of a data message beside the data.
pub const DATA_OVERHEAD: usize = 9;

impl Message {
    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        match self {
            Self::Version { major, minor, trigger } => {
                out.byte(192).numbers(&[*major, *minor, *trigger]).zeros(16 + 64);
            }
            Self::ServiceRequest(name) => {
                out.byte(5).text(name);
            }
            Self::ServiceAccept(name) => {
                out.byte(6).text(name);
            }
            Self::Forward { address, port } => {
                out.byte(80).text("tcpip-forward").byte(1).text(address).numbers(&[*port]);
            }
            Self::RequestSuccess(port) => {
                out.byte(81).numbers(port.as_slice());
            }
            Self::RequestFailure => {
                out.byte(82);
            }
            Self::Open { kind, sender, window, address, port, origin, origin_port } => {
                out.byte(90).text(kind).numbers(&[*sender, *window, u32::MAX]);
                out.text(address).numbers(&[*port]).text(origin).numbers(&[*origin_port]);
            }
            Self::OpenConfirmation { recipient, sender, window } => {
                out.byte(91).numbers(&[*recipient, *sender, *window, u32::MAX]);
            }
            Self::OpenFailure { recipient, reason } => {
                out.byte(92).numbers(&[*recipient, *reason, 0, 0]);
            }
            Self::WindowAdjust { recipient, bytes } => {
                out.byte(93).numbers(&[*recipient, *bytes]);
            }
            Self::Data { recipient, data } => {
                out.byte(94).numbers(&[*recipient, u32::try_from(data.len()).unwrap_or(u32::MAX)]);
                out.0.extend_from_slice(data);
            }
            Self::Close { recipient } => {
                out.byte(97).numbers(&[*recipient]);
            }
            Self::Disconnect { reason } => {
                out.byte(1).numbers(&[*reason]).zeros(2);
            }
        }
        out.0
    }

    /// Reads one whole message; `None` if the bytes are not exactly one message of a kind a host sends.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = In(rest);
        let message = match kind {
            192 => {
                let message =
                    Self::Version { major: rest.number()?, minor: rest.number()?, trigger: rest.number()? };
                rest.take(16 + 64)?;
                message
            }
            5 => Self::ServiceRequest(rest.text()?),
            6 => Self::ServiceAccept(rest.text()?),
            80 => {
                if rest.text()? != "tcpip-forward" || rest.take(1)? != [1] {
                    return None;
                }
                Self::Forward { address: rest.text()?, port: rest.number()? }
            }
            81 if rest.0.is_empty() => Self::RequestSuccess(None),
            81 => Self::RequestSuccess(Some(rest.number()?)),
            82 => Self::RequestFailure,
            90 => {
                let (kind, sender, window) = (rest.text()?, rest.number()?, rest.number()?);
                rest.number()?;
                let (address, port, origin, origin_port) =
                    (rest.text()?, rest.number()?, rest.text()?, rest.number()?);
                Self::Open { kind, sender, window, address, port, origin, origin_port }
            }
            91 => {
                let message = Self::OpenConfirmation {
                    recipient: rest.number()?,
                    sender: rest.number()?,
                    window: rest.number()?,
                };
                rest.number()?;
                message
            }
            92 => {
                let message = Self::OpenFailure { recipient: rest.number()?, reason: rest.number()? };
                rest.take(8)?;
                message
            }
            93 => Self::WindowAdjust { recipient: rest.number()?, bytes: rest.number()? },
            94 => {
                let (recipient, length) = (rest.number()?, rest.number()?);
                Self::Data { recipient, data: rest.take(usize::try_from(length).ok()?)?.to_vec() }
            }
            97 => Self::Close { recipient: rest.number()? },
            1 => {
                let message = Self::Disconnect { reason: rest.number()? };
                rest.take(2)?;
                message
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(message)
    }
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn numbers(&mut self, numbers: &[u32]) -> &mut Self {
        numbers.iter().for_each(|number| self.0.extend_from_slice(&number.to_be_bytes()));
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.numbers(&[u32::try_from(text.len()).unwrap_or(u32::MAX)]);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The lines of `reference/amt.md` 3.1.
    #[test]
    fn the_reference_s_bytes_are_the_messages_they_are_said_to_be() {
        let pfwd = "00000012 706677644061 6d742e696e74656c2e636f6d";
        let table = [
            (format!("c0 00000001 00000000 00000009 {}", "00".repeat(80)), {
                Message::Version { major: 1, minor: 0, trigger: 9 }
            }),
            (format!("05 {pfwd}"), Message::ServiceRequest("pfwd@amt.intel.com".to_owned())),
            (format!("06 {pfwd}"), Message::ServiceAccept("pfwd@amt.intel.com".to_owned())),
            ("51 00004260".to_owned(), Message::RequestSuccess(Some(16992))),
            (
                "5a 0000000f 666f727761726465642d7463706970 00000002 00001000 ffffffff 00000003 3a3a31 00004260 \
                 00000003 3a3a31 0000007b"
                    .to_owned(),
                Message::Open {
                    kind: "forwarded-tcpip".to_owned(),
                    sender: 2,
                    window: 4096,
                    address: "::1".to_owned(),
                    port: 16992,
                    origin: "::1".to_owned(),
                    origin_port: 123,
                },
            ),
            ("5d 00000005 00000200".to_owned(), Message::WindowAdjust { recipient: 5, bytes: 512 }),
            ("61 00000005".to_owned(), Message::Close { recipient: 5 }),
        ];
        for (hex, message) in table {
            assert_eq!(Message::decode(&bytes(&hex)).as_ref(), Some(&message));
            assert_eq!(message.encode(), bytes(&hex));
        }
    }

    #[test]
    fn a_message_is_exactly_one_datagram() {
        let whole = Message::Data { recipient: 3, data: b"abc".to_vec() }.encode();
        assert!(Message::decode(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(Message::decode(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Message::decode(&[whole, vec![0]].concat()), None);
        assert_eq!(Message::decode(&bytes("5e 00000001 ffffffff 00")), None);
    }
}
