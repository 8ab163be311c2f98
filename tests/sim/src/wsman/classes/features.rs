//! What an administrator switches: clock, redirection, KVM, consent, power.

use super::body::{Kind, Rule, property, read};
use super::identity::service;
use super::{
    AMT, CIM, Call, Class, INTEL_AMT, IPS, Instance, Leaf, Method, Output, SYSTEM, denied, element, keys,
    leaves, reference,
};
use crate::amt::Amt;
use crate::features::{CONSENT_ALL, Consent, Values, kvm_state};
use crate::profile::Facts;
use crate::wsman::Rejection;

pub(super) static CLASSES: [Class; 6] = [
    Class { methods: &CLOCK, ..Class::read_only(AMT, "AMT_TimeSynchronizationService", clock) },
    Class {
        put: Some(put_redirection),
        methods: &REDIRECTION,
        ..Class::read_only(AMT, "AMT_RedirectionService", redirection)
    },
    Class { present: Facts::has_kvm, methods: &KVM, ..Class::read_only(CIM, "CIM_KVMRedirectionSAP", kvm) },
    Class { put: Some(put_consent), ..Class::read_only(IPS, "IPS_OptInService", consent) },
    // Its keys are two references; a Get without selectors is what clients send and firmware answers.
    Class::read_only(CIM, "CIM_AssociatedPowerManagementService", associated_power),
    Class { methods: &POWER, ..Class::read_only(CIM, POWER_SERVICE, power) },
];

const POWER_SERVICE: &str = "CIM_PowerManagementService";
const POWER_NAME: &str = "Intel(r) AMT Power Management Service";

/// What a machine that is on can be asked for (recorded); one that is off can be asked to go on.
const WHEN_ON: [u32; 8] = [10, 8, 5, 11, 4, 7, 14, 12];
const WHEN_OFF: [u32; 1] = [2];

fn power_states(amt: &Amt) -> &'static [u32] {
    if amt.features.power == 2 { &WHEN_ON } else { &WHEN_OFF }
}

static POWER: [Method; 1] = [Method {
    name: "RequestPowerStateChange",
    parameters: &["PowerState", "ManagedElement", "Time", "TimeoutPeriod"],
    for_os_admin: false,
    run: |call| {
        let state = call.number("PowerState")?;
        let managed = call.request.reference("ManagedElement");
        if managed.is_none_or(|managed| managed.resource != format!("{CIM}CIM_ComputerSystem")) {
            return Err(Rejection::schema("ManagedElement refers to no CIM_ComputerSystem."));
        }
        if !power_states(call.amt).contains(&state) {
            return Ok(INVALID_PARAMETER.into());
        }
        // Sleep, hibernation and off stay; resets and cycles end with the machine on.
        call.amt.features.power = match state {
            4 | 7 | 8 | 12 => state,
            _ => 2,
        };
        Ok(0.into())
    },
}];

fn power(_: &Amt, _: &Facts) -> Vec<Instance> {
    let own = [("ElementName", POWER_NAME), ("EnabledState", "5"), ("RequestedState", "12")];
    service(POWER_SERVICE, POWER_NAME, &own)
}

static CLOCK: [Method; 2] = [
    Method {
        name: "GetLowAccuracyTimeSynch",
        parameters: &[],
        for_os_admin: false,
        run: |call| Ok(Output { value: 0, more: element("g", "Ta0", &call.amt.clock.now().to_string()) }),
    },
    Method {
        name: "SetHighAccuracyTimeSynch",
        parameters: &["Ta0", "Tm1", "Tm2"],
        for_os_admin: false,
        run: |call| {
            let (sent, received, returned) = (call.number("Ta0")?, call.number("Tm1")?, call.number("Tm2")?);
            call.amt.clock.set(sent.into(), received.into(), returned.into());
            Ok(0.into())
        },
    },
];

/// CIM's return value for a state that cannot be asked for.
const INVALID_PARAMETER: u32 = 5;

static REDIRECTION: [Method; 1] = [Method {
    name: "RequestStateChange",
    parameters: &["RequestedState", "TimeoutPeriod"],
    for_os_admin: false,
    run: |call| {
        let state = call.number("RequestedState")?;
        if !(32768..=32771).contains(&state) {
            return Ok(INVALID_PARAMETER.into());
        }
        call.amt.features.redirection = state;
        Ok(0.into())
    },
}];

static KVM: [Method; 1] = [Method {
    name: "RequestStateChange",
    parameters: &["RequestedState", "TimeoutPeriod"],
    for_os_admin: false,
    run: |call| {
        let state = call.number("RequestedState")?;
        if !(2..=3).contains(&state) {
            return Ok(INVALID_PARAMETER.into());
        }
        call.amt.features.kvm = state == 2;
        Ok(0.into())
    },
}];

fn clock(_: &Amt, _: &Facts) -> Vec<Instance> {
    let own = [
        ("ElementName", "Intel(r) AMT Time Synchronization Service"),
        ("EnabledState", "5"),
        ("LocalTimeSyncEnabled", "0"),
        ("RequestedState", "12"),
        ("TimeSource", "0"),
    ];
    service("AMT_TimeSynchronizationService", "Intel(r) AMT Time Synchronization Service", &own)
}

