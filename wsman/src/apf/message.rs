//! The messages of APF: big-endian, the first byte is the type. Layouts: `reference/amt.md` 3.1.

use crate::bytes::{Cursor, Truncated};

/// One APF message. Texts are kept as bytes: they are compared, never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the wire's own
pub enum Message {
    /// 1
    Disconnect { reason: u32 },
    /// 5
    ServiceRequest { service: Vec<u8> },
    /// 6
    ServiceAccept { service: Vec<u8> },
    /// 80, `tcpip-forward`
    TcpipForward { want_reply: bool, address: Vec<u8>, port: u32 },
    /// 80, `cancel-tcpip-forward`
    CancelTcpipForward { want_reply: bool, address: Vec<u8>, port: u32 },
    /// 80, anything else; `rest` follows `want_reply`
    GlobalRequest { name: Vec<u8>, want_reply: bool, rest: Vec<u8> },
    /// 81; the port is there when it answers a `tcpip-forward`
    RequestSuccess { port: Option<u32> },
    /// 82
    RequestFailure,
    /// 90, `forwarded-tcpip` or what AMT wants to open
    ChannelOpen {
        kind: Vec<u8>,
        sender: u32,
        window: u32,
        address: Vec<u8>,
        port: u32,
        origin: Vec<u8>,
        origin_port: u32,
    },
    /// 91
    OpenConfirmation { recipient: u32, sender: u32, window: u32 },
    /// 92
    OpenFailure { recipient: u32, reason: u32 },
    /// 93
    WindowAdjust { recipient: u32, bytes: u32 },
    /// 94
    ChannelData { recipient: u32, data: Vec<u8> },
    /// 97
    ChannelClose { recipient: u32 },
    /// 192
    ProtocolVersion { major: u32, minor: u32, trigger: u32, uuid: [u8; 16] },
    /// 208
    KeepaliveRequest { cookie: u32 },
    /// 209
    KeepaliveReply { cookie: u32 },
    /// 210
    KeepaliveOptionsRequest { interval: u32, timeout: u32 },
    /// 211
    KeepaliveOptionsReply { interval: u32, timeout: u32 },
}

