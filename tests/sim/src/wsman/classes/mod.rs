//! The classes that this firmware has. Here is what is the same for all of them: finding the class and the instance,
//! the verbs, and strict bodies. Each file beside this one has the classes of one subject.

mod body;
mod features;
mod identity;
mod keys;
mod network;
mod power_scheme;
mod references;
mod wifi;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reply::escaped;
use super::{Operation, Rejection, Request, ns};
use crate::amt::Amt;
use crate::chance::random;
use crate::digest::Account;
use crate::profile::Facts;

/// Carries a request out and gives the answer's body.
///
/// # Errors
/// The fault to answer with; then nothing has changed.
pub(super) fn carry_out(
    request: &Request,
    amt: &mut Amt,
    facts: &Facts,
    account: Account,
) -> Result<String, Rejection> {
    let class = CLASSES.iter().copied().flatten();
    let mut class = class.filter(|class| request.resource == class.uri() && (class.present)(facts));
    let class = class.next().ok_or_else(Rejection::no_route)?;
    let mut call = Call { class, request, amt, facts };
    match &request.operation {
        Operation::Get => {
            call.empty()?;
            let at = call.selected()?;
            (class.on_read)(call.amt);
            call.shown(at)
        }
        Operation::Enumerate => call.enumerate(),
        Operation::Pull => call.pull(),
        Operation::Put => call.put(account),
        Operation::Create => {
            let create = class.create.ok_or_else(unsupported)?;
            call.administrator(account)?;
            call.is_instance()?;
            let selectors = create(&mut call)?;
            let reference = reference(class.base, class.name, &selectors);
            Ok(element("g", "ResourceCreated", &reference))
        }
        Operation::Delete => {
            let delete = class.delete.ok_or_else(unsupported)?;
            call.administrator(account)?;
            call.empty()?;
            if request.selectors.is_empty() {
                return Err(invalid_selectors());
            }
            let at = call.selected()?;
            delete(&mut call, at)?;
            Ok(String::new())
        }
        Operation::Method(name) => call.invoke(name, account),
        Operation::Unknown => Err(unsupported()),
    }
}

/// The body of a method's answer; `more` comes before the value.
#[must_use]
pub(super) fn return_value(method: &str, value: u32, more: &str) -> String {
    element("g", &format!("{method}_OUTPUT"), &format!("{more}<g:ReturnValue>{value}</g:ReturnValue>"))
}

static CLASSES: [&[Class]; 7] = [
    &identity::CLASSES,
    &features::CLASSES,
    &network::CLASSES,
    &keys::CLASSES,
    &wifi::CLASSES,
    &power_scheme::CLASSES,
    &references::CLASSES,
];

/// One class.
struct Class {
    base: &'static str,
    name: &'static str,
    /// Whether this machine's firmware has it at all.
    present: fn(&Facts) -> bool,
    instances: fn(&Amt, &Facts) -> Vec<Instance>,
    /// What a Get or Pull does before it reads.
    on_read: fn(&mut Amt),
    put: Option<Change>,
    create: Option<Creation>,
    delete: Option<Change>,
    methods: &'static [Method],
}

