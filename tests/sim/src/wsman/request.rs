//! Reading a request envelope.

use roxmltree::{Document, Node, ParsingOptions};

use super::ns;

/// A request, as far as its envelope says. [`Request::check`] says whether it is a good one. Not to be shown: it may
/// hold a credential.
pub struct Request {
    /// The resource URI.
    pub resource: String,
    /// The last part of the resource URI, as the class's name.
    pub class: String,
    /// What is asked for.
    pub operation: Operation,
    /// The action URI.
    pub action: String,
    /// To be echoed.
    pub message_id: String,
    /// Selectors by name.
    pub selectors: Vec<(String, String)>,
    /// The body's element, if any.
    pub input: Option<Input>,
    problem: Option<Rejection>,
}

/// The one element of a request's body and its children.
pub struct Input {
    /// Its namespace.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Its child elements.
    pub children: Vec<Child>,
}

/// A child of a request's body element.
pub struct Child {
    /// Its namespace.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What it refers to, if it is an endpoint reference.
    pub reference: Option<Reference>,
    /// Its own child elements, if it is an embedded instance; theirs are not read.
    pub children: Vec<Child>,
}

/// An endpoint reference; its address is of no matter (`reference/amt.md` 4.3).
pub struct Reference {
    /// The resource URI.
    pub resource: String,
    /// Selectors by name.
    pub selectors: Vec<(String, String)>,
}

impl Reference {
    fn of(node: Node<'_, '_>) -> Option<Self> {
        let child = |name| node.children().find(|child| child.has_tag_name((ns::ADDRESSING, name)));
        child("Address")?;
        let parameters = child("ReferenceParameters")?;
        let resource = text_of(parameters, ns::WSMAN, "ResourceURI")?;
        Some(Self { resource, selectors: selectors(parameters)? })
    }
}

/// The verb of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// WS-Transfer.
    Get,
    /// WS-Transfer.
    Put,
    /// WS-Transfer.
    Create,
    /// WS-Transfer.
    Delete,
    /// WS-Enumeration.
    Enumerate,
    /// WS-Enumeration.
    Pull,
    /// A method of the class.
    Method(String),
    /// An action that belongs to nothing here.
    Unknown,
}

impl Operation {
    /// Its name in the account of calls.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Get => "Get",
            Self::Put => "Put",
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Enumerate => "Enumerate",
            Self::Pull => "Pull",
            Self::Method(method) => method,
            Self::Unknown => "unknown",
        }
    }

    /// Whether it changes a device by its nature. Methods do, but for those that ask.
    #[must_use]
    pub fn mutates(&self) -> bool {
        match self {
            Self::Put | Self::Create | Self::Delete => true,
            Self::Method(method) => !method.starts_with("Get"),
            Self::Get | Self::Enumerate | Self::Pull | Self::Unknown => false,
        }
    }

    fn of(action: &str, resource: &str) -> Self {
        let verb = |base: &str| action.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
        match (verb(ns::TRANSFER), verb(ns::ENUMERATION)) {
            (Some("Get"), _) => Self::Get,
            (Some("Put"), _) => Self::Put,
            (Some("Create"), _) => Self::Create,
            (Some("Delete"), _) => Self::Delete,
            (_, Some("Enumerate")) => Self::Enumerate,
            (_, Some("Pull")) => Self::Pull,
            _ => match verb(resource) {
                Some(method) if is_name(method) => Self::Method(method.to_owned()),
                _ => Self::Unknown,
            },
        }
    }
}

/// Why a request is refused: what its fault envelope says.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// `Sender` or `Receiver`.
    pub code: &'static str,
    /// The subcode with the prefix it has in fault envelopes: `b` addressing, `e` management, `g` enumeration.
    pub subcode: &'static str,
    /// For people.
    pub reason: String,
    /// The message it answers.
    pub relates_to: String,
}

impl Rejection {
    /// The sender's fault.
    #[must_use]
    pub fn sender(subcode: &'static str, reason: impl Into<String>) -> Self {
        Self { code: "Sender", subcode, reason: reason.into(), relates_to: "0".to_owned() }
    }

