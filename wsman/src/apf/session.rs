//! The session over one LME connection: handshake, advertised ports, and up to 8 channels. No I/O.

use std::collections::{BTreeSet, VecDeque};

use zeroize::Zeroizing;

use super::{
    ApfError, CLEARTEXT_PORT, Message, TLS_PORT,
    channel::{Channel, Phase},
    message::DATA_HEADER,
};

/// A channel of this session. Numbers are never used twice in a session, so a stale message cannot hit a new channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u32);

/// What the caller learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A full pair of ports is advertised: 16992 and 623 (`tls: false`), or 16993 and 664. Comes again after a pair was
    /// withdrawn: AMT 16 tears its forwards down when idle and advertises again on the next request.
    Ready {
        /// Which pair.
        tls: bool,
    },
    /// AMT confirmed a channel; what was queued is on its way.
    Opened {
        /// Which.
        channel: ChannelId,
    },
    /// AMT refused a channel; its id is gone.
    OpenFailed {
        /// Which.
        channel: ChannelId,
        /// Why.
        reason: OpenFailure,
    },
    /// Bytes from AMT, in order, already credited.
    Data {
        /// Which.
        channel: ChannelId,
        /// Never empty.
        bytes: Vec<u8>,
    },
    /// The channel is closed on both sides. Under `Connection: close` this ends the HTTP response.
    Closed {
        /// Which.
        channel: ChannelId,
    },
    /// AMT ended the session; every channel is gone.
    Disconnected {
        /// SSH's disconnect reason.
        reason: u32,
    },
}

/// Why AMT did not open a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFailure {
    /// 1: also what AMT 16 answers while it advertises its ports anew. Retry 3 times, 250 ms apart.
    Prohibited,
    /// 2: nothing listens there.
    ConnectFailed,
    /// 3
    UnknownType,
    /// 4: AMT's 8 slots are taken, perhaps leaked; connect the LME client again.
    ResourceShortage,
    /// Any other number.
    Other(u32),
}

impl OpenFailure {
    /// Whether the same open may succeed after 250 ms.
    pub fn is_retryable(self) -> bool {
        self == Self::Prohibited
    }
}

/// The APF state machine. After an error from [`Session::receive`] it has ended; connect anew.
pub struct Session {
    max_message: usize,
    outgoing: VecDeque<Zeroizing<Vec<u8>>>,
    forwarded: BTreeSet<u32>,
    channels: Vec<Channel>,
    next_local: u32,
    ended: bool,
}

impl Session {
    /// `max_message` is the `max_msg_length` that connecting the LME client returned.
    pub fn new(max_message: usize) -> Self {
        Self {
            max_message,
            outgoing: VecDeque::new(),
            forwarded: BTreeSet::new(),
            channels: Vec::new(),
            next_local: 1,
            ended: false,
        }
    }

    /// Queues our PROTOCOL_VERSION 1.0. Call once, before anything else.
    pub fn start(&mut self) {
        self.transmit(&Message::ProtocolVersion { major: 1, minor: 0, trigger: TRIGGER_LME, uuid: [0; 16] });
    }

