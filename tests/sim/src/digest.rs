//! Digest logins as AMT does them (RFC 7616 with MD5, `reference/amt.md` 4.2), and the lock after the third bad one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::amt::Amt;
use crate::chance::{hex, random};
use crate::device::scaled;

/// The accounts that can log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// The administrator: local and remote, once provisioned.
    Admin,
    /// The local system account: through MEI only.
    OsAdmin,
}

impl Account {
    /// Its user name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::OsAdmin => "$$OsAdmin",
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Through MEI.
    Local,
    /// Over the network port.
    Remote,
}

/// What a request's `Authorization` is worth. Found without changing anything; [`settle_login`] draws the consequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// No credentials.
    Anonymous,
    /// A good login, with its nonce and count.
    Granted(Account, String, u32),
    /// The right password on a nonce that is unknown, expired or used up.
    Stale,
    /// Wrong. The account is named where there is one.
    Wrong(Option<Account>),
    /// The account is locked, or the firmware settles: refused whatever the password.
    Locked(Account),
}

/// Judges a login. `method` and `target` are the request line's.
#[must_use]
pub fn judge(amt: &Amt, origin: Origin, method: &str, target: &str, authorization: Option<&str>) -> Login {
    let Some(authorization) = authorization else { return Login::Anonymous };
    let Some(credentials) = Credentials::parse(authorization) else { return Login::Wrong(None) };
    let account = match (credentials.get("username"), origin) {
        ("admin", _) => Account::Admin,
        ("$$OsAdmin", Origin::Local) => Account::OsAdmin,
        _ => return Login::Wrong(None),
    };
    if amt.logins.is_locked(account) || amt.is_settling() {
        return Login::Locked(account);
    }
    let ha1 = amt.ha1(account);
    // What has proven itself by its certificate may name any password until it has set one.
    let proven = account == Account::Admin && origin == Origin::Local && amt.takes_any_password();
    if ha1.is_none() && !proven {
        return Login::Wrong(None);
    }
    let (nonce, nc, cnonce) = (credentials.get("nonce"), credentials.get("nc"), credentials.get("cnonce"));
    let well_formed = credentials.get("qop") == "auth"
        && credentials.get("uri") == target
        && credentials.get("realm") == amt.realm
        && matches!(credentials.get("algorithm"), "" | "MD5")
        && nc.len() == 8
        && !cnonce.is_empty();
    let Some(count) = u32::from_str_radix(nc, 16).ok().filter(|count| well_formed && *count > 0) else {
        return Login::Wrong(Some(account));
    };
    let ha2 = hex(&Md5::digest(format!("{method}:{target}")));
    let wanted = ha1.map(|ha1| hex(&Md5::digest(format!("{}:{nonce}:{nc}:{cnonce}:auth:{ha2}", ha1.text()))));
    if wanted.is_some_and(|wanted| credentials.get("response") != wanted) {
        Login::Wrong(Some(account))
    } else if amt.logins.is_fresh(nonce, count) {
        Login::Granted(account, nonce.to_owned(), count)
    } else {
        Login::Stale
    }
}

/// Draws the consequences of a judged login: uses up the count, counts the bad ones, locks.
pub fn settle_login(amt: &mut Amt, login: &Login) {
    match login {
        Login::Granted(account, nonce, count) => amt.logins.grant(*account, nonce, *count),
        Login::Wrong(Some(account)) => amt.logins.count_bad(*account),
        // Trying on while it settles makes the lock last (`reference/amt.md` 0, fact 7).
        Login::Locked(account) if amt.is_settling() => amt.logins.count_bad(*account),
        Login::Anonymous | Login::Stale | Login::Wrong(None) | Login::Locked(_) => {}
    }
}

/// The `WWW-Authenticate` of a 401, in the recorded shape: no opaque, no algorithm, `stale` quoted.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn challenge(amt: &mut Amt, stale: bool) -> io::Result<String> {
    let nonce = STANDARD.encode(random::<24>()?);
    let header = format!("Digest realm=\"{}\", nonce=\"{nonce}\",stale=\"{stale}\",qop=\"auth\"", amt.realm);
    amt.logins.remember(nonce);
    Ok(header)
}

/// Nonces given out, and bad logins.
pub struct Logins {
    time_scale: f64,
    nonces: HashMap<String, Nonce>,
    order: VecDeque<String>,
    bad: HashMap<Account, Bad>,
}

struct Nonce {
    expires: Instant,
    used: u32,
}

#[derive(Default)]
struct Bad {
    in_a_row: u32,
    locked_until: Option<Instant>,
}

/// The references name no number for either time: the field's settle times are seconds, a lock "a while".
const NONCE_LIFE: Duration = Duration::from_secs(300);
const LOCK: Duration = Duration::from_secs(60);
const BAD_LOGINS: u32 = 3;
const NONCES_KEPT: usize = 64;

impl Logins {
    /// No nonce, no lock.
    #[must_use]
    pub fn new(time_scale: f64) -> Self {
        Self { time_scale, nonces: HashMap::new(), order: VecDeque::new(), bad: HashMap::new() }
    }

    /// Whether any account is locked now.
    #[must_use]
    pub fn any_locked(&self) -> bool {
        self.is_locked(Account::Admin) || self.is_locked(Account::OsAdmin)
    }