    /// The service's own.
    #[must_use]
    pub fn internal() -> Self {
        let reason =
            "The service cannot comply with the request due to internal processing errors.".to_owned();
        Self { code: "Receiver", subcode: "e:InternalError", reason, relates_to: "0".to_owned() }
    }

    /// A class or instance that this firmware does not have; the text is the recorded one.
    #[must_use]
    pub fn no_route() -> Self {
        let reason =
            "No route can be determined to reach the destination role defined by the WSAddressing To.";
        Self::sender("b:DestinationUnreachable", reason)
    }

    /// A body that does not fit its action.
    #[must_use]
    pub fn schema(reason: impl Into<String>) -> Self {
        Self::sender("e:SchemaValidationError", reason)
    }
}

impl Request {
    /// Reads an envelope.
    ///
    /// # Errors
    /// When it is no SOAP 1.2 envelope, or has no resource and action to know it by.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        let unreadable = |reason: &str| Rejection::schema(reason);
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("The message is not UTF-8."))?;
        let text = text.trim_start_matches('\u{feff}');
        let options = ParsingOptions { allow_dtd: false, nodes_limit: 4096, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|_| unreadable("The message is not XML."))?;
        let envelope = document.root_element();
        if !envelope.has_tag_name((ns::SOAP, "Envelope")) {
            return Err(unreadable("The message is not a SOAP 1.2 envelope."));
        }
        let child = |name| envelope.children().find(|node| node.has_tag_name((ns::SOAP, name)));
        let (Some(header), Some(body)) = (child("Header"), child("Body")) else {
            return Err(unreadable("The envelope has no header or no body."));
        };
        let resource = text_of(header, ns::WSMAN, "ResourceURI");
        let action = text_of(header, ns::ADDRESSING, "Action");
        let message_id = text_of(header, ns::ADDRESSING, "MessageID").unwrap_or_default();
        let missing = |name: &str| {
            let mut rejection = Rejection::sender(
                "b:MessageInformationHeaderRequired",
                format!("The header {name} is missing."),
            );
            rejection.relates_to.clone_from(&message_id);
            rejection
        };
        let resource = resource.ok_or_else(|| missing("ResourceURI"))?;
        let action = action.ok_or_else(|| missing("Action"))?;
        let class =
            resource.rsplit('/').next().filter(|class| is_name(class)).unwrap_or("unknown").to_owned();
        let operation = Operation::of(&action, &resource);
        let selectors = selectors(header);
        let mut elements = body.children().filter(Node::is_element);
        let (first, second) = (elements.next(), elements.next());
        let mut problem = header_problem(header, selectors.as_ref(), &missing);
        if second.is_some() {
            problem = problem.or_else(|| Some(Rejection::schema("The body has more than one element.")));
        }
        let (selectors, input) = (selectors.unwrap_or_default(), first.map(input));
        Ok(Self { resource, class, operation, action, message_id, selectors, input, problem })
    }

    /// Whether the header is as DSP0226 and AMT want it.
    ///
    /// # Errors
    /// The first problem found.
    pub fn check(&self) -> Result<(), Rejection> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// The text of a child of the body's element, if it is there once and in the class's namespace.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// What a child of the body's element refers to, under the same conditions.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<&Reference> {
        self.child(name)?.reference.as_ref()
    }

    fn child(&self, name: &str) -> Option<&Child> {
        let mut found = self.input.as_ref()?.children.iter().filter(|child| child.name == name);
        let child = found.next()?;
        (child.namespace == self.resource && found.next().is_none()).then_some(child)
    }
}