fn redirection(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let own = [
        ("ElementName", "Intel(r) AMT Redirection Service"),
        ("EnabledState", &amt.features.redirection.to_string()),
        ("ListenerEnabled", if amt.features.listener { "true" } else { "false" }),
    ];
    service("AMT_RedirectionService", "Intel(r) AMT Redirection Service", &own)
}

fn put_redirection(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let table = [
        property("CreationClassName", Rule::Echo, Kind::Text),
        property("ElementName", Rule::Echo, Kind::Text),
        property("EnabledState", Rule::Required, Kind::Number),
        property("ListenerEnabled", Rule::Required, Kind::Boolean),
        property("Name", Rule::Echo, Kind::Text),
        property("SystemCreationClassName", Rule::Echo, Kind::Text),
        property("SystemName", Rule::Echo, Kind::Text),
    ];
    let values = read(call, &table, &redirection(call.amt, call.facts)[at].leaves)?;
    let state = number(&values, "EnabledState");
    if !(32768..=32771).contains(&state) {
        return Err(Rejection::schema("EnabledState is none of 32768 to 32771."));
    }
    (call.amt.features.redirection, call.amt.features.listener) =
        (state, is_true(&values, "ListenerEnabled"));
    Ok(())
}

fn kvm(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let state = kvm_state(amt.features.kvm, facts.firmware).to_string();
    let (class, name) = ("CIM_KVMRedirectionSAP", "KVM Redirection Service Access Point");
    let named = [("CreationClassName", class), ("Name", name), SYSTEM, ("SystemName", "ManagedSystem")];
    let leaves = leaves(&[
        ("CreationClassName", class),
        ("ElementName", name),
        ("EnabledState", &state),
        ("KVMProtocol", "4"),
        ("Name", name),
        ("RequestedState", if amt.features.kvm { "2" } else { "3" }),
        SYSTEM,
        ("SystemName", "ManagedSystem"),
    ]);
    vec![Instance { keys: keys(&named), leaves }]
}

fn consent(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let Consent { required, code_timeout, display_timeout } = amt.features.consent;
    let own = [
        ("CanModifyOptInPolicy", if amt.can_modify_consent() { "1" } else { "0" }),
        ("ElementName", "Intel(r) AMT OptIn Service"),
        ("OptInCodeTimeout", &code_timeout.to_string()),
        ("OptInDisplayTimeout", &display_timeout.to_string()),
        ("OptInRequired", &required.to_string()),
        ("OptInState", "0"),
    ];
    service("IPS_OptInService", "Intel(r) AMT OptIn Service", &own)
}

fn put_consent(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let table = [
        property("CanModifyOptInPolicy", Rule::ReadOnly, Kind::Number),
        property("CreationClassName", Rule::Echo, Kind::Text),
        property("ElementName", Rule::Echo, Kind::Text),
        property("Name", Rule::Echo, Kind::Text),
        property("OptInCodeTimeout", Rule::Required, Kind::Number),
        property("OptInDisplayTimeout", Rule::Required, Kind::Number),
        property("OptInRequired", Rule::Required, Kind::Number),
        property("OptInState", Rule::ReadOnly, Kind::Number),
        property("SystemCreationClassName", Rule::Echo, Kind::Text),
        property("SystemName", Rule::Echo, Kind::Text),
    ];
    let values = read(call, &table, &consent(call.amt, call.facts)[at].leaves)?;
    let required = number(&values, "OptInRequired");
    if !matches!(required, 0 | 1 | CONSENT_ALL) {
        return Err(Rejection::schema("OptInRequired is none of 0, 1 and 4294967295."));
    }
    let (code_timeout, display_timeout) =
        (number(&values, "OptInCodeTimeout"), number(&values, "OptInDisplayTimeout"));
    if call.amt.set_consent(Consent { required, code_timeout, display_timeout }) {
        Ok(())
    } else {
        Err(denied("The consent policy cannot be changed in this control mode."))
    }
}

/// The number under this name; the table has made sure that there is one.
pub(super) fn number(values: &Values, name: &str) -> u32 {
    values.get(name).and_then(|values| values.first()?.parse().ok()).unwrap_or(0)
}

/// Whether there is a `true` under this name.
pub(super) fn is_true(values: &Values, name: &str) -> bool {
    values.get(name).is_some_and(|values| values.first().is_some_and(|value| value == "true"))
}

fn associated_power(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let states = power_states(amt).iter();
    let mut leaves: Vec<(&str, Leaf)> =
        states.map(|state| ("AvailableRequestedPowerStates", Leaf::Text(state.to_string()))).collect();
    leaves.push(("PowerState", Leaf::Text(amt.features.power.to_string())));
    let named = [("CreationClassName", POWER_SERVICE), ("Name", POWER_NAME), SYSTEM, INTEL_AMT];
    leaves.push(("ServiceProvided", Leaf::Elements(reference(CIM, POWER_SERVICE, &keys(&named)))));
    let user = keys(&[("CreationClassName", "CIM_ComputerSystem"), ("Name", "ManagedSystem")]);
    leaves.push(("UserOfService", Leaf::Elements(reference(CIM, "CIM_ComputerSystem", &user))));
    vec![Instance { keys: Vec::new(), leaves }]
}
