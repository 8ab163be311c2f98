//! WS-Man's way to this machine's own AMT without a network: HTTP over an APF channel over the LME client.
//!
//! One [`Lme`] is one MEI connection. It keeps a channel open between requests, as the nonce does; AMT closes it after
//! a 401, and then the next request opens another (reference/amt.md 3.2, 4.1).
//!
//! Where LMS runs on the host, it has the LME client, and AMT is reached through it instead (`lms.rs`).

mod error;

pub(super) use error::{LmeError, refusal};

use std::future::Future;
use std::pin::Pin as Pinning;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use oob_wsman::apf::{CLEARTEXT_PORT, ChannelId, Event, OpenFailure, Session, TLS_PORT};
use oob_wsman::client::Transport;
use oob_wsman::http::{HttpRequest, HttpResponse};
use oob_wsman::mei_clients;
use oob_wsman::verifier::Versions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use zeroize::Zeroizing;

use super::amt::{Point, connect};
use super::http::ask;
use super::lms::Lms;
use super::peer::{Peer, Pin};
use crate::machine::{Machine, Mei, MeiError};
use crate::probe;

/// Room for a whole answer with its headers, so that the pump never waits for the parser.
const PIPE: usize = 2 << 20;
/// AMT 16 withdraws and renews its ports when idle; an open that races that is refused and may be repeated.
const OPEN_TRIES: u32 = 4;
const OPEN_PAUSE: Duration = Duration::from_millis(250);
/// How long the TLS ports may be away while a commit restarts them (reference/amt.md 5.9 item 8).
const AWAY: Duration = Duration::from_secs(90);
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// Between the first pair of ports and the second, where AMT offers both.
const MORE_PORTS: Duration = Duration::from_secs(2);
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// `Setup` computes for a while; the field waits 30 s and more.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
const CLOSING: Duration = Duration::from_secs(2);

/// A connection to the LME client with at most one HTTP connection over it.
///
/// Firmware may drop the whole session with a closed channel (reference/amt.md 3.3), so a lost one is replaced before a
/// request is sent. A request that was sent is never sent again here.
pub(super) struct Lme<'m> {
    machine: &'m Machine,
    /// Whom to expect where AMT offers TLS only.
    peer: Option<Peer>,
    /// An activation began here, so TLS is what its quirks leave of it.
    of_activation: bool,
    /// Whether AMT closes a channel after its answer without saying so in it, once that was looked at.
    closes: Option<bool>,
    /// The service that has the LME client, where one has.
    lms: Option<Lms<'m>>,
    pump: Option<Pump>,
    http: Option<Http>,
}

struct Pump {
    mei: Mei,
    session: Session,
    /// What AMT offers on this session.
    tls: bool,
}

/// How long AMT is given to close a channel behind its first answer, and behind later ones.
pub(super) const LINGER: Duration = Duration::from_millis(250);
pub(super) const GLANCE: Duration = Duration::from_millis(1);

/// What HTTP goes over: the channel itself, or TLS in it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

struct Http {
    channel: ChannelId,
    /// The device's end of the byte stream that hyper reads and writes.
    wire: DuplexStream,
    sender: SendRequest<Full<Bytes>>,
    connection: Pinning<Box<dyn Future<Output = ()>>>,
    /// AMT answered on it, and not that it wants a login.
    answered: bool,
}

impl<'m> Lme<'m> {
    /// As [`Lme::with`], for the certificate with that pin.
    pub(super) async fn expecting(machine: &'m Machine, pin: Option<Pin>) -> Result<Self, LmeError> {
        Self::with(machine, pin.map(Peer::Pinned)).await
    }

    /// Connects and waits until AMT has said which ports it forwards. `peer`: whoever AMT must be where these are of TLS.
    ///
    /// # Errors
    /// [`LmeError`]; `Mei(Busy)` usually means that an LMS daemon owns the client.
    pub(super) async fn with(machine: &'m Machine, peer: Option<Peer>) -> Result<Self, LmeError> {
        let lms = Lms::find(machine, peer.as_ref()).await?;
        let (lms, pump) = match lms {
            Some(lms) => (Some(lms), None),
            None => match Pump::connect(machine, peer.is_some()).await {
                Ok(pump) => (None, Some(pump)),
                // Whoever holds the client is about to listen.
                Err(busy @ LmeError::Mei(MeiError::Busy { .. })) => {
                    (Some(Lms::find_late(machine, peer.as_ref()).await?.ok_or(busy)?), None)
                }
                Err(error) => return Err(error),
            },
        };
        let tls = pump.as_ref().is_some_and(|pump| pump.tls) || lms.as_ref().is_some_and(Lms::is_tls);
        if tls && peer.is_none() {
            return Err(LmeError::TlsOnly);
        }
        let of_activation = peer.as_ref().is_some_and(Peer::is_of_activation);
        Ok(Self { machine, peer, of_activation, closes: None, lms, pump, http: None })
    }