    /// Takes one MEI message. It may hold several APF messages; trailing zeros are padding.
    /// After an error the session has ended: what it might still say is not sent.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Vec<Event>, ApfError> {
        let mut events = Vec::new();
        let result = self.receive_into(datagram, &mut events);
        if result.is_err() {
            self.end();
        }
        result.map(|()| events)
    }

    /// The next MEI message to write, if any. It may hold part of a request: it is wiped when dropped.
    pub fn poll_transmit(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.outgoing.pop_front()
    }

    /// Whether the pair for cleartext or TLS is advertised now.
    pub fn is_ready(&self, tls: bool) -> bool {
        pair(tls).iter().all(|port| self.forwarded.contains(port))
    }

    /// Asks AMT for a connection to its port. Data may be sent at once: it is queued until AMT confirms.
    pub fn open(&mut self, port: u16) -> Result<ChannelId, ApfError> {
        self.check_alive()?;
        if self.max_message <= DATA_HEADER {
            return Err(ApfError::MessageLimit { max: self.max_message });
        }
        if self.channels.len() >= MOST_CHANNELS {
            return Err(ApfError::NoFreeChannel);
        }
        let local = self.next_local;
        self.next_local = self.next_local.checked_add(1).ok_or(ApfError::NoFreeChannel)?;
        self.channels.push(Channel::new(local, RECEIVE_WINDOW));
        self.transmit(&Message::ChannelOpen {
            kind: b"forwarded-tcpip".to_vec(),
            sender: local,
            window: RECEIVE_WINDOW,
            address: b"::1".to_vec(),
            port: port.into(),
            origin: b"::1".to_vec(),
            origin_port: ORIGIN_PORT,
        });
        Ok(ChannelId(local))
    }

    /// Queues bytes for AMT. They leave as its window and the MEI message limit allow.
    pub fn send(&mut self, channel: ChannelId, bytes: &[u8]) -> Result<(), ApfError> {
        self.check_alive()?;
        let index = self.index(channel.0).ok_or(ApfError::NoSuchChannel { channel: channel.0 })?;
        match self.channels.get_mut(index) {
            Some(open) if matches!(open.phase, Phase::Opening | Phase::Open { .. }) => open.queue(bytes),
            _ => return Err(ApfError::NoSuchChannel { channel: channel.0 }),
        }
        self.flush(index);
        Ok(())
    }

    /// How many bytes given to [`Session::send`] are not in the transmit queue yet.
    pub fn unsent(&self, channel: ChannelId) -> usize {
        self.channels.iter().find(|known| known.local == channel.0).map_or(0, Channel::unsent)
    }

    /// Whether the channel takes one of AMT's slots still, opening and closing included.
    pub fn holds(&self, channel: ChannelId) -> bool {
        self.index(channel.0).is_some()
    }

    /// Closes a channel from our side and drops what is unsent. [`Event::Closed`] comes when AMT has closed too; until
    /// then the slot is taken. A channel closed already is left alone.
    pub fn close(&mut self, channel: ChannelId) {
        let Some(open) = self.channels.iter_mut().find(|known| known.local == channel.0) else { return };
        open.drop_unsent();
        match open.phase {
            Phase::Opening => open.phase = Phase::Abandoned,
            Phase::Open { remote } => {
                open.phase = Phase::Closing;
                self.transmit(&Message::ChannelClose { recipient: remote });
            }
            Phase::Abandoned | Phase::Closing => {}
        }
    }

    fn receive_into(&mut self, datagram: &[u8], events: &mut Vec<Event>) -> Result<(), ApfError> {
        self.check_alive()?;
        let mut rest = datagram;
        while !self.ended && rest.iter().any(|byte| *byte != 0) {
            let (message, taken) = Message::decode(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.handle(message, events)?;
        }
        Ok(())
    }

    fn handle(&mut self, message: Message, events: &mut Vec<Event>) -> Result<(), ApfError> {
        match message {
            Message::ProtocolVersion { major: 1, .. } => {}
            Message::ProtocolVersion { major, minor, .. } => return Err(ApfError::Version { major, minor }),
            Message::ServiceRequest { service } => {
                if !SERVICES.contains(&service.as_slice()) {
                    return Err(ApfError::UnknownService);
                }
                self.transmit(&Message::ServiceAccept { service });
            }
            Message::TcpipForward { want_reply, port, .. } => self.forward(want_reply, port, events),
            Message::CancelTcpipForward { want_reply, port, .. } => {
                self.forwarded.remove(&port);
                if want_reply {
                    self.transmit(&Message::RequestSuccess { port: None });
                }
            }
            Message::GlobalRequest { want_reply, .. } => {
                if want_reply {
                    self.transmit(&Message::RequestFailure);
                }
            }
            // AMT may connect to the host (events, user notifications): refused, never left waiting.
            Message::ChannelOpen { sender, .. } => {
                self.transmit(&Message::OpenFailure { recipient: sender, reason: PROHIBITED });
            }
            Message::OpenConfirmation { recipient, sender, window } => {
                self.confirm(recipient, sender, window, events)?;
            }
            Message::OpenFailure { recipient, reason } => self.refuse(recipient, reason, events),
            Message::WindowAdjust { recipient, bytes } => {
                if let Some(index) = self.index(recipient) {
                    self.channels.get_mut(index).map_or(Ok(()), |channel| channel.grant(bytes))?;
                    self.flush(index);
                }
            }
            Message::ChannelData { recipient, data } => self.data(recipient, data, events)?,
            Message::ChannelClose { recipient } => self.closed(recipient, events),
            Message::Disconnect { reason } => {
                self.end();
                events.push(Event::Disconnected { reason });
            }
            Message::KeepaliveRequest { cookie } => self.transmit(&Message::KeepaliveReply { cookie }),
            Message::KeepaliveOptionsRequest { interval, timeout } => {
                self.transmit(&Message::KeepaliveOptionsReply { interval, timeout });
            }
            // Answers to what we never ask.
            Message::ServiceAccept { .. }
            | Message::RequestSuccess { .. }
            | Message::RequestFailure
            | Message::KeepaliveReply { .. }
            | Message::KeepaliveOptionsReply { .. } => {}
        }
        Ok(())
    }

    fn forward(&mut self, want_reply: bool, port: u32, events: &mut Vec<Event>) {
        let before = [false, true].map(|tls| self.is_ready(tls));
        // A hostile AMT could advertise without end; ports beyond 16 bits are answered and forgotten.
        if port <= u32::from(u16::MAX) {
            self.forwarded.insert(port);
        }
        if want_reply {
            self.transmit(&Message::RequestSuccess { port: Some(port) });
        }
        for (tls, was) in [false, true].into_iter().zip(before) {
            if !was && self.is_ready(tls) {
                events.push(Event::Ready { tls });
            }
        }
    }

    fn confirm(
        &mut self,
        local: u32,
        remote: u32,
        window: u32,
        events: &mut Vec<Event>,
    ) -> Result<(), ApfError> {
        let Some(index) = self.index(local) else { return Ok(()) };
        let Some(channel) = self.channels.get_mut(index) else { return Ok(()) };
        match channel.phase {
            Phase::Opening => {
                channel.phase = Phase::Open { remote };
                channel.grant(window)?;
                events.push(Event::Opened { channel: ChannelId(local) });
                self.flush(index);
            }
            Phase::Abandoned => {
                channel.phase = Phase::Closing;
                self.transmit(&Message::ChannelClose { recipient: remote });
            }
            Phase::Open { .. } | Phase::Closing => {} // a second confirmation changes nothing
        }
        Ok(())
    }

    fn refuse(&mut self, local: u32, reason: u32, events: &mut Vec<Event>) {
        let opening = |channel: &Channel| matches!(channel.phase, Phase::Opening | Phase::Abandoned);
        if self.channels.iter().any(|channel| channel.local == local && opening(channel)) {
            self.channels.retain(|channel| channel.local != local);
            let reason = match reason {
                PROHIBITED => OpenFailure::Prohibited,
                2 => OpenFailure::ConnectFailed,
                3 => OpenFailure::UnknownType,
                4 => OpenFailure::ResourceShortage,
                other => OpenFailure::Other(other),
            };
            events.push(Event::OpenFailed { channel: ChannelId(local), reason });
        }
    }

    fn data(&mut self, local: u32, bytes: Vec<u8>, events: &mut Vec<Event>) -> Result<(), ApfError> {
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.local == local) else {
            return Ok(());
        };
        match channel.phase {
            Phase::Open { remote } if !bytes.is_empty() => {
                let length = channel.consume(bytes.len())?;
                channel.credit(length);
                self.transmit(&Message::WindowAdjust { recipient: remote, bytes: length });
                events.push(Event::Data { channel: ChannelId(local), bytes });
            }
            // What crossed our CLOSE on its way is dropped; data before the confirmation has no channel to be on.
            _ => {}
        }
        Ok(())
    }

    /// Stale closes are replayed after a reset of the ME: one that names no confirmed channel is ignored.
    fn closed(&mut self, local: u32, events: &mut Vec<Event>) {
        let Some(phase) =
            self.channels.iter().find(|channel| channel.local == local).map(|known| known.phase)
        else {
            return;
        };
        match phase {
            Phase::Opening | Phase::Abandoned => return,
            Phase::Open { remote } => self.transmit(&Message::ChannelClose { recipient: remote }),
            Phase::Closing => {}
        }
        self.channels.retain(|channel| channel.local != local);
        events.push(Event::Closed { channel: ChannelId(local) });
    }

    fn flush(&mut self, index: usize) {
        let Some(channel) = self.channels.get_mut(index) else { return };
        let Phase::Open { remote } = channel.phase else { return };
        while let Some(data) = channel.next_piece(self.max_message) {
            let mut message = Message::ChannelData { recipient: remote, data };
            self.outgoing.push_back(Zeroizing::new(message.encode()));
            if let Message::ChannelData { data, .. } = &mut message {
                zeroize::Zeroize::zeroize(data);
            }
        }
    }

    fn index(&self, local: u32) -> Option<usize> {
        self.channels.iter().position(|channel| channel.local == local)
    }

    fn transmit(&mut self, message: &Message) {
        self.outgoing.push_back(Zeroizing::new(message.encode()));
    }

    fn check_alive(&self) -> Result<(), ApfError> {
        if self.ended { Err(ApfError::Ended) } else { Ok(()) }
    }

    fn end(&mut self) {
        self.ended = true;
        self.outgoing.clear();
        self.channels.clear();
        self.forwarded.clear();
    }
}

fn pair(tls: bool) -> [u32; 2] {
    if tls { [TLS_PORT.into(), 664] } else { [CLEARTEXT_PORT.into(), 623] }
}

const SERVICES: [&[u8]; 2] = [b"pfwd@amt.intel.com", b"auth@amt.intel.com"];
const TRIGGER_LME: u32 = 9;
const RECEIVE_WINDOW: u32 = 4096;
const MOST_CHANNELS: usize = 8;
const ORIGIN_PORT: u32 = 123;
const PROHIBITED: u32 = 1;
