//! The Local Management Service: where it runs, it holds the LME client and serves AMT's ports on this host's loopback
//! address (reference/amt.md 3.3). Its port is used then, and MEI is not fought for.
//!
//! Refused means that it is not there. A connection that ends without a word means that it restarts, and that is waited
//! for. Once it was seen, it is never taken for absent again.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use oob_wsman::http::{HttpRequest, HttpResponse};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};

use super::http::ask;
use super::lme::{ANSWER, GLANCE, HANDSHAKE, LINGER, LmeError, Stream, refusal};
use super::peer::Peer;
use crate::machine::{Machine, Seen, Until};

const CLEARTEXT: &str = "lms:16992";
const TLS: &str = "lms:16993";
/// How long it may take to come back (reference/amt.md 3.3), and how often it is looked for.
const RESTART: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum LmsError {
    #[error(
        "waiting for the local management service (LMS): it is restarting, and gave no connection within {waited:?}; run \
         again when it has settled"
    )]
    Restarting { waited: Duration },
    #[error(
        "the program that listens on 127.0.0.1:{port} in place of the local management service (LMS) is not root's but \
         user {uid}'s, so nothing is told to it; stop it and run again"
    )]
    OfAnotherUser { port: u16, uid: u32 },
    #[error(
        "whose program listens on 127.0.0.1:{port} in place of the local management service (LMS) cannot be seen ({why}), so \
         nothing is told to it; run again where /proc is mounted"
    )]
    Unseen { port: u16, why: String },
    #[error("connecting to the local management service (LMS): {0}; stop it or run again")]
    Dial(io::Error),
}

/// AMT's ports as LMS serves them, with at most one HTTP connection.
pub(super) struct Lms<'m> {
    machine: &'m Machine,
    /// TLS was switched on by this run: what still comes without it is from before.
    tls_alone: bool,
    /// What the last connection spoke.
    tls: bool,
    /// Whether AMT ends a connection behind its answer without saying so in it, once that was looked at.
    closes: Option<bool>,
    /// The connection that showed that it is there, not used yet.
    fresh: Option<TcpStream>,
    http: Option<Http>,
}

struct Http {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    connection: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// AMT answered on it, and not that it wants a login.
    answered: bool,
}

/// What a try to connect shows.
enum Dialed {
    Open(TcpStream),
    Absent,
    Restarting,
}

impl<'m> Lms<'m> {
    /// Looks for it; none where nobody listens. `peer`: who TLS is expected with, so its port comes first; it is the only one
    /// while AMT 19 is activated, which has no other.
    ///
    /// # Errors
    /// Where another user's program listens, or the host cannot connect to itself.
    pub(super) async fn find(machine: &'m Machine, peer: Option<&Peer>) -> Result<Option<Self>, LmeError> {
        let tls_alone = peer.is_some_and(Peer::is_of_activation);
        let seen = |port: &str, fresh| {
            let tls = port == TLS;
            Self { machine, tls_alone, tls, closes: None, fresh, http: None }
        };
        for port in ports(tls_alone, peer.is_some()) {
            match dial(machine, port).await? {
                Dialed::Open(stream) => {
                    tracing::info!(port, "AMT is reached through the local management service (LMS)");
                    return Ok(Some(seen(port, Some(stream))));
                }
                Dialed::Restarting => return Ok(Some(seen(port, None))),
                Dialed::Absent => {}
            }
        }
        Ok(None)
    }

    /// As [`Lms::find`], of one that holds the LME client and does not listen yet.
    ///
    /// # Errors
    /// As [`Lms::find`].
    pub(super) async fn find_late(
        machine: &'m Machine,
        peer: Option<&Peer>,
    ) -> Result<Option<Self>, LmeError> {
        let until = machine.until(RESTART);
        loop {
            machine.pause(LOOK_EVERY).await;
            let found = Self::find(machine, peer).await?;
            if found.is_some() || until.is_over() {
                return Ok(found);
            }
        }
    }

    /// Whether the last connection was TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Gives up the connection, so that the next request has a new one with a new login.
    pub(super) fn start_over(&mut self) {
        self.http = None;
    }

    /// From now on cleartext is of the past.
    pub(super) fn expect_tls_alone(&mut self) {
        (self.fresh, self.http) = (None, None);
        self.tls_alone = true;
    }

