//! One LME session: AMT's end of APF over MEI (`reference/amt.md` 3.2, 3.3). AMT offers its ports, the host opens
//! channels to them, and what flows in a channel is HTTP. Both windows are honoured: AMT refuses more than it
//! granted, and sends no more than the host granted.

use crate::apf::{DATA_OVERHEAD, Message, PROTOCOL_ERROR, refusal};
use crate::device::Device;
use crate::digest::Origin;
use crate::mei::Peer;
use crate::store::LOCAL;
use crate::tls::Door;
use crate::www::Act;

/// The client's `max_msg_length`. Smaller than a usual window, so that a window is not filled by one message.
pub const MAX_MESSAGE: u32 = 2048;

/// The web ports and their RMCP companions, in the order they are offered. Those of TLS come last, when TLS comes.
const PORTS: [u32; 4] = [16992, 623, 16993, 664];
/// How many of them there are without TLS.
const CLEAR_PORTS: usize = 2;
const SERVICE: &str = "pfwd@amt.intel.com";
const SLOTS: usize = 8;

/// Serves the session until the peer goes or breaks the protocol.
pub fn serve(device: &Device, peer: &Peer) {
    let life = device.me_restarts();
    let (slots, stage) = (Default::default(), Stage::Greeting);
    let mut session = Session { device, peer, life, stage, slots, next: 5, offered: 0 };
    // AMT greets at once; a host may as well speak first.
    session.send(&Message::Version { major: 1, minor: 0, trigger: 0 });
    while let Some(datagram) = peer.receive().filter(|_| !session.is_dead()) {
        let step = Message::decode(&datagram).ok_or(End::Broken).and_then(|message| session.take(message));
        match step {
            Ok(()) => {}
            Err(End::Broken) => {
                device.trace(|| "lme: the host broke the protocol".to_owned());
                session.send(&Message::Disconnect { reason: PROTOCOL_ERROR });
                return;
            }
            Err(End::Over) => return,
            Err(End::Kill) => return peer.kill(),
        }
    }
}

/// Why a session ends.
enum End {
    /// The host broke the protocol: a disconnect says so.
    Broken,
    /// Without a word.
    Over,
    /// The host is killed.
    Kill,
}

/// How far the handshake is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    ServiceOffered,
    /// This many ports are forwarded; the next one is offered, if there is one.
    Forwarded(usize),
}

struct Session<'a> {
    device: &'a Device,
    peer: &'a Peer,
    /// How often the ME had restarted when it began.
    life: u64,
    stage: Stage,
    slots: [Option<Channel<'a>>; SLOTS],
    next: usize,
    offered: usize,
}

struct Channel<'a> {
    /// The host's number for it.
    host: u32,
    /// Bytes that the host may still send.
    granted: u32,
    /// Bytes that the host takes.
    window: u32,
    server: Option<Door<'a>>,
    waiting: Vec<u8>,
    /// AMT has sent its close, or will when nothing waits.
    closing: Closing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    WhenSent,
    Sent,
}

impl<'a> Session<'a> {
    /// Whether the firmware that began it is gone: it ends without a word.
    fn is_dead(&self) -> bool {
        self.device.me_restarts() != self.life
    }

    fn send(&self, message: &Message) {
        // A peer that is gone is noticed at the next receive.
        let _ = self.peer.send(&message.encode());
    }

    fn take(&mut self, message: Message) -> Result<(), End> {
        match (self.stage, message) {
            (Stage::Greeting, Message::Version { major: 1, .. }) => {
                self.stage = Stage::ServiceOffered;
                self.send(&Message::ServiceRequest(SERVICE.to_owned()));
            }
            (Stage::ServiceOffered, Message::ServiceAccept(name)) if name == SERVICE => self.offer(0),
            (Stage::Forwarded(count), Message::RequestSuccess(port)) => {
                // The success of a forward names its port.
                if self.ports().get(count).copied() != port {
                    return Err(End::Broken);
                }
                self.offer(count + 1);
            }
            (Stage::Forwarded(_), Message::Open { kind, sender, window, port, .. }) => {
                self.open(&kind, sender, window, port);
            }
            (_, Message::WindowAdjust { recipient, bytes }) => {
                if let Some(channel) = self.channel(recipient) {
                    channel.window = channel.window.saturating_add(bytes);
                }
                self.flush(recipient)?;
            }
            (_, Message::Data { recipient, data }) => {
                self.receive(recipient, &data)?;
                self.offer_new();
            }
            (_, Message::Close { recipient }) => self.closed(recipient)?,
            // A host that refuses a port goes without it; the rest is not a host's to send now.
            (Stage::Forwarded(count), Message::RequestFailure) if count < self.ports().len() => {
                self.stage = Stage::Forwarded(PORTS.len());
            }
            (_, Message::Disconnect { .. }) => return Err(End::Over),
            _ => return Err(End::Broken),
        }
        Ok(())
    }

    fn offer(&mut self, count: usize) {
        self.stage = Stage::Forwarded(count);
        if let Some(port) = self.ports().get(count) {
            self.offered = count + 1;
            self.send(&Message::Forward { address: "0.0.0.0".to_owned(), port: *port });
        }
    }

