//! The classes that this firmware has, with their instances and methods. Leaf lists follow the recorded ones; the
//! values are this machine's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reply::escaped;
use super::{Operation, Rejection, Request, ns};
use crate::amt::{Amt, control, provisioning, status};
use crate::chance::random;
use crate::profile::Facts;

/// Carries out a request whose header is good, and gives the answer's body.
///
/// # Errors
/// The fault to answer with; then nothing has changed.
pub(super) fn carry_out(request: &Request, amt: &mut Amt, facts: &Facts) -> Result<String, Rejection> {
    let class = CLASSES.iter().find(|class| format!("{}{}", class.base, class.name) == request.resource);
    let class = class.ok_or_else(Rejection::no_route)?;
    class.check_selectors(&request.selectors)?;
    match &request.operation {
        Operation::Get => {
            if request.input.is_some() {
                return Err(Rejection::schema("The body of a Get is empty."));
            }
            Ok(class.instance("g", amt, facts)?)
        }
        Operation::Enumerate => enumerate(class, request, amt),
        Operation::Pull => pull(class, request, amt, facts),
        Operation::Method(method) => {
            let input = request.input.as_ref();
            let fits = |name: &str| input.is_some_and(|i| i.namespace == request.resource && i.name == name);
            if !fits(&format!("{method}_INPUT")) {
                return Err(Rejection::schema("The body is not this method's input."));
            }
            invoke(class.name, method, request, amt)
        }
        Operation::Put | Operation::Create | Operation::Delete | Operation::Unknown => Err(unsupported()),
    }
}

/// The body of a method's answer.
#[must_use]
pub(super) fn return_value(method: &str, value: u32) -> String {
    format!("<g:{method}_OUTPUT><g:ReturnValue>{value}</g:ReturnValue></g:{method}_OUTPUT>")
}

fn unsupported() -> Rejection {
    Rejection::sender("b:ActionNotSupported", "The action is not supported by the service.")
}

struct Class {
    base: &'static str,
    name: &'static str,
    /// The instance's keys: a selector must be one of them, with this value.
    keys: &'static [(&'static str, &'static str)],
}

const AMT: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/";
const IPS: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/";
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";

const SYSTEM: (&str, &str) = ("SystemCreationClassName", "CIM_ComputerSystem");
const INTEL_AMT: (&str, &str) = ("SystemName", "Intel(r) AMT");

static CLASSES: [Class; 4] = [
    Class {
        base: AMT,
        name: "AMT_GeneralSettings",
        keys: &[("InstanceID", "Intel(r) AMT: General Settings")],
    },
    Class {
        base: AMT,
        name: "AMT_SetupAndConfigurationService",
        keys: &[
            ("CreationClassName", "AMT_SetupAndConfigurationService"),
            ("Name", "Intel(r) AMT Setup and Configuration Service"),
            SYSTEM,
            INTEL_AMT,
        ],
    },
    Class {
        base: IPS,
        name: "IPS_HostBasedSetupService",
        keys: &[
            ("CreationClassName", "IPS_HostBasedSetupService"),
            ("Name", "Intel(r) AMT Host Based Setup Service"),
            SYSTEM,
            INTEL_AMT,
        ],
    },
    // Its keys are two references; a Get without selectors is what clients send and firmware answers.
    Class { base: CIM, name: "CIM_AssociatedPowerManagementService", keys: &[] },
];

impl Class {
    fn check_selectors(&self, selectors: &[(String, String)]) -> Result<(), Rejection> {
        for (name, value) in selectors {
            // Generic clients name the CIM namespace, which is no key.
            let known = name == "__cimnamespace"
                || self.keys.iter().any(|(key, wanted)| key == name && wanted == value);
            if !known {
                return Err(Rejection::sender(
                    "e:InvalidSelectors",
                    "The selectors do not match an instance.",
                ));
            }
        }
        Ok(())
    }

    fn instance(&self, prefix: &str, amt: &Amt, facts: &Facts) -> Result<String, Rejection> {
        let leaves = match self.name {
            "AMT_GeneralSettings" => general_settings(amt, facts),
            "AMT_SetupAndConfigurationService" => setup_and_configuration(amt),
            "IPS_HostBasedSetupService" => host_based_setup(amt)?,
            _ => return Ok(element(prefix, self.name, &associated_power(prefix))),
        };
        let leaves: String =
            leaves.iter().map(|(name, value)| element(prefix, name, &escaped(value))).collect();
        Ok(element(prefix, self.name, &leaves))
    }
}