/// Why an APF session cannot go on, or a call on it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApfError {
    /// A message ends early, or a length in it points beyond its end.
    #[error("APF message: {0}")]
    Truncated(#[from] Truncated),
    /// A message type that has no place on the LME client (user authentication is for CIRA only).
    #[error("reading APF message: unexpected type {kind}")]
    Unexpected {
        /// The first byte.
        kind: u8,
    },
    /// Not protocol version 1.
    #[error("reading APF message: protocol version {major}.{minor}, expected 1.0")]
    Version {
        /// Found.
        major: u32,
        /// Found.
        minor: u32,
    },
    /// AMT asked for a service that port forwarding does not have.
    #[error("reading APF message: unknown service requested")]
    UnknownService,
    /// AMT sent more than the window it was given, or overflowed ours.
    #[error("reading APF message: window violated on channel {channel}")]
    WindowViolated {
        /// Our channel number.
        channel: u32,
    },
    /// AMT disconnected, or an earlier error ended the session: connect the LME client again.
    #[error("using APF session: it has ended; connect the LME client again")]
    Ended,
    /// All 8 channels are taken. Close one: a leaked one stays taken for the session.
    #[error("opening APF channel: all 8 are taken; close one first")]
    NoFreeChannel,
    /// The channel is closed or never was.
    #[error("using APF channel {channel}: it is not open")]
    NoSuchChannel {
        /// Our channel number.
        channel: u32,
    },
    /// The MEI client's messages are too short for any data.
    #[error("using APF session: {max} bytes a message leave no room for data")]
    MessageLimit {
        /// What the connect call returned.
        max: usize,
    },
}

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.capacity());
        out.push(self.kind());
        match self {
            Self::Disconnect { reason } => {
                put(&mut out, *reason);
                out.extend([0; 2]);
            }
            Self::ServiceRequest { service } | Self::ServiceAccept { service } => put_text(&mut out, service),
            Self::TcpipForward { want_reply, address, port } => {
                put_forward(&mut out, FORWARD, *want_reply, address, *port);
            }
            Self::CancelTcpipForward { want_reply, address, port } => {
                put_forward(&mut out, CANCEL_FORWARD, *want_reply, address, *port);
            }
            Self::GlobalRequest { name, want_reply, rest } => {
                put_text(&mut out, name);
                out.push((*want_reply).into());
                out.extend(rest);
            }
            Self::RequestSuccess { port } => {
                if let Some(port) = port {
                    put(&mut out, *port);
                }
            }
            Self::RequestFailure => {}
            Self::ChannelOpen { kind, sender, window, address, port, origin, origin_port } => {
                put_text(&mut out, kind);
                put(&mut out, *sender);
                put(&mut out, *window);
                put(&mut out, u32::MAX);
                put_text(&mut out, address);
                put(&mut out, *port);
                put_text(&mut out, origin);
                put(&mut out, *origin_port);
            }
            Self::OpenConfirmation { recipient, sender, window } => {
                put_all(&mut out, &[*recipient, *sender, *window, u32::MAX]);
            }
            Self::OpenFailure { recipient, reason } => {
                put_all(&mut out, &[*recipient, *reason, 0, 0]);
            }
            Self::WindowAdjust { recipient, bytes } => {
                put(&mut out, *recipient);
                put(&mut out, *bytes);
            }
            Self::ChannelData { recipient, data } => {
                put(&mut out, *recipient);
                put_text(&mut out, data);
            }
            Self::ChannelClose { recipient } => put(&mut out, *recipient),
            Self::ProtocolVersion { major, minor, trigger, uuid } => {
                put_all(&mut out, &[*major, *minor, *trigger]);
                out.extend(uuid);
                out.extend([0; 64]);
            }
            Self::KeepaliveRequest { cookie } | Self::KeepaliveReply { cookie } => put(&mut out, *cookie),
            Self::KeepaliveOptionsRequest { interval, timeout }
            | Self::KeepaliveOptionsReply { interval, timeout } => {
                put(&mut out, *interval);
                put(&mut out, *timeout);
            }
        }
        out
    }

    /// Reads one message from the front of `bytes`; returns it and how many bytes it took. Every length is checked
    /// against what is there, so a hostile one cannot make this allocate more than it was given.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), ApfError> {
        let mut at = Cursor::new(bytes);
        let message = match at.u8()? {
            1 => {
                let reason = at.u32_be()?;
                at.u16_be()?;
                Self::Disconnect { reason }
            }
            5 => Self::ServiceRequest { service: text(&mut at)? },
            6 => Self::ServiceAccept { service: text(&mut at)? },
            80 => global_request(&mut at)?,
            // 5 bytes when it answers a forward; otherwise it ends here.
            81 => Self::RequestSuccess { port: if at.left() >= 4 { Some(at.u32_be()?) } else { None } },
            82 => Self::RequestFailure,
            90 => {
                let (kind, sender, window) = (text(&mut at)?, at.u32_be()?, at.u32_be()?);
                at.u32_be()?;
                let (address, port) = (text(&mut at)?, at.u32_be()?);
                let (origin, origin_port) = (text(&mut at)?, at.u32_be()?);
                Self::ChannelOpen { kind, sender, window, address, port, origin, origin_port }
            }
            91 => {
                let message = Self::OpenConfirmation {
                    recipient: at.u32_be()?,
                    sender: at.u32_be()?,
                    window: at.u32_be()?,
                };
                at.u32_be()?;
                message
            }
            92 => {
                let message = Self::OpenFailure { recipient: at.u32_be()?, reason: at.u32_be()? };
                at.take(8)?;
                message
            }
            93 => Self::WindowAdjust { recipient: at.u32_be()?, bytes: at.u32_be()? },
            94 => Self::ChannelData { recipient: at.u32_be()?, data: text(&mut at)? },
            97 => Self::ChannelClose { recipient: at.u32_be()? },
            192 => {
                let (major, minor, trigger) = (at.u32_be()?, at.u32_be()?, at.u32_be()?);
                let uuid = at.array()?;
                at.take(64)?;
                Self::ProtocolVersion { major, minor, trigger, uuid }
            }
            208 => Self::KeepaliveRequest { cookie: at.u32_be()? },
            209 => Self::KeepaliveReply { cookie: at.u32_be()? },
            210 => Self::KeepaliveOptionsRequest { interval: at.u32_be()?, timeout: at.u32_be()? },
            211 => Self::KeepaliveOptionsReply { interval: at.u32_be()?, timeout: at.u32_be()? },
            kind => return Err(ApfError::Unexpected { kind }),
        };
        Ok((message, at.offset()))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Disconnect { .. } => 1,
            Self::ServiceRequest { .. } => 5,
            Self::ServiceAccept { .. } => 6,
            Self::TcpipForward { .. } | Self::CancelTcpipForward { .. } | Self::GlobalRequest { .. } => 80,
            Self::RequestSuccess { .. } => 81,
            Self::RequestFailure => 82,
            Self::ChannelOpen { .. } => 90,
            Self::OpenConfirmation { .. } => 91,
            Self::OpenFailure { .. } => 92,
            Self::WindowAdjust { .. } => 93,
            Self::ChannelData { .. } => 94,
            Self::ChannelClose { .. } => 97,
            Self::ProtocolVersion { .. } => 192,
            Self::KeepaliveRequest { .. } => 208,
            Self::KeepaliveReply { .. } => 209,
            Self::KeepaliveOptionsRequest { .. } => 210,
            Self::KeepaliveOptionsReply { .. } => 211,
        }
    }

    /// Enough for any message in one allocation: data may be secret, and a growing vector leaves copies behind.
    fn capacity(&self) -> usize {
        match self {
            Self::ChannelData { data, .. } => DATA_HEADER + data.len(),
            _ => 96,
        }
    }
}

/// Bytes of a CHANNEL_DATA before its data.
pub(super) const DATA_HEADER: usize = 9;

fn global_request(at: &mut Cursor<'_>) -> Result<Message, ApfError> {
    let name = text(at)?;
    let want_reply = at.u8()? != 0;
    Ok(match name.as_slice() {
        FORWARD => Message::TcpipForward { want_reply, address: text(at)?, port: at.u32_be()? },
        CANCEL_FORWARD => Message::CancelTcpipForward { want_reply, address: text(at)?, port: at.u32_be()? },
        _ => Message::GlobalRequest { name, want_reply, rest: at.take(at.left())?.to_vec() },
    })
}

fn text(at: &mut Cursor<'_>) -> Result<Vec<u8>, Truncated> {
    let length = at.u32_be()?;
    Ok(at.take(usize::try_from(length).unwrap_or(usize::MAX))?.to_vec())
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend(word.to_be_bytes());
}

fn put_all(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| put(out, *word));
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put(out, u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.extend(text);
}

fn put_forward(out: &mut Vec<u8>, name: &[u8], want_reply: bool, address: &[u8], port: u32) {
    put_text(out, name);
    out.push(want_reply.into());
    put_text(out, address);
    put(out, port);
}

const FORWARD: &[u8] = b"tcpip-forward";
const CANCEL_FORWARD: &[u8] = b"cancel-tcpip-forward";
