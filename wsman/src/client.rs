//! WS-Man as calls: login, verbs and status checks over a [`Transport`] that only moves HTTP messages.
//!
//! Rules of the login (`reference/amt.md` 0.7, 4.2), which no caller has to remember:
//! - the first request goes without Authorization and is always a harmless Get, so that nothing secret is sent before
//!   the realm is known;
//! - with [`Client::expect_realm`] set, no Authorization header is ever sent to another realm; without it, the first
//!   realm seen is kept for the client's life;
//! - a nonce serves many requests; one that went stale is replaced by exactly one retry;
//! - a rejected login is never retried by itself, and after two rejections this client sends none any more: the third
//!   locks the account.

mod error;
mod login;

pub use error::Error;
pub use login::{LoggedIn, Login, Probe, probe_realm};

use crate::{
    classes::{
        BodyError, Class, Editable, Method,
        amt::{self, GeneralSettings, SetupAndConfigurationService},
        authorization,
        ips::{self, HostBasedSetupService},
        read_instance,
        references::Association,
    },
    digest::{Challenge, DigestError, DigestSession, Ha1, Realm},
    envelope::{Envelope, EnvelopeError},
    http::{HttpError, HttpRequest, HttpResponse, PATH},
    verbs::Request,
    xml::{Element, ns},
};

/// Moves one HTTP request and its response. An APF channel, a TCP connection and a test are all this.
///
/// AMT closes the connection after each 401, and under `Connection: close` after every response: connecting anew when
/// the old connection is gone is the transport's part, sending a request a second time never is.
#[allow(async_fn_in_trait)] // one thread, one request in flight: no caller needs the future to be Send
pub trait Transport {
    /// What goes wrong below HTTP.
    type Error;

    /// Posts the request and reads the whole response.
    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, Self::Error>;
}

/// So that one connection can serve one client after another.
impl<T: Transport> Transport for &mut T {
    type Error = T::Error;

    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, Self::Error> {
        (**self).post(request).await
    }
}

/// A logged-in dialogue with one device.
pub struct Client<T> {
    transport: T,
    login: Login,
    ha1: Option<Ha1>,
    cnonce: Box<dyn FnMut() -> [u8; 16]>,
    realm: Option<Realm>,
    session: Option<DigestSession>,
    /// The session's nonce was accepted once: a 401 on it may be its age, not the password.
    nonce_accepted: bool,
    rejections: u8,
    /// The way itself may show who we are.
    known_by_way: bool,
    /// The device was seen to ask for no login.
    open: bool,
    next_message_id: u64,
    server_version: Option<String>,
}

impl<T: Transport> Client<T> {
    /// `cnonce` gives 16 random bytes per call.
    pub fn new(transport: T, login: Login, cnonce: impl FnMut() -> [u8; 16] + 'static) -> Self {
        Self {
            transport,
            login,
            ha1: None,
            cnonce: Box::new(cnonce),
            realm: None,
            session: None,
            nonce_accepted: false,
            rejections: 0,
            known_by_way: false,
            open: false,
            next_message_id: 1,
            server_version: None,
        }
    }

    /// Only this realm may see a login.
    #[must_use]
    pub fn expect_realm(mut self, realm: Realm) -> Self {
        self.realm = Some(realm);
        self
    }

    /// The way itself shows who we are, as TLS with a certificate of ours does: a device that asks for no login there is
    /// taken at its word and gets none (`reference/amt-calls.md` 4). Elsewhere that is an error.
    #[must_use]
    pub fn known_by_way(mut self) -> Self {
        self.known_by_way = true;
        self
    }

    /// Goes on with the nonce of a client before it, over the same transport and with the same login: a login that stands
    /// is not asked for again.
    #[must_use]
    pub fn resume(mut self, earlier: Option<LoggedIn>) -> Self {
        if let Some(LoggedIn { session, next_message_id }) = earlier {
            (self.session, self.nonce_accepted) = (Some(session), true);
            self.next_message_id = next_message_id;
        }
        self
    }

    /// Uses the nonce of a client before it for another login, which it says nothing about: a refusal counts.
    #[must_use]
    pub fn with_nonce_of(self, earlier: LoggedIn) -> Self {
        Self { nonce_accepted: false, ..self.resume(Some(earlier)) }
    }

    /// Ends the dialogue, not the login; none where no login stands.
    pub fn into_login(self) -> Option<LoggedIn> {
        let session = self.session.filter(|_| self.nonce_accepted)?;
        Some(LoggedIn { session, next_message_id: self.next_message_id })
    }

    /// The number of the first message, 1 unless said.
    #[must_use]
    pub fn first_message_id(mut self, id: u64) -> Self {
        self.next_message_id = id;
        self
    }

    /// The realm expected or seen.
    pub fn realm(&self) -> Option<&Realm> {
        self.realm.as_ref()
    }