    /// Sees that its port can be reached, TLS included, without a word of HTTP.
    pub(super) async fn reach(&mut self, tls: Option<&ClientConfig>) -> Result<(), LmeError> {
        self.open(tls, self.machine.until(RESTART)).await
    }

    /// One request and its whole answer. `tls`: with whom TLS is spoken; none where AMT is expected to have no TLS.
    ///
    /// What asks for a challenge changes nothing, whoever hears it, so it alone is sent again where LMS hung up on it.
    pub(super) async fn exchange(
        &mut self,
        tls: Option<&ClientConfig>,
        request: HttpRequest,
    ) -> Result<HttpResponse, LmeError> {
        let until = self.machine.until(RESTART);
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let again = request.again();
            self.open(tls, until).await?;
            let Some(http) = &mut self.http else { break };
            match timeout(self.machine.deadline(ANSWER), http.ask(request)).await {
                Ok(Err(LmeError::HungUp(_))) if again.is_some() && !until.is_over() => {
                    self.http = None;
                    self.machine.pause(LOOK_EVERY).await;
                    next = again;
                }
                Ok(answer) => {
                    match &answer {
                        Ok(answer) => http.answered = answer.status != 401,
                        Err(_) => self.http = None,
                    }
                    return answer;
                }
                Err(_) => {
                    self.http = None;
                    return Err(LmeError::Silent { what: "answer", waited: self.machine.deadline(ANSWER) });
                }
            }
        }
        Err(LmsError::Restarting { waited: RESTART }.into())
    }

    /// Has a connection that was not seen to end.
    async fn open(&mut self, tls: Option<&ClientConfig>, until: Until) -> Result<(), LmeError> {
        if !self.is_gone().await {
            return Ok(());
        }
        self.http = None;
        loop {
            let stream = match self.fresh.take() {
                Some(stream) => Some(stream),
                None => self.dial_any(tls.is_some()).await?,
            };
            match (stream, tls) {
                (Some(_), None) if self.tls => return Err(LmeError::TlsOnly),
                (Some(stream), Some(config)) if self.tls => match self.shake(stream, config).await {
                    Ok(stream) => return self.begin(stream).await,
                    // It took the connection and hung up: nobody said no.
                    Err(error) if is_hang_up(&error) && until.is_over() => {
                        return Err(LmsError::Restarting { waited: RESTART }.into());
                    }
                    Err(error) if is_hang_up(&error) => {}
                    Err(error) => return Err(refusal(&error)),
                },
                (Some(stream), _) => return self.begin(stream).await,
                (None, _) if until.is_over() => return Err(LmsError::Restarting { waited: RESTART }.into()),
                (None, _) => {}
            }
            self.machine.pause(LOOK_EVERY).await;
        }
    }

    /// Whether there is no connection, or none that AMT would answer on; as `Lme` finds it out.
    async fn is_gone(&mut self) -> bool {
        let Some(http) = &mut self.http else { return true };
        if http.has_ended().await || self.closes == Some(true) {
            return true;
        }
        if !http.answered {
            return false;
        }
        let patience = if self.closes.is_none() { LINGER } else { GLANCE };
        let gone = timeout(self.machine.deadline(patience), going(&mut http.connection)).await;
        self.closes = Some(gone.is_ok());
        gone.is_ok()
    }

    /// A connection to the port that is wanted, if there is one now.
    async fn dial_any(&mut self, tls: bool) -> Result<Option<TcpStream>, LmeError> {
        for port in ports(self.tls_alone, tls) {
            if let Dialed::Open(stream) = dial(self.machine, port).await? {
                self.tls = *port == TLS;
                return Ok(Some(stream));
            }
        }
        Ok(None)
    }

    async fn shake(&self, stream: TcpStream, config: &ClientConfig) -> io::Result<impl Stream + use<>> {
        // AMT has no name here, so none is sent.
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
        let shaking = TlsConnector::from(Arc::new(config.clone())).connect(nobody, stream);
        let waited = self.machine.deadline(HANDSHAKE);
        let late = |_| io::Error::new(ErrorKind::TimedOut, format!("no handshake within {waited:?}"));
        timeout(waited, shaking).await.map_err(late)?
    }

    async fn begin(&mut self, stream: impl Stream + 'static) -> Result<(), LmeError> {
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| LmeError::Http(error.to_string()))?;
        let connection = Box::pin(async {
            let _ = connection.await;
        });
        self.http = Some(Http { sender, connection: Some(connection), answered: false });
        Ok(())
    }
}