    fn is_locked(&self, account: Account) -> bool {
        let until = self.bad.get(&account).and_then(|bad| bad.locked_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn is_fresh(&self, nonce: &str, count: u32) -> bool {
        self.nonces.get(nonce).is_some_and(|known| Instant::now() < known.expires && count > known.used)
    }

    fn grant(&mut self, account: Account, nonce: &str, count: u32) {
        if let Some(known) = self.nonces.get_mut(nonce) {
            known.used = count;
        }
        self.bad.remove(&account);
    }

    fn count_bad(&mut self, account: Account) {
        let until = Instant::now() + scaled(LOCK, self.time_scale);
        let bad = self.bad.entry(account).or_default();
        bad.in_a_row += 1;
        if bad.in_a_row >= BAD_LOGINS {
            *bad = Bad { in_a_row: 0, locked_until: Some(until) };
        }
    }

    /// No nonce outlives a restart.
    pub fn forget_nonces(&mut self) {
        self.nonces.clear();
        self.order.clear();
    }

    fn remember(&mut self, nonce: String) {
        // A nonce never dies sooner than two real seconds, or a short time scale would make every login stale.
        let life = scaled(NONCE_LIFE, self.time_scale).max(Duration::from_secs(2));
        self.nonces.insert(nonce.clone(), Nonce { expires: Instant::now() + life, used: 0 });
        self.order.push_back(nonce);
        while self.order.len() > NONCES_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.nonces.remove(&oldest);
            }
        }
    }
}

/// The parameters of an `Authorization: Digest` header; values quoted or bare (both are seen).
struct Credentials(HashMap<String, String>);

impl Credentials {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut found = HashMap::new();
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if rest.is_empty() {
                return Some(Self(found));
            }
            let (key, after) = rest.split_once('=')?;
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            // A parameter given twice is no parameter (RFC 7235, 2.1).
            if found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned()).is_some() {
                return None;
            }
            rest = after;
        }
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amt::Ha1;
    use crate::device::Settings;
    use crate::profile::Profile;

    fn provisioned() -> Amt {
        let mut amt = Amt::new(&Profile::VproDesktopAmt16.facts(1), &Settings::default()).unwrap();
        assert_eq!(amt.set_up("2", Ha1::of("admin", &amt.realm.clone(), "P@ssw0rd").text()), 0);
        amt
    }

    fn nonce(amt: &mut Amt) -> String {
        let header = challenge(amt, false).unwrap();
        header.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    fn authorization(user: &str, realm: &str, password: &str, nonce: &str, nc: &str) -> String {
        let ha2 = hex(&Md5::digest("POST:/wsman"));
        let ha1 = Ha1::of(user, realm, password);
        let response = hex(&Md5::digest(format!("{}:{nonce}:{nc}:c0:auth:{ha2}", ha1.text())));
        format!(
            "Digest username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"/wsman\",\
             nc={nc},cnonce=\"c0\",qop=\"auth\",response=\"{response}\""
        )
    }

    fn try_login(amt: &mut Amt, password: &str, nonce: &str, nc: &str) -> Login {
        let header = authorization("admin", &amt.realm.clone(), password, nonce, nc);
        let login = judge(amt, Origin::Remote, "POST", "/wsman", Some(&header));
        settle_login(amt, &login);
        login
    }

    #[test]
    fn the_count_must_grow_on_each_nonce() {
        let mut amt = provisioned();
        let (a, b) = (nonce(&mut amt), nonce(&mut amt));
        assert!(matches!(try_login(&mut amt, "P@ssw0rd", &a, "00000001"), Login::Granted(..)));
        assert_eq!(try_login(&mut amt, "P@ssw0rd", &a, "00000001"), Login::Stale);
        assert!(matches!(try_login(&mut amt, "P@ssw0rd", &a, "00000003"), Login::Granted(..)));
        assert!(matches!(try_login(&mut amt, "P@ssw0rd", &b, "00000001"), Login::Granted(..)));
        assert_eq!(try_login(&mut amt, "P@ssw0rd", "unknown", "00000001"), Login::Stale);
    }

    #[test]
    fn the_third_bad_login_in_a_row_locks() {
        let mut amt = provisioned();
        let n = nonce(&mut amt);
        for _ in 0..2 {
            try_login(&mut amt, "wrong", &n, "00000001");
        }
        assert!(matches!(try_login(&mut amt, "P@ssw0rd", &n, "00000001"), Login::Granted(..)));
        for _ in 0..3 {
            assert_eq!(try_login(&mut amt, "wrong", &n, "00000002"), Login::Wrong(Some(Account::Admin)));
        }
        assert_eq!(try_login(&mut amt, "P@ssw0rd", &n, "00000002"), Login::Locked(Account::Admin));
        assert!(amt.logins.any_locked());
    }

    #[test]
    fn the_local_account_is_not_for_the_network() {
        let mut amt = provisioned();
        let n = nonce(&mut amt);
        let password = amt.local_account().1.to_owned();
        let header = authorization("$$OsAdmin", &amt.realm, &password, &n, "00000001");
        let from = |origin| judge(&amt, origin, "POST", "/wsman", Some(&header));
        assert!(matches!(from(Origin::Local), Login::Granted(Account::OsAdmin, ..)));
        assert_eq!(from(Origin::Remote), Login::Wrong(None));
    }

    #[test]
    fn what_is_no_digest_is_wrong() {
        let amt = provisioned();
        for header in
            ["", "Basic YWRtaW46", "Digest ", "Digest username", "Digest username=\"a", "Digest a=1,a=2"]
        {
            assert_eq!(
                judge(&amt, Origin::Remote, "POST", "/wsman", Some(header)),
                Login::Wrong(None),
                "{header:?}"
            );
        }
    }
}