    /// The firmware version, once any answer named it.
    pub fn server_version(&self) -> Option<&str> {
        self.server_version.as_deref()
    }

    /// How many logins in a row were rejected; at 2 no more is sent.
    pub fn rejections(&self) -> u8 {
        self.rejections
    }

    /// Gives the transport back, to be closed.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Reads AMT_GeneralSettings.
    pub async fn get_general_settings(&mut self) -> Result<GeneralSettings, Error<T::Error>> {
        self.get().await
    }

    /// Reads IPS_HostBasedSetupService.
    pub async fn get_host_based_setup_service(&mut self) -> Result<HostBasedSetupService, Error<T::Error>> {
        self.get().await
    }

    /// Reads AMT_SetupAndConfigurationService.
    pub async fn get_setup_and_configuration_service(
        &mut self,
    ) -> Result<SetupAndConfigurationService, Error<T::Error>> {
        self.get().await
    }

    /// Enters client control mode with `new_admin` as the admin's password. One-shot. Refused here, before anything is
    /// sent, if the hash is not admin's or not of this device's realm: it would provision a password that nobody has.
    pub async fn setup(&mut self, new_admin: &Ha1) -> Result<(), Error<T::Error>> {
        self.check_new_admin(new_admin).await?;
        self.invoke(&ips::setup(new_admin)).await
    }

    /// Enters admin control mode with `new_admin` as the admin's password, after the chain was accepted. One-shot, and
    /// refused here as [`Client::setup`] is.
    pub async fn admin_setup(
        &mut self,
        new_admin: &Ha1,
        proof: ips::Proof<'_>,
    ) -> Result<(), Error<T::Error>> {
        self.check_new_admin(new_admin).await?;
        self.invoke(&ips::admin_setup(new_admin, proof)).await
    }

    /// Changes the admin's password. One-shot, and refused here as [`Client::setup`] is. What comes next needs a new
    /// client with the new password.
    pub async fn set_admin_password(&mut self, new_admin: &Ha1) -> Result<(), Error<T::Error>> {
        self.check_new_admin(new_admin).await?;
        self.invoke(&authorization::set_admin_acl_entry_ex(new_admin)).await
    }

    /// Takes AMT back to factory mode; the way out of admin control mode. One-shot.
    pub async fn unprovision(&mut self) -> Result<(), Error<T::Error>> {
        self.invoke(&amt::unprovision()).await
    }

    /// Ends provisioning on AMT 19 and later. One-shot; the answer is often lost: then read the state.
    pub async fn commit_changes(&mut self) -> Result<(), Error<T::Error>> {
        self.invoke(&amt::commit_changes()).await
    }

    /// Reads the one instance of a class.
    pub async fn get<C: Class>(&mut self) -> Result<C, Error<T::Error>> {
        self.get_with(&[]).await
    }

    /// Reads the instance that the selectors name, as `("InstanceID", "Intel(r) AMT Key: Handle: 0")`.
    pub async fn get_with<C: Class>(&mut self, selectors: &[(&str, &str)]) -> Result<C, Error<T::Error>> {
        let envelope = self.call(&select(Request::get(C::RESOURCE), selectors)).await?;
        Ok(read_instance(envelope.body.as_ref())?)
    }

    /// Reads an instance to be changed and put back with [`Client::put`].
    pub async fn get_to_edit<C: Class>(
        &mut self,
        selectors: &[(&str, &str)],
    ) -> Result<Editable<C>, Error<T::Error>> {
        let envelope = self.call(&select(Request::get(C::RESOURCE), selectors)).await?;
        Ok(Editable::read(envelope.body.as_ref(), selectors)?)
    }

    /// Puts a changed instance back, whole but for what is read-only. The same Put again does no harm; what the device
    /// made of it is for a later read to say.
    pub async fn put<C: Class>(&mut self, instance: &Editable<C>) -> Result<(), Error<T::Error>> {
        let envelope = self.call(&instance.to_request()).await?;
        match envelope.body {
            Some(body) if !body.is(C::RESOURCE, C::NAME) => {
                Err(BodyError::Other { expected: C::NAME.to_owned() }.into())
            }
            _ => Ok(()), // firmware echoes the instance; an empty Body is as good
        }
    }