impl Http {
    async fn ask(&mut self, request: HttpRequest) -> Result<HttpResponse, LmeError> {
        let Self { sender, connection, .. } = self;
        let mut asking = std::pin::pin!(ask(sender, request));
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                () = going(connection) => *connection = None,
            }
        }
    }

    /// Whether the other end has hung up meanwhile, as AMT does after a 401 and LMS when it restarts: what is sent then
    /// is lost, and a call that is lost must be reckoned with.
    async fn has_ended(&mut self) -> bool {
        // Lets the runtime hear of it.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = going(&mut self.connection) => self.connection = None,
            () = std::future::ready(()) => {}
        }
        self.connection.is_none() || self.sender.is_closed()
    }
}

/// The ports that may be dialed, in order.
const fn ports(tls_alone: bool, tls: bool) -> &'static [&'static str] {
    match (tls_alone, tls) {
        (true, _) => &[TLS],
        (false, true) => &[TLS, CLEARTEXT],
        (false, false) => &[CLEARTEXT, TLS],
    }
}

/// Until the connection ends; one that has ended does not end again.
async fn going(connection: &mut Option<Pin<Box<dyn Future<Output = ()>>>>) {
    match connection {
        Some(connection) => connection.await,
        None => std::future::pending().await,
    }
}

async fn dial(machine: &Machine, key: &str) -> Result<Dialed, LmeError> {
    // Nothing is said yet, so that a connection more is no harm.
    let dialed = timeout(machine.deadline(HANDSHAKE), machine.connect(key)).await;
    match dialed {
        Err(_) => Ok(Dialed::Restarting),
        Ok(Ok(stream)) => {
            if !is_roots(machine, key, &stream)? {
                return Ok(Dialed::Restarting);
            }
            let _ = stream.set_nodelay(true);
            Ok(Dialed::Open(stream))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok(Dialed::Absent),
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionReset) => {
            Ok(Dialed::Restarting)
        }
        Ok(Err(error)) => Err(LmsError::Dial(error).into()),
    }
}

/// The ports are ones that any user may listen on, and what goes there is as good as a password: LMS is root's, since it
/// opens the MEI device. False where nobody is at the other end any more. (On roots that are not live, the list of ports
/// says who is who.)
fn is_roots(machine: &Machine, key: &str, stream: &TcpStream) -> Result<bool, LmsError> {
    let Some(port) = key.strip_prefix("lms:").and_then(|port| port.parse().ok()) else { return Ok(true) };
    if !machine.is_live() {
        return Ok(true);
    }
    let from = stream.local_addr().map_err(LmsError::Dial)?.port();
    judge(port, machine.other_end(port, from))
}

fn judge(port: u16, owners: Seen<Vec<u32>>) -> Result<bool, LmsError> {
    let unseen = |why: &str| LmsError::Unseen { port, why: why.to_owned() };
    let owners = match owners {
        Seen::Found(owners) => owners,
        Seen::Missing => return Err(unseen("the kernel's list of sockets, /proc/net/tcp, is not there")),
        Seen::Refused(why) => return Err(unseen(&why)),
    };
    match owners.iter().find(|uid| **uid != 0) {
        Some(uid) => Err(LmsError::OfAnotherUser { port, uid: *uid }),
        None => Ok(!owners.is_empty()),
    }
}

/// The connection ended, and nobody said why.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_is_told_anything_and_nobody_is_not_root() {
        assert!(judge(16992, Seen::Found(vec![0, 0])).unwrap());
        assert!(!judge(16992, Seen::Found(Vec::new())).unwrap());
        for owners in [vec![1000], vec![0, 1000]] {
            let refused = judge(16992, Seen::Found(owners)).unwrap_err();
            assert!(matches!(refused, LmsError::OfAnotherUser { uid: 1000, .. }), "{refused}");
        }
        for unseen in [Seen::Missing, Seen::Refused("run as root".to_owned())] {
            let refused = judge(16993, unseen).unwrap_err();
            assert!(refused.to_string().contains("nothing is told to it"), "{refused}");
        }
    }
}