    /// Offers a port that has come up meanwhile, if none is being offered.
    fn offer_new(&mut self) {
        if let Stage::Forwarded(count) = self.stage
            && count == self.offered
        {
            self.offer(count);
        }
    }

    fn ports(&self) -> &'static [u32] {
        if self.device.facts.is_host_tls_only() {
            return PORTS.get(CLEAR_PORTS..).unwrap_or_default();
        }
        let speaks_tls = self.device.look(|inner| inner.amt.speaks_tls(LOCAL));
        // A port once offered stays: its binding ends with the session.
        let count = if speaks_tls { PORTS.len() } else { CLEAR_PORTS };
        PORTS.get(..count.max(self.offered)).unwrap_or(&PORTS)
    }

    fn open(&mut self, kind: &str, host: u32, window: u32, port: u32) {
        let Stage::Forwarded(forwarded) = self.stage else { return };
        let reason = if kind != "forwarded-tcpip" {
            refusal::UNKNOWN_TYPE
        } else if !self.ports().contains(&port) {
            refusal::CONNECT_FAILED
        } else if !self.ports().iter().take(forwarded).any(|known| *known == port) {
            refusal::PROHIBITED // offered, and not yet accepted by the host
        } else {
            let door = match port {
                16992 => Some(Door::clear(self.device, Origin::Local)),
                16993 => Door::tls(self.device, Origin::Local),
                _ => None, // 623 and 664 are forwarded; RMCP is not simulated
            };
            match door.map(|door| (door, self.free_slot())) {
                Some((door, Some(slot))) => return self.confirm(slot, host, window, door),
                Some((_, None)) => refusal::SHORTAGE,
                None => refusal::CONNECT_FAILED,
            }
        };
        self.send(&Message::OpenFailure { recipient: host, reason });
    }

    /// Numbers go round, so that AMT's are not the host's by chance and a stale number is not reused at once.
    fn free_slot(&mut self) -> Option<usize> {
        let slot = (0..SLOTS).map(|n| (self.next + n) % SLOTS).find(|slot| self.slots[*slot].is_none())?;
        self.next = (slot + 1) % SLOTS;
        Some(slot)
    }

    fn confirm(&mut self, slot: usize, host: u32, window: u32, door: Door<'a>) {
        let granted = self.device.settings.apf_window;
        self.device.act(|inner| inner.ledger.apf_channels += 1);
        let server = Some(door);
        self.slots[slot] =
            Some(Channel { host, granted, window, server, waiting: Vec::new(), closing: Closing::No });
        let sender = u32::try_from(slot).unwrap_or(u32::MAX);
        self.send(&Message::OpenConfirmation { recipient: host, sender, window: granted });
    }

    fn channel(&mut self, number: u32) -> Option<&mut Channel<'a>> {
        self.slots.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    fn receive(&mut self, number: u32, data: &[u8]) -> Result<(), End> {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // Data for a channel that was closed meanwhile is late, not wrong.
        let Some(channel) = self.channel(number) else { return Ok(()) };
        channel.granted = channel.granted.checked_sub(length).ok_or(End::Broken)?;
        let Some(server) = channel.server.as_mut().filter(|_| channel.closing == Closing::No) else {
            return Ok(());
        };
        let mut hushed = false;
        for act in server.feed(data) {
            match act {
                Act::Send(bytes) => channel.waiting.extend(bytes),
                Act::Close => channel.closing = Closing::WhenSent,
                Act::Kill => return Err(End::Kill),
                Act::Hush => hushed = true,
            }
        }
        channel.granted = channel.granted.saturating_add(length);
        let host = channel.host;
        if hushed {
            channel.server = None;
        }
        if self.is_dead() {
            return Err(End::Over);
        }
        self.send(&Message::WindowAdjust { recipient: host, bytes: length });
        self.flush(number)
    }

    /// Sends what waits, as far as the host's window and the message length allow.
    fn flush(&mut self, number: u32) -> Result<(), End> {
        let most = usize::try_from(MAX_MESSAGE).unwrap_or(0) - DATA_OVERHEAD;
        let peer = self.peer;
        let Some(channel) = self.channel(number) else { return Ok(()) };
        while channel.window > 0 && !channel.waiting.is_empty() {
            let count =
                channel.waiting.len().min(most).min(usize::try_from(channel.window).unwrap_or(usize::MAX));
            let data: Vec<u8> = channel.waiting.drain(..count).collect();
            channel.window -= u32::try_from(count).unwrap_or(channel.window);
            if !peer.send(&Message::Data { recipient: channel.host, data }.encode()) {
                return Err(End::Over);
            }
        }
        if channel.closing == Closing::WhenSent && channel.waiting.is_empty() {
            channel.closing = Closing::Sent;
            let close = Message::Close { recipient: channel.host };
            self.send(&close);
        }
        Ok(())
    }

    /// The host's close: an answer to AMT's, or to be answered. The slot is free after both.
    fn closed(&mut self, number: u32) -> Result<(), End> {
        let Some(channel) = self.channel(number) else { return Ok(()) };
        let (host, closing) = (channel.host, channel.closing);
        if let Some(slot) = usize::try_from(number).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *slot = None;
        }
        if closing != Closing::Sent {
            self.send(&Message::Close { recipient: host });
        }
        if self.device.settings.lme_drops_on_close { Err(End::Over) } else { Ok(()) }
    }
}