    /// Makes or replaces an instance from a request of this crate (`tls::create_credential_context` and others).
    /// [`Error::already_exists`] tells that a Create needs a Put instead.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<(), Error<T::Error>> {
        self.call(request).await.map(drop)
    }

    /// Removes the instance that the selectors name.
    pub async fn delete<C: Class>(&mut self, selectors: &[(&str, &str)]) -> Result<(), Error<T::Error>> {
        self.send(&select(Request::delete(C::RESOURCE), selectors)).await
    }

    /// Reads all instances of a class: Enumerate, then Pull until the device says that it was the last.
    pub async fn enumerate<C: Class>(&mut self) -> Result<Vec<C>, Error<T::Error>> {
        self.pull_all(C::RESOURCE, |item| read_instance(Some(item))).await
    }

    /// Reads all associations of a class and of its subclasses.
    pub async fn associations(&mut self, resource: &str) -> Result<Vec<Association>, Error<T::Error>> {
        self.pull_all(resource, |item| Ok(Association::read(item))).await
    }

    async fn pull_all<I>(
        &mut self,
        resource: &str,
        read: impl Fn(&Element) -> Result<I, BodyError>,
    ) -> Result<Vec<I>, Error<T::Error>> {
        let envelope = self.call(&Request::enumerate(resource)).await?;
        let answer = expect(envelope.body.as_ref(), "EnumerateResponse")?;
        let mut context = context_of(answer)
            .ok_or(BodyError::Missing { class: "EnumerateResponse".to_owned(), property: CONTEXT })?;
        let mut instances = Vec::new();
        for _ in 0..MOST_PULLS {
            let envelope = self.call(&Request::pull(resource, &context)).await?;
            let answer = expect(envelope.body.as_ref(), "PullResponse")?;
            let items = answer.child(ns::ENUMERATION, "Items").map(Element::children).unwrap_or_default();
            for item in items {
                instances.push(read(item)?);
            }
            if answer.child(ns::ENUMERATION, "EndOfSequence").is_some() {
                return Ok(instances);
            }
            context = context_of(answer).unwrap_or(context);
        }
        Err(BodyError::Missing { class: "PullResponse".to_owned(), property: "EndOfSequence" }.into())
    }

    /// Sends any request that may be sent again by the caller.
    pub async fn call(&mut self, request: &Request<'_>) -> Result<Envelope, Error<T::Error>> {
        self.ensure_session().await?;
        self.exchange(request, Resend::AfterStaleNonce).await
    }

    /// Calls a method, checks its return value and reads its answer. One that must not be sent twice is not, and
    /// whatever leaves open whether the device acted on it becomes [`Error::OutcomeUnknown`]: read the device's state,
    /// then decide.
    pub async fn invoke<O>(&mut self, method: &Method<'_, O>) -> Result<O, Error<T::Error>> {
        self.ensure_session().await?; // what fails here was not the call
        let doubt = |error: Error<T::Error>| match method.once && error.leaves_doubt() {
            true => Error::OutcomeUnknown { method: method.name, cause: Box::new(error) },
            false => error,
        };
        let resend = if method.once { Resend::Never } else { Resend::AfterStaleNonce };
        let envelope = self.exchange(&method.request, resend).await.map_err(doubt)?;
        Ok(method.read(envelope.body).map_err(|error| doubt(error.into()))??)
    }

    /// A new password must be admin's and hashed for this device's realm, or nobody will have it.
    async fn check_new_admin(&mut self, new_admin: &Ha1) -> Result<(), Error<T::Error>> {
        if new_admin.user() != "admin" {
            return Err(Error::WrongUser);
        }
        self.ensure_session().await?;
        self.check_realm(new_admin.realm())
    }

    /// Sends a request with a login, once more if the nonce was too old and `resend` permits it.
    async fn exchange(&mut self, request: &Request<'_>, resend: Resend) -> Result<Envelope, Error<T::Error>> {
        let id = self.take_message_id();
        let mut retried = resend == Resend::Never;
        loop {
            let authorization = if self.open { None } else { Some(self.authorize()?) };
            let post = HttpRequest::post(request.to_xml(id), authorization);
            let response = self.transport.post(post).await.map_err(Error::Transport)?;
            if response.status != 401 {
                let answer = response.envelope();
                // Only WS-Man itself proves that the login passed; a 503 page does not.
                if matches!(answer, Ok(_) | Err(HttpError::Envelope(EnvelopeError::Fault(_)))) {
                    self.rejections = 0;
                    self.nonce_accepted = true;
                }
                let envelope = answer?;
                return match &envelope.relates_to {
                    Some(answered) if *answered != id.to_string() => Err(Error::WrongReply),
                    _ => Ok(envelope),
                };
            }
            // Where no login was sent none was rejected.
            let was_open = std::mem::take(&mut self.open);
            let was_accepted = std::mem::take(&mut self.nonce_accepted) || was_open;
            self.session = None;
            let challenge = Challenge::parse(response.header(CHALLENGE_HEADER));
            let stale = challenge.as_ref().is_ok_and(|challenge| challenge.stale);
            if !stale && !was_open {
                self.rejections += 1;
            }
            let adopted = challenge.map_err(Error::Digest).and_then(|challenge| self.adopt(challenge));
            if let Err(error @ Error::RealmMismatch { .. }) = adopted {
                return Err(error);
            }
            if retried || !(stale || was_accepted) || adopted.is_err() {
                return Err(Error::Unauthorized { rejections: self.rejections });
            }
            retried = true;
        }
    }

    /// Has a nonce, asking for one with a request that carries nothing.
    async fn ensure_session(&mut self) -> Result<(), Error<T::Error>> {
        self.check_attempts()?;
        if self.session.is_none() && !self.open {
            let id = self.take_message_id();
            let (challenge, server_version) = match ask_for_challenge(&mut self.transport, id).await? {
                Some(asked) => asked,
                None if self.known_by_way => {
                    self.open = true;
                    return Ok(());
                }
                None => return Err(Error::Digest(DigestError::NoChallenge)),
            };
            self.server_version = server_version.or(self.server_version.take());
            self.adopt(challenge)?;
        }
        Ok(())
    }

    /// Takes a challenge as the present one, if its realm may see this login.
    fn adopt(&mut self, challenge: Challenge) -> Result<(), Error<T::Error>> {
        self.check_realm(&challenge.realm)?;
        if let Login::Ha1(ha1) = &self.login {
            check_same(ha1.realm(), &challenge.realm)?;
        }
        self.realm.get_or_insert_with(|| challenge.realm.clone());
        self.session = Some(DigestSession::new(challenge));
        self.nonce_accepted = false;
        Ok(())
    }

    fn authorize(&mut self) -> Result<zeroize::Zeroizing<String>, Error<T::Error>> {
        self.check_attempts()?;
        let session = self.session.as_mut().ok_or(Error::Digest(DigestError::NoChallenge))?;
        let ha1 = match &self.login {
            Login::Ha1(ha1) => ha1,
            Login::Password { user, password } => {
                self.ha1.get_or_insert_with(|| Ha1::new(user, session.realm(), password))
            }
        };
        let cnonce: String = (self.cnonce)().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(session.authorize(ha1, "POST", PATH, &cnonce))
    }

    fn check_attempts(&self) -> Result<(), Error<T::Error>> {
        if self.rejections >= MOST_REJECTIONS { Err(Error::AttemptsExhausted) } else { Ok(()) }
    }

    fn check_realm(&self, found: &Realm) -> Result<(), Error<T::Error>> {
        self.realm.as_ref().map_or(Ok(()), |expected| check_same(expected, found))
    }

    fn take_message_id(&mut self) -> u64 {
        let id = self.next_message_id;
        self.next_message_id += 1;
        id
    }
}