fn header_problem(
    header: Node<'_, '_>,
    selectors: Option<&Vec<(String, String)>>,
    missing: &dyn Fn(&str) -> Rejection,
) -> Option<Rejection> {
    for name in ["To", "MessageID", "ReplyTo"] {
        if !header.children().any(|node| node.has_tag_name((ns::ADDRESSING, name))) {
            return Some(missing(name));
        }
    }
    let (to, id) = (text_of(header, ns::ADDRESSING, "To"), text_of(header, ns::ADDRESSING, "MessageID"));
    if to.is_none_or(|to| to.is_empty()) || id.is_none_or(|id| id.is_empty()) {
        return Some(missing("To or MessageID"));
    }
    let reply_to = header.children().find(|node| node.has_tag_name((ns::ADDRESSING, "ReplyTo")));
    if reply_to.and_then(|node| text_of(node, ns::ADDRESSING, "Address")).as_deref() != Some(ns::ANONYMOUS) {
        return Some(Rejection::sender(
            "e:UnsupportedFeature",
            "Only the anonymous ReplyTo address is supported.",
        ));
    }
    if selectors.is_none() {
        return Some(Rejection::sender("e:InvalidSelectors", "A selector has no name or is given twice."));
    }
    for node in header.children().filter(Node::is_element) {
        let (namespace, name) = (node.tag_name().namespace().unwrap_or(""), node.tag_name().name());
        let must = matches!(node.attribute((ns::SOAP, "mustUnderstand")), Some("true" | "1"));
        let text = node.text().unwrap_or("").trim();
        let known = match (namespace, name) {
            (ns::ADDRESSING, "Action" | "To" | "MessageID" | "ReplyTo" | "From" | "FaultTo") => true,
            (ns::WSMAN, "ResourceURI" | "SelectorSet" | "Locale" | "RequestTotalItemsCountEstimate") => true,
            (ns::WSMAN, "OperationTimeout") if !is_duration(text) => {
                return Some(Rejection::sender(
                    "e:InvalidOptions",
                    "The operation timeout is not a duration.",
                ));
            }
            // IRG: a smaller envelope than AMT may need is refused.
            (ns::WSMAN, "MaxEnvelopeSize") if text.parse().unwrap_or(0) < 50_000_u64 => {
                return Some(Rejection::sender("e:EncodingLimit", "MaxEnvelopeSize must be 50000 or more."));
            }
            (ns::WSMAN, "OperationTimeout" | "MaxEnvelopeSize") => true,
            _ => false,
        };
        if must && !known {
            return Some(Rejection {
                code: "MustUnderstand",
                ..Rejection::sender("", "A header is not understood.")
            });
        }
    }
    None
}

/// Selectors by name; `None` when one has no name or a name comes twice.
fn selectors(header: Node<'_, '_>) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let sets = header.children().filter(|node| node.has_tag_name((ns::WSMAN, "SelectorSet")));
    for node in sets.flat_map(|set| set.children()).filter(Node::is_element) {
        let name = node.attribute("Name").filter(|_| node.has_tag_name((ns::WSMAN, "Selector")))?;
        if found.iter().any(|(known, _)| known == name) {
            return None;
        }
        // A key that is a reference is known by the one key of what it refers to.
        let inner = node.descendants().skip(1).find(|inner| inner.has_tag_name((ns::WSMAN, "Selector")));
        found.push((name.to_owned(), inner.unwrap_or(node).text().unwrap_or("").to_owned()));
    }
    Some(found)
}

fn input(node: Node<'_, '_>) -> Input {
    let names = |node: Node<'_, '_>| {
        (node.tag_name().namespace().unwrap_or("").to_owned(), node.tag_name().name().to_owned())
    };
    let (namespace, name) = names(node);
    let plain = |node: Node<'_, '_>, children| {
        let (namespace, name) = names(node);
        let text = node.text().unwrap_or("").to_owned();
        Child { namespace, name, text, reference: Reference::of(node), children }
    };
    let children = node.children().filter(Node::is_element).map(|child| {
        let inner = child.children().filter(Node::is_element);
        plain(child, inner.map(|inner| plain(inner, Vec::new())).collect())
    });
    Input { namespace, name, children: children.collect() }
}

fn text_of(parent: Node<'_, '_>, namespace: &str, name: &str) -> Option<String> {
    let node = parent.children().find(|node| node.has_tag_name((namespace, name)))?;
    Some(node.text().unwrap_or("").trim().to_owned())
}

/// Names come from foreign bytes and go into files: ASCII letters, digits and underscores, 64 at most.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `PT60S`, `PT1M30.5S`: the time part of xs:duration.
fn is_duration(text: &str) -> bool {
    let Some(time) = text.strip_prefix("PT").filter(|time| time.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return false;
    };
    time.ends_with(['H', 'M', 'S']) && time.bytes().all(|b| b.is_ascii_digit() || b".HMS".contains(&b))
}