    /// By which way AMT is reached, as an outcome tells it.
    pub(super) fn way(&self) -> &'static str {
        if self.lms.is_some() { "lms" } else { "mei" }
    }

    /// From now on AMT must show this certificate; the session before it is given up where its ports change.
    pub(super) fn pin_to(&mut self, pin: Pin) {
        self.peer = Some(Peer::Pinned(pin));
        if let Some(lms) = &mut self.lms {
            lms.expect_tls_alone();
        }
        let http = self.http.take();
        match (&mut self.pump, http) {
            (Some(pump), Some(http)) if pump.tls => pump.session.close(http.channel),
            (Some(pump), None) if pump.tls => {}
            _ => self.pump = None,
        }
    }

    /// From now on AMT is held to the certificate that it was seen with, over the channel that there is too.
    pub(super) fn hold(&mut self, pin: Pin) {
        self.peer = Some(Peer::Pinned(pin));
    }

    /// From now on AMT must be that, over a channel of its own.
    pub(super) async fn trust(&mut self, peer: Peer) {
        self.start_over().await;
        self.of_activation |= peer.is_of_activation();
        self.peer = Some(peer);
    }

    /// The one certificate that AMT is held to, once it is known.
    pub(super) fn pin(&self) -> Option<Pin> {
        self.peer.as_ref().and_then(Peer::pin)
    }

    /// Sees that AMT's port can be reached, TLS included, without a word of HTTP.
    pub(super) async fn reach(&mut self) -> Result<(), LmeError> {
        self.start_over().await;
        if let Some(lms) = &mut self.lms {
            let config = tls_config(self.peer.as_ref(), self.of_activation)?;
            return lms.reach(config.as_ref()).await;
        }
        self.open().await
    }

    /// Whether AMT's local ports speak TLS, as it announced them for this session.
    pub(super) fn is_tls(&self) -> bool {
        self.pump.as_ref().is_some_and(|pump| pump.tls) || self.lms.as_ref().is_some_and(Lms::is_tls)
    }

    /// Gives up the channel, so that the next request goes over a new one with a new login.
    pub(super) async fn start_over(&mut self) {
        if let Some(lms) = &mut self.lms {
            lms.start_over();
        }
        let (Some(http), Some(pump)) = (self.http.take(), &mut self.pump) else { return };
        if !pump.session.holds(http.channel) {
            return;
        }
        pump.session.close(http.channel);
        // AMT has 8 slots; a peer that never answers the close costs one of them, not the run.
        let closing = timeout(self.machine.deadline(CLOSING), pump.until_closed(http.channel)).await;
        if closing.is_ok_and(|closed| closed.is_err()) {
            self.pump = None;
        }
    }

    async fn open(&mut self) -> Result<(), LmeError> {
        if self.is_gone().await {
            self.start_over().await;
        }
        if self.http.is_some() {
            return Ok(());
        }
        let channel = match self.open_channel().await {
            Err(error) if error.ends_session() => {
                // Closed before another one is opened: the client takes one connection only.
                self.pump = None;
                self.open_channel().await?
            }
            opened => opened?,
        };
        let (ours, mut wire) = duplex(PIPE);
        let waited = self.machine.deadline(HANDSHAKE);
        let Some(pump) = &mut self.pump else { return Err(LmeError::Http("no connection".into())) };
        let tls_alone = self.peer.as_ref().is_some_and(Peer::is_of_activation);
        let stream: Box<dyn Stream> = match (pump.tls, tls_config(self.peer.as_ref(), self.of_activation)?) {
            (false, _) if tls_alone => return Err(LmeError::Cleartext),
            (false, _) => Box::new(ours),
            (true, None) => return Err(LmeError::TlsOnly),
            (true, Some(config)) => {
                let shaking = pump.carry(channel, &mut wire, handshake_tls(config, ours));
                let shaken = timeout(waited, shaking).await;
                Box::new(shaken.map_err(|_| LmeError::Silent { what: "TLS handshake", waited })??)
            }
        };
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| LmeError::Http(error.to_string()))?;
        let connection = Box::pin(async {
            let _ = connection.await;
        });
        self.http = Some(Http { channel, wire, sender, connection, answered: false });
        Ok(())
    }

    /// Whether the HTTP connection has ended. AMT may close the channel behind its answer without a word in it
    /// (reference/amt.md 3.2), which is waited for once; what it does then it is taken to do always.
    async fn is_gone(&mut self) -> bool {
        let (Some(http), Some(pump)) = (&mut self.http, &mut self.pump) else { return self.http.is_some() };
        if http.sender.is_closed() || self.closes == Some(true) {
            return true;
        }
        if !http.answered {
            return false;
        }
        let patience = if self.closes.is_none() { LINGER } else { GLANCE };
        let Http { channel, wire, connection, .. } = http;
        let ending = async {
            connection.await;
            Ok(())
        };
        let gone = timeout(self.machine.deadline(patience), pump.carry(*channel, wire, ending)).await;
        self.closes = Some(gone.is_ok());
        gone.is_ok()
    }

    async fn open_channel(&mut self) -> Result<ChannelId, LmeError> {
        let pump = match &mut self.pump {
            Some(pump) => pump,
            lost => lost.insert(Pump::connect(self.machine, self.peer.is_some()).await?),
        };
        let mut tries = OPEN_TRIES;
        let back = self.machine.until(AWAY);
        loop {
            tries = tries.saturating_sub(1);
            let waited = self.machine.deadline(HANDSHAKE);
            let port = if pump.tls { TLS_PORT } else { CLEARTEXT_PORT };
            let opening = timeout(waited, pump.open(port)).await;
            match opening.map_err(|_| LmeError::Silent { what: "channel", waited })? {
                Err(LmeError::Refused { reason, .. }) if reason.is_retryable() && tries > 0 => {
                    self.machine.pause(OPEN_PAUSE).await;
                }
                // Nothing was said over it yet, so a port that comes back is as good as one that was there.
                Err(LmeError::Refused { reason: OpenFailure::ConnectFailed, .. })
                    if pump.tls && !back.is_over() =>
                {
                    self.machine.pause(AWAY_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }
}

impl Transport for Lme<'_> {
    type Error = LmeError;

    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, LmeError> {
        let waited = self.machine.deadline(ANSWER);
        let point = Point { kind: "asking", what: "http" };
        // Bodies and Authorization are as good as a password; the names of the headers are not.
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        if let Some(lms) = &mut self.lms {
            tracing::debug!(bytes = request.body.len(), headers = ?names, "HTTP request over LMS");
            let config = tls_config(self.peer.as_ref(), self.of_activation)?;
            probe::before(&point);
            let answer = lms.exchange(config.as_ref(), request).await;
            probe::after(&point);
            return answer;
        }
        self.open().await?;
        let Self { pump: Some(pump), http: Some(http), .. } = self else {
            return Err(LmeError::Http("no connection".into()));
        };
        tracing::debug!(bytes = request.body.len(), headers = ?names, "HTTP request over APF");
        probe::before(&point);
        let answer = timeout(waited, pump.exchange(http, request)).await;
        probe::after(&point);
        let answer = answer.unwrap_or(Err(LmeError::Silent { what: "answer", waited }));
        match &answer {
            Ok(answer) => {
                http.answered = answer.status != 401;
                tracing::debug!(status = answer.status, bytes = answer.body.len(), "HTTP answer");
            }
            Err(error) if error.ends_session() => (self.pump, self.http) = (None, None),
            Err(_) => self.start_over().await,
        }
        if let Err(error) = &answer {
            tracing::debug!(%error, "no HTTP answer");
        }
        answer
    }
}

impl Pump {
    /// `tls`: the TLS ports are wanted where AMT has both.
    async fn connect(machine: &Machine, tls: bool) -> Result<Self, LmeError> {
        let mei = connect(machine, "lme", mei_clients::LME.guid).await?;
        let session = Session::new(mei.max_msg_length);
        let mut pump = Self { mei, session, tls: false };
        pump.session.start();
        let waited = machine.deadline(HANDSHAKE);
        timeout(waited, pump.until_ready())
            .await
            .map_err(|_| LmeError::Silent { what: "port list", waited })??;
        if tls && !pump.tls {
            // Its ports come one after the other; where TLS is not among them, it is not on any more.
            let _ = timeout(machine.deadline(MORE_PORTS), pump.until_ready()).await.ok().transpose()?;
        }
        Ok(pump)
    }

    async fn until_ready(&mut self) -> Result<(), LmeError> {
        loop {
            for event in self.turn().await? {
                if let Event::Ready { tls } = event {
                    self.tls = tls;
                    return self.flush().await;
                }
            }
        }
    }

    async fn open(&mut self, port: u16) -> Result<ChannelId, LmeError> {
        let wanted = self.session.open(port)?;
        loop {
            for event in self.turn().await? {
                match event {
                    Event::Opened { channel } if channel == wanted => return Ok(wanted),
                    Event::OpenFailed { channel, reason } if channel == wanted => {
                        return Err(LmeError::Refused { port, reason });
                    }
                    _ => {}
                }
            }
        }
    }

    async fn until_closed(&mut self, wanted: ChannelId) -> Result<(), LmeError> {
        loop {
            if self
                .turn()
                .await?
                .iter()
                .any(|event| matches!(event, Event::Closed { channel } if *channel == wanted))
            {
                return self.flush().await;
            }
        }
    }

    /// One request and its whole answer.
    async fn exchange(&mut self, http: &mut Http, request: HttpRequest) -> Result<HttpResponse, LmeError> {
        let Http { channel, wire, sender, connection, .. } = http;
        let asking = async {
            let mut asking = std::pin::pin!(ask(sender, request));
            let mut parsing = true;
            loop {
                tokio::select! {
                    biased;
                    answer = &mut asking => return answer,
                    () = &mut *connection, if parsing => parsing = false,
                }
            }
        };
        self.carry(*channel, wire, asking).await
    }

    /// Carries bytes between the channel and whoever works at the other end of `wire`, until that work is done. A session
    /// that is lost is no reason to throw away an answer that came whole before it.
    async fn carry<T>(
        &mut self,
        channel: ChannelId,
        wire: &mut DuplexStream,
        work: impl Future<Output = Result<T, LmeError>>,
    ) -> Result<T, LmeError> {
        let mut work = std::pin::pin!(work);
        // It carries what is as good as a password.
        let mut outgoing = Zeroizing::new(vec![0; 4096]);
        let mut writing = true;
        let lost = loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                read = wire.read(&mut outgoing), if writing => match read {
                    Ok(length @ 1..) => {
                        self.session.send(channel, outgoing.get(..length).unwrap_or_default())?;
                        if let Err(lost) = self.flush().await {
                            break lost;
                        }
                    }
                    _ => writing = false,
                },
                datagram = self.mei.recv(ANSWER) => {
                    let events = match datagram {
                        Ok(datagram) => self.take(&datagram).await,
                        Err(lost) => break lost.into(),
                    };
                    let events = match events {
                        Ok(events) => events,
                        Err(lost) => break lost,
                    };
                    for event in events {
                        match event {
                            Event::Data { channel: from, bytes } if from == channel => {
                                wire.write_all(&bytes).await.map_err(|error| LmeError::Http(error.to_string()))?;
                            }
                            Event::Closed { channel: which } if which == channel => {
                                let _ = wire.shutdown().await;
                            }
                            _ => {}
                        }
                    }
                }
            }
        };
        let _ = wire.shutdown().await;
        work.await.map_err(|_| lost)
    }

    /// Says what is to be said, then takes one message.
    async fn turn(&mut self) -> Result<Vec<Event>, LmeError> {
        self.flush().await?;
        let datagram = self.mei.recv(ANSWER).await?;
        self.take(&datagram).await
    }

    async fn take(&mut self, datagram: &[u8]) -> Result<Vec<Event>, LmeError> {
        tracing::trace!(kind = datagram.first(), bytes = datagram.len(), "APF message from AMT");
        let events = self.session.receive(datagram)?;
        for event in &events {
            if let Event::Disconnected { reason } = event {
                return Err(LmeError::Disconnected(*reason));
            }
        }
        self.flush().await?;
        Ok(events)
    }

    async fn flush(&mut self) -> Result<(), LmeError> {
        while let Some(datagram) = self.session.poll_transmit() {
            tracing::trace!(kind = datagram.first(), bytes = datagram.len(), "APF message to AMT");
            self.mei.send(&datagram).await?;
        }
        Ok(())
    }
}

/// TLS with whom the configuration admits. AMT has no name here, so none is sent.
async fn handshake_tls(
    config: ClientConfig,
    ours: DuplexStream,
) -> Result<tokio_rustls::client::TlsStream<DuplexStream>, LmeError> {
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
    let shaken = TlsConnector::from(Arc::new(config)).connect(nobody, ours).await;
    shaken.map_err(|error| refusal(&error))
}

/// How TLS is spoken with this peer; none where AMT is expected to have no TLS.
fn tls_config(peer: Option<&Peer>, of_activation: bool) -> Result<Option<ClientConfig>, LmeError> {
    let versions = if of_activation { Versions::Tls12 } else { Versions::Tls12And13 };
    peer.map(|peer| peer.config(versions)).transpose().map_err(LmeError::Tls)
}