fn element(prefix: &str, name: &str, content: &str) -> String {
    format!("<{prefix}:{name}>{content}</{prefix}:{name}>")
}

type Leaves = Vec<(&'static str, String)>;

fn leaves(table: &[(&'static str, &str)]) -> Leaves {
    table.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn general_settings(amt: &Amt, facts: &Facts) -> Leaves {
    let provisioned = amt.is_provisioned();
    let host = if provisioned { format!("example-{}", facts.serial.to_lowercase()) } else { String::new() };
    leaves(&[
        ("AMTNetworkEnabled", "1"),
        ("DDNSPeriodicUpdateInterval", "1440"),
        ("DDNSTTL", "900"),
        ("DDNSUpdateByDHCPServerEnabled", "true"),
        ("DDNSUpdateEnabled", "false"),
        ("DHCPSyncRequiresHostname", "1"),
        ("DHCPv6ConfigurationTimeout", "0"),
        ("DigestRealm", &amt.realm),
        ("DomainName", ""),
        ("ElementName", "Intel(r) AMT: General Settings"),
        ("HostName", &host),
        ("HostOSFQDN", ""),
        ("IdleWakeTimeout", "65535"),
        ("InstanceID", "Intel(r) AMT: General Settings"),
        ("NetworkInterfaceEnabled", if provisioned { "true" } else { "false" }),
        ("PingResponseEnabled", "true"),
        ("PowerSource", "0"),
        ("PreferredAddressFamily", "0"),
        ("PresenceNotificationInterval", "0"),
        ("PrivacyLevel", "0"),
        ("RmcpPingResponseEnabled", "true"),
        ("SharedFQDN", "true"),
        ("ThunderboltDockEnabled", "0"),
        ("WsmanOnlyMode", "false"),
    ])
}

fn setup_and_configuration(amt: &Amt) -> Leaves {
    // 1 ACM, 4 CCM (reference/amt.md 5.15). Before provisioning the references name no value: 1 here, so that
    // whoever reads this leaf without the state beside it is found out.
    let mode = if amt.control_mode == control::CLIENT { "4" } else { "1" };
    leaves(&[
        ("CreationClassName", "AMT_SetupAndConfigurationService"),
        ("ElementName", "Intel(r) AMT Setup and Configuration Service"),
        ("EnabledState", "5"),
        ("Name", "Intel(r) AMT Setup and Configuration Service"),
        ("PasswordModel", "1"),
        ("ProvisioningMode", mode),
        ("ProvisioningServerOTP", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("ProvisioningState", &amt.provisioning_state.to_string()),
        ("RequestedState", "12"),
        SYSTEM,
        INTEL_AMT,
        ("ZeroTouchConfigurationEnabled", "true"),
    ])
}

fn host_based_setup(amt: &Amt) -> Result<Leaves, Rejection> {
    let nonce = random::<20>().map_err(|_| Rejection::internal())?; // fresh with each Get
    Ok(leaves(&[
        ("AllowedControlModes", "2"),
        ("AllowedControlModes", "1"),
        ("CertChainStatus", "0"),
        ("ConfigurationNonce", &STANDARD.encode(nonce)),
        ("CreationClassName", "IPS_HostBasedSetupService"),
        ("CurrentControlMode", &amt.control_mode.to_string()),
        ("ElementName", "Intel(r) AMT Host Based Setup Service"),
        ("Name", "Intel(r) AMT Host Based Setup Service"),
        SYSTEM,
        INTEL_AMT,
    ]))
}

fn associated_power(prefix: &str) -> String {
    let mut out: String = ["10", "8", "5", "11", "4", "7", "14", "12"]
        .iter()
        .map(|state| element(prefix, "AvailableRequestedPowerStates", state))
        .collect();
    out += &element(prefix, "PowerState", "2");
    let service = [
        ("CreationClassName", "CIM_PowerManagementService"),
        ("Name", "Intel(r) AMT Power Management Service"),
        SYSTEM,
        INTEL_AMT,
    ];
    out += &element(prefix, "ServiceProvided", &reference("CIM_PowerManagementService", &service));
    let user = [("CreationClassName", "CIM_ComputerSystem"), ("Name", "ManagedSystem")];
    out + &element(prefix, "UserOfService", &reference("CIM_ComputerSystem", &user))
}

fn reference(class: &str, selectors: &[(&str, &str)]) -> String {
    let selectors: String = selectors
        .iter()
        .map(|(name, value)| format!("<c:Selector Name=\"{name}\">{}</c:Selector>", escaped(value)))
        .collect();
    format!(
        "<b:Address>{}</b:Address><b:ReferenceParameters><c:ResourceURI>{CIM}{class}</c:ResourceURI>\
         <c:SelectorSet>{selectors}</c:SelectorSet></b:ReferenceParameters>",
        ns::ANONYMOUS
    )
}

/// Contexts are few and short-lived: the oldest gives way.
const MAX_ENUMERATIONS: usize = 4;

fn enumerate(class: &Class, request: &Request, amt: &mut Amt) -> Result<String, Rejection> {
    if !request.input.as_ref().is_some_and(|i| i.namespace == ns::ENUMERATION && i.name == "Enumerate") {
        return Err(Rejection::schema("The body of an Enumerate is wsen:Enumerate."));
    }
    let number = u32::from_be_bytes(random().map_err(|_| Rejection::internal())?);
    let context = format!("{number:08X}-0000-0000-0000-000000000000");
    if amt.enumerations.len() == MAX_ENUMERATIONS {
        amt.enumerations.remove(0);
    }
    amt.enumerations.push((context.clone(), class.name.to_owned()));
    Ok(element("g", "EnumerateResponse", &element("g", "EnumerationContext", &context)))
}

fn pull(class: &Class, request: &Request, amt: &mut Amt, facts: &Facts) -> Result<String, Rejection> {
    let input = request.input.as_ref().filter(|i| i.namespace == ns::ENUMERATION && i.name == "Pull");
    let input = input.ok_or_else(|| Rejection::schema("The body of a Pull is wsen:Pull."))?;
    let context = input
        .children
        .iter()
        .find(|(space, name, _)| space == ns::ENUMERATION && name == "EnumerationContext");
    let context = context.map(|(_, _, text)| text.trim()).unwrap_or_default();
    let at = amt.enumerations.iter().position(|(known, of)| known == context && of == class.name);
    let invalid =
        || Rejection::sender("g:InvalidEnumerationContext", "The supplied enumeration context is invalid.");
    amt.enumerations.remove(at.ok_or_else(invalid)?);
    let items = element("g", "Items", &class.instance("h", amt, facts)?);
    Ok(element("g", "PullResponse", &(items + "<g:EndOfSequence></g:EndOfSequence>")))
}

fn invoke(class: &str, method: &str, request: &Request, amt: &mut Amt) -> Result<String, Rejection> {
    let only = |names: &[&str]| {
        let input = request.input.as_ref().map(|input| input.children.as_slice()).unwrap_or_default();
        match input.iter().all(|(_, name, _)| names.contains(&name.as_str())) {
            true => Ok(()),
            false => Err(Rejection::schema("The method has no such parameter.")),
        }
    };
    let wanted = |name| {
        request
            .parameter(name)
            .ok_or_else(|| Rejection::schema("A parameter of the method is missing or doubled."))
    };
    let value = match (class, method) {
        ("IPS_HostBasedSetupService", "Setup") => {
            only(&["NetAdminPassEncryptionType", "NetworkAdminPassword"])?;
            let (kind, password) = (wanted("NetAdminPassEncryptionType")?, wanted("NetworkAdminPassword")?);
            amt.set_up(kind.trim(), password)
        }
        ("AMT_SetupAndConfigurationService", "Unprovision") => {
            only(&["ProvisioningMode"])?;
            amt.unprovision()
        }
        ("AMT_SetupAndConfigurationService", "CommitChanges") => {
            only(&[])?;
            commit(amt)
        }
        ("AMT_SetupAndConfigurationService", "GetUuid") => {
            only(&[])?;
            let uuid = element("g", "UUID", &STANDARD.encode(amt.uuid()));
            return Ok(element("g", "GetUuid_OUTPUT", &(uuid + "<g:ReturnValue>0</g:ReturnValue>")));
        }
        _ => return Err(unsupported()),
    };
    Ok(return_value(method, value))
}

/// Before AMT 19 there is nothing to commit once provisioned (`reference/amt.md` 0, fact 4).
fn commit(amt: &Amt) -> u32 {
    if amt.provisioning_state == provisioning::POST { status::OK } else { status::WRONG_STATE }
}
