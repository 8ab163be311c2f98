//! AMT's web server: from the bytes of one connection, be it an APF channel or a TCP connection, to what is to be
//! done with that connection.

use crate::amt::Amt;
use crate::device::{Device, Inner};
use crate::digest::{Account, Login, Origin, challenge, judge, settle_login};
use crate::fault::Fault;
use crate::http::{Answer, Parsed, Request, parse};
use crate::wsman;

/// What to do with the connection, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close it; nothing more is read.
    Close,
    /// Kill the peer if it came through MEI, and close.
    Kill,
    /// Never answer again, but keep it open.
    Hush,
}

/// One connection's server.
pub struct Server<'a> {
    device: &'a Device,
    origin: Origin,
    certified: bool,
    buffer: Vec<u8>,
    continued: bool,
    over: bool,
}

impl<'a> Server<'a> {
    /// A server for a connection that has just been opened.
    #[must_use]
    pub fn new(device: &'a Device, origin: Origin) -> Self {
        Self { device, origin, certified: false, buffer: Vec::new(), continued: false, over: false }
    }

    /// One for a connection whose peer has proven by its certificate that it is the administrator.
    #[must_use]
    pub fn of_certified(device: &'a Device, origin: Origin) -> Self {
        Self { certified: true, ..Self::new(device, origin) }
    }

    /// Takes bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Act> {
        let mut acts = Vec::new();
        if !self.over {
            self.buffer.extend_from_slice(bytes);
        }
        while !self.over {
            match parse(&self.buffer) {
                Parsed::Whole(request, taken) => {
                    self.buffer.drain(..taken);
                    self.continued = false;
                    acts.extend(self.serve(&request));
                }
                Parsed::Part { continues } => {
                    if continues && !self.continued {
                        self.continued = true;
                        acts.push(Act::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
                    }
                    break;
                }
                Parsed::Bad => {
                    let mut answer = Answer::page(400, "Bad request.");
                    answer.closes = true;
                    let bytes = self.device.act(|inner| answer.render(&self.server(), &mut inner.stream));
                    acts.extend([Act::Send(bytes), Act::Close]);
                }
            }
            self.over = acts.iter().any(|act| *act != Act::Close && !matches!(act, Act::Send(_)))
                || acts.last() == Some(&Act::Close);
        }
        acts
    }

    /// One request: judge the login, name the call, let a fault strike, carry it out, answer.
    fn serve(&self, request: &Request) -> Vec<Act> {
        let authorization = request.header("authorization");
        let is_wsman = request.target == "/wsman" && request.method == "POST";
        let (method, target) = (request.method.as_str(), request.target.as_str());
        let login = self.device.act(|inner| {
            inner.ledger.http_requests += 1;
            match judge(&inner.amt, self.origin, method, target, authorization) {
                Login::Anonymous if self.certified => Login::Granted(Account::Admin, String::new(), 0),
                login => login,
            }
        });
        let parsed = is_wsman.then(|| wsman::Request::parse(&request.body));
        let (name, mutating) = match (&login, &parsed) {
            (_, None) => ("http:other".to_owned(), false),
            (Login::Granted(..), Some(parsed)) => wsman::call_name(parsed),
            (Login::Anonymous, _) => ("http:anonymous".to_owned(), false),
            (Login::Stale, _) => ("http:stale".to_owned(), false),
            (Login::Wrong(_) | Login::Locked(_), _) => ("http:bad-login".to_owned(), false),
        };
        let fault = self.device.begin(&name, mutating);
        match fault {
            Some(Fault::KillPeerBefore) => return vec![Act::Kill],
            Some(Fault::DropBefore | Fault::Errno(_)) => return vec![Act::Close],
            Some(Fault::Stall) => return vec![Act::Hush],
            _ => {}
        }
        let host_tls = &self.device.settings.host_tls;
        let (bytes, mut closes, lost) = self.device.act(|inner| {
            let before = inner.amt.ports();
            let mut answer = self.answer(inner, &login, parsed, request, fault);
            answer.closes |= request.wants_close();
            inner.ledger.http_401 += u64::from(answer.status == 401);
            if fault == Some(Fault::Settle401) {
                inner.amt.settle();
            }
            let mut bytes = answer.render(&self.server(), &mut inner.stream);
            closes_early(fault, inner, &mut bytes);
            // A restart of the ports takes the connection with it, and what would be answered.
            let now = inner.amt.ports();
            let lost = now.restarted != before.restarted && !host_tls.commit_answers;
            (bytes, answer.closes || host_tls.close_each || now != before, lost)
        });
        closes |= matches!(fault, Some(Fault::Garbage | Fault::Short | Fault::Long));
        match fault {
            Some(Fault::DropAfter) => vec![Act::Close],
            Some(Fault::KillPeerAfter) => vec![Act::Kill],
            None if lost => vec![Act::Close],
            _ if closes => vec![Act::Send(bytes), Act::Close],
            _ => vec![Act::Send(bytes)],
        }
    }