/// A Get without a login: its 401 has the challenge. None: the device answers it, so it asks for no login.
async fn ask_for_challenge<T: Transport>(
    transport: &mut T,
    id: u64,
) -> Result<Option<(Challenge, Option<String>)>, Error<T::Error>> {
    let request = Request::get(amt::GENERAL_SETTINGS);
    let asking = HttpRequest::ask_for_challenge(request.to_xml(id));
    let response = transport.post(asking).await.map_err(Error::Transport)?;
    if response.status != 401 {
        response.envelope()?; // a fault or an HTTP error says more than "no challenge"
        return Ok(None);
    }
    let challenge = Challenge::parse(response.header(CHALLENGE_HEADER)).map_err(Error::Digest)?;
    let version = response.server_version().map(str::to_owned);
    Ok(Some((challenge, version)))
}

fn check_same<E>(expected: &Realm, found: &Realm) -> Result<(), Error<E>> {
    if expected == found {
        return Ok(());
    }
    Err(Error::RealmMismatch { expected: expected.clone(), found: found.clone() })
}

fn select<'a>(request: Request<'a>, selectors: &[(&'a str, &'a str)]) -> Request<'a> {
    selectors.iter().fold(request, |request, (name, value)| request.selector(*name, *value))
}

fn expect<'a>(body: Option<&'a Element>, name: &str) -> Result<&'a Element, BodyError> {
    match body {
        Some(body) if body.is(ns::ENUMERATION, name) => Ok(body),
        Some(_) => Err(BodyError::Other { expected: name.to_owned() }),
        None => Err(BodyError::Empty { expected: name.to_owned() }),
    }
}

fn context_of(answer: &Element) -> Option<String> {
    Some(answer.child(ns::ENUMERATION, CONTEXT)?.text().trim().to_owned())
}

/// Whether a request may be sent again when its nonce was too old. A 401 says that the device did not act, but a
/// one-shot call is not sent twice on anybody's word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resend {
    AfterStaleNonce,
    Never,
}

const CHALLENGE_HEADER: &str = "WWW-Authenticate";
const MOST_REJECTIONS: u8 = 2;
const CONTEXT: &str = "EnumerationContext";
/// One Pull brings all that ordinary firmware has; a device that never ends its list stops here.
const MOST_PULLS: usize = 64;