/// Changes or deletes the instance at this place.
type Change = fn(&mut Call<'_>, usize) -> Result<(), Rejection>;
/// Makes an instance and gives its keys.
type Creation = fn(&mut Call<'_>) -> Result<Keys, Rejection>;

impl Class {
    /// A class that is always there and can only be read.
    const fn read_only(
        base: &'static str,
        name: &'static str,
        instances: fn(&Amt, &Facts) -> Vec<Instance>,
    ) -> Self {
        Self {
            base,
            name,
            present: |_| true,
            instances,
            on_read: |_| {},
            put: None,
            create: None,
            delete: None,
            methods: &[],
        }
    }

    fn uri(&self) -> String {
        format!("{}{}", self.base, self.name)
    }
}

/// One method of a class.
struct Method {
    name: &'static str,
    /// Its parameters: any other is a fault, and so is one that is missing, unless it is optional here.
    parameters: &'static [&'static str],
    /// Whether the local system account may call it.
    for_os_admin: bool,
    run: fn(&mut Call<'_>) -> Result<Output, Rejection>,
}

/// What a method gives back: its return value, and output parameters before it.
struct Output {
    value: u32,
    more: String,
}

impl From<u32> for Output {
    fn from(value: u32) -> Self {
        Self { value, more: String::new() }
    }
}

/// One instance. A selector must be one of its keys, with that value.
struct Instance {
    keys: Keys,
    leaves: Leaves,
}

type Keys = Vec<(&'static str, String)>;
type Leaves = Vec<(&'static str, Leaf)>;

/// An element of an instance.
#[derive(Clone)]
enum Leaf {
    Text(String),
    /// Whole elements, with the prefixes that answers have.
    Elements(String),
}

impl From<&str> for Leaf {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn leaves(table: &[(&'static str, &str)]) -> Leaves {
    table.iter().map(|(name, value)| (*name, (*value).into())).collect()
}

fn keys(table: &[(&'static str, &str)]) -> Keys {
    table.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

const AMT: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/";
const IPS: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/";
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";

const SYSTEM: (&str, &str) = ("SystemCreationClassName", "CIM_ComputerSystem");
const INTEL_AMT: (&str, &str) = ("SystemName", "Intel(r) AMT");

/// One call on one class.
struct Call<'a> {
    class: &'static Class,
    request: &'a Request,
    amt: &'a mut Amt,
    facts: &'a Facts,
}

/// Contexts are few and short-lived: the oldest gives way.
const MAX_ENUMERATIONS: usize = 4;

impl Call<'_> {
    /// The place of the instance that the selectors name; the first one when there are none (recorded).
    fn selected(&self) -> Result<usize, Rejection> {
        let instances = (self.class.instances)(self.amt, self.facts);
        // Generic clients name the CIM namespace, which is no key.
        let mut wanted =
            self.request.selectors.iter().filter(|(name, _)| name != "__cimnamespace").peekable();
        if instances.is_empty() && wanted.peek().is_none() {
            return Err(Rejection::no_route());
        }
        let wanted: Vec<_> = wanted.collect();
        let fits = |instance: &Instance| {
            wanted
                .iter()
                .all(|(name, value)| instance.keys.iter().any(|(key, v)| key == name && same(v, value)))
        };
        instances.iter().position(fits).ok_or_else(invalid_selectors)
    }

    fn shown(&self, at: usize) -> Result<String, Rejection> {
        let instances = (self.class.instances)(self.amt, self.facts);
        let instance = instances.get(at).ok_or_else(Rejection::no_route)?;
        Ok(rendered("g", self.class.name, instance))
    }

    fn enumerate(&mut self) -> Result<String, Rejection> {
        let input = self.request.input.as_ref();
        if !input.is_some_and(|i| i.namespace == ns::ENUMERATION && i.name == "Enumerate") {
            return Err(Rejection::schema("The body of an Enumerate is wsen:Enumerate."));
        }
        let number = u32::from_be_bytes(random().map_err(|_| Rejection::internal())?);
        let context = format!("{number:08X}-0000-0000-0000-000000000000");
        if self.amt.enumerations.len() == MAX_ENUMERATIONS {
            self.amt.enumerations.remove(0);
        }
        self.amt.enumerations.push((context.clone(), self.class.name.to_owned()));
        Ok(element("g", "EnumerateResponse", &element("g", "EnumerationContext", &context)))
    }

    fn pull(&mut self) -> Result<String, Rejection> {
        let input = self.request.input.as_ref();
        let input = input.filter(|i| i.namespace == ns::ENUMERATION && i.name == "Pull");
        let input = input.ok_or_else(|| Rejection::schema("The body of a Pull is wsen:Pull."))?;
        let mut children = input.children.iter();
        let context =
            children.find(|child| child.namespace == ns::ENUMERATION && child.name == "EnumerationContext");
        let context = context.map(|child| child.text.trim()).unwrap_or_default();
        let class = self.class.name;
        let at = self.amt.enumerations.iter().position(|(known, of)| known == context && of == class);
        let invalid = || {
            Rejection::sender("g:InvalidEnumerationContext", "The supplied enumeration context is invalid.")
        };
        self.amt.enumerations.remove(at.ok_or_else(invalid)?);
        (self.class.on_read)(self.amt);
        let instances = (self.class.instances)(self.amt, self.facts);
        let mut items: String = instances.iter().map(|instance| rendered("h", class, instance)).collect();
        let derived = references::SUBCLASSES.iter().filter(|(of, _)| *of == class).map(|(_, name)| name);
        for class in derived.filter_map(|name| CLASSES.iter().copied().flatten().find(|it| it.name == *name))
        {
            for instance in (class.instances)(self.amt, self.facts) {
                let own = format!("<i:{0} xmlns:i=\"{1}\">", class.name, class.uri());
                items +=
                    &rendered("i", class.name, &instance).replacen(&format!("<i:{}>", class.name), &own, 1);
            }
        }
        let items = element("g", "Items", &items);
        Ok(element("g", "PullResponse", &(items + "<g:EndOfSequence></g:EndOfSequence>")))
    }

    fn put(&mut self, account: Account) -> Result<String, Rejection> {
        let put = self.class.put.ok_or_else(unsupported)?;
        self.administrator(account)?;
        self.is_instance()?;
        let count = (self.class.instances)(self.amt, self.facts).len();
        if count > 1 && self.request.selectors.is_empty() {
            return Err(invalid_selectors()); // several instances: which one? (reference/amt.md 4.3)
        }
        let at = self.selected()?;
        put(self, at)?;
        self.shown(at)
    }

    fn invoke(&mut self, name: &str, account: Account) -> Result<String, Rejection> {
        let method = self.class.methods.iter().find(|method| method.name == name).ok_or_else(unsupported)?;
        self.selected()?;
        let input = self.request.input.as_ref().filter(|input| {
            input.namespace == self.request.resource && input.name == format!("{name}_INPUT")
        });
        let input = input.ok_or_else(|| Rejection::schema("The body is not this method's input."))?;
        if !input.children.iter().all(|child| method.parameters.contains(&child.name.as_str())) {
            return Err(Rejection::schema("The method has no such parameter."));
        }
        // In the order that the class declares them, as a schema's sequence has it.
        let mut declared = method.parameters.iter();
        if !input.children.iter().all(|child| declared.any(|name| *name == child.name)) {
            return Err(Rejection::schema("The parameters are out of order, or one comes twice."));
        }
        if !method.for_os_admin {
            self.administrator(account)?;
        }
        let output = (method.run)(self)?;
        Ok(return_value(name, output.value, &output.more))
    }

    fn administrator(&self, account: Account) -> Result<(), Rejection> {
        match account {
            Account::Admin => Ok(()),
            Account::OsAdmin => Err(denied("The account lacks the realm of this operation.")),
        }
    }

    fn empty(&self) -> Result<(), Rejection> {
        match self.request.input {
            None => Ok(()),
            Some(_) => Err(Rejection::schema("The body of this action is empty.")),
        }
    }

    /// Whether the body is an instance of the class.
    fn is_instance(&self) -> Result<(), Rejection> {
        let input = self.request.input.as_ref();
        let fits = input.is_some_and(|input| {
            input.namespace == self.request.resource
                && input.name == self.class.name
                && input.children.iter().all(|child| child.namespace == self.request.resource)
        });
        if fits { Ok(()) } else { Err(Rejection::schema("The body is not an instance of the class.")) }
    }

    fn parameter(&self, name: &str) -> Result<&str, Rejection> {
        let missing = || Rejection::schema(format!("The parameter {name} is missing or doubled."));
        self.request.parameter(name).ok_or_else(missing)
    }

    /// A parameter in base64; `None` when it is none.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Rejection> {
        Ok(STANDARD.decode(self.parameter(name)?.trim()).ok())
    }

    fn boolean(&self, name: &str) -> Result<bool, Rejection> {
        truth(self.parameter(name)?).ok_or_else(|| Rejection::schema(format!("{name} is no boolean.")))
    }

    fn number(&self, name: &str) -> Result<u32, Rejection> {
        let text = self.parameter(name)?.trim();
        text.parse().map_err(|_| Rejection::schema(format!("{name} is no number.")))
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Keys compare as they are, but that firmware takes two spellings of one name (`reference/amt.md` 4.3).
fn same(key: &str, selector: &str) -> bool {
    key == selector || key == ENDPOINTS && selector == ENDPOINTS_AS_SENT
}

/// The collection's name in answers.
const ENDPOINTS: &str = "TLSProtocolEndpoint Instances Collection";
/// The collection's name as every client sends it.
const ENDPOINTS_AS_SENT: &str = "TLSProtocolEndpointInstances Collection";

fn rendered(prefix: &str, name: &str, instance: &Instance) -> String {
    let leaf = |(name, leaf): &(&str, Leaf)| match leaf {
        Leaf::Text(text) => element(prefix, name, &escaped(text)),
        Leaf::Elements(elements) => element(prefix, name, elements),
    };
    element(prefix, name, &instance.leaves.iter().map(leaf).collect::<String>())
}

fn element(prefix: &str, name: &str, content: &str) -> String {
    format!("<{prefix}:{name}>{content}</{prefix}:{name}>")
}

/// An endpoint reference's content.
fn reference(base: &str, class: &str, selectors: &[(&str, String)]) -> String {
    let selectors: String = selectors
        .iter()
        .map(|(name, value)| format!("<c:Selector Name=\"{name}\">{}</c:Selector>", escaped(value)))
        .collect();
    format!(
        "<b:Address>{}</b:Address><b:ReferenceParameters><c:ResourceURI>{base}{class}</c:ResourceURI>\
         <c:SelectorSet>{selectors}</c:SelectorSet></b:ReferenceParameters>",
        ns::ANONYMOUS
    )
}

fn unsupported() -> Rejection {
    Rejection::sender("b:ActionNotSupported", "The action is not supported by the service.")
}

fn invalid_selectors() -> Rejection {
    Rejection::sender("e:InvalidSelectors", "The selectors do not match an instance.")
}

fn denied(reason: &str) -> Rejection {
    Rejection::sender("e:AccessDenied", reason)
}