    /// The answer, with the call's effect done.
    fn answer(
        &self,
        inner: &mut Inner,
        login: &Login,
        parsed: Option<Result<wsman::Request, wsman::Rejection>>,
        request: &Request,
        fault: Option<Fault>,
    ) -> Answer {
        match fault {
            Some(Fault::Http(401)) => return unauthorized(&mut inner.amt, false),
            Some(Fault::Http(status)) => return Answer::page(status, "The request could not be served."),
            Some(Fault::SoapFault) => {
                let reply = wsman::broken(&mut inner.amt);
                return Answer::soap(reply.status, reply.body);
            }
            _ => {}
        }
        let Some(parsed) = parsed else { return page(request) };
        settle_login(&mut inner.amt, login);
        let Login::Granted(account, ..) = login else {
            return unauthorized(&mut inner.amt, *login == Login::Stale);
        };
        if let Ok(request) = &parsed {
            inner.ledger.count_kind(&request.operation);
        }
        let reply = wsman::answer(parsed, &mut inner.amt, &self.device.facts, *account, fault);
        let mut answer = Answer::soap(reply.status, reply.body);
        if self.device.facts.is_host_tls_only() {
            answer.harden();
        }
        answer
    }

    fn server(&self) -> String {
        let build = self.device.facts.firmware.build;
        format!("Intel(R) Active Management Technology {}.{build}", self.device.facts.version())
    }
}

/// The faults that spoil a finished answer. The connection closes after each of them.
fn closes_early(fault: Option<Fault>, inner: &mut Inner, bytes: &mut Vec<u8>) {
    match fault {
        Some(Fault::Garbage) => *bytes = inner.stream.noise(200),
        Some(Fault::Short) => bytes.truncate(bytes.len() * 2 / 3),
        Some(Fault::Long) => bytes.extend(inner.stream.noise(64)),
        _ => {}
    }
}

fn unauthorized(amt: &mut Amt, stale: bool) -> Answer {
    let line = "Log on failed. Incorrect user name or password, or user account temporarily locked.";
    match challenge(amt, stale) {
        Ok(challenge) => {
            let mut answer = Answer::page(401, line);
            answer.headers.insert(0, ("WWW-Authenticate", challenge));
            answer.closes = true;
            answer
        }
        Err(_) => Answer::page(500, "Out of random bytes."),
    }
}

fn page(request: &Request) -> Answer {
    match (request.method.as_str(), request.target.as_str()) {
        ("GET" | "HEAD", "/") => {
            let mut answer = Answer::page(303, "See the log-on page.");
            answer.headers.push(("Location", "/logon.htm".to_owned()));
            answer
        }
        ("GET" | "HEAD", "/logon.htm") => {
            Answer::page(200, "Log on to Intel&reg; Active Management Technology.")
        }
        (_, "/wsman") => Answer::page(405, "Only POST is served here."),
        _ => Answer::page(404, "No such page."),
    }
}
