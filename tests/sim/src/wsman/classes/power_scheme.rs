//! The power schemes: in which states of the host AMT stays on, and the association that tells which one holds. The
//! method that puts one in force takes no parameter: its instance is the one that is meant.

use super::{
    AMT, CIM, Call, Class, Instance, Leaf, Method, Output, invalid_selectors, keys, leaves, reference,
};
use crate::amt::Amt;
use crate::profile::{Body, Facts};
use crate::wsman::Rejection;

pub(super) static CLASSES: [Class; 2] = [
    Class { methods: &METHODS, ..Class::read_only(AMT, SCHEME, schemes) },
    Class::read_only(CIM, "CIM_ElementSettingData", settings_of_elements),
];

const SCHEME: &str = "AMT_SystemPowerScheme";

/// Description and GUID. A laptop's are recorded; a desktop's have the same shape.
const MOBILE: [(&str, &str); 2] = [
    ("Mobile: ON in S0", "djmXEQtWUEOIcJgS85G1YA=="),
    ("Mobile: ON in S0, ME Wake in S3, S4-5 (AC only)", "MIAN7gnAeEOvKHhootu+Og=="),
];
const DESKTOP: [(&str, &str); 2] = [
    ("Desktop: ON in S0", "AAECAwQFBgcICQoLDA0ODw=="),
    ("Desktop: ON in S0, ME Wake in S3, S4-5", "EBESExQVFhcYGRobHB0eHw=="),
];

impl Facts {
    /// What the machine's power schemes are described as, and their GUIDs.
    #[must_use]
    pub fn power_schemes(&self) -> &'static [(&'static str, &'static str)] {
        if self.profile.body() == Body::WifiLaptop { &MOBILE } else { &DESKTOP }
    }
}

static METHODS: [Method; 1] =
    [Method { name: "SetPowerScheme", parameters: &[], for_os_admin: false, run: set_power_scheme }];

fn set_power_scheme(call: &mut Call<'_>) -> Result<Output, Rejection> {
    if call.request.selectors.is_empty() {
        return Err(invalid_selectors()); // several instances: which one?
    }
    call.amt.features.power_scheme = call.selected()?;
    Ok(0.into())
}

fn scheme_id(number: usize) -> String {
    format!("SCHEME {number}")
}

fn schemes(_: &Amt, facts: &Facts) -> Vec<Instance> {
    let instance = |(number, (description, guid)): (usize, &(&str, &str))| {
        let id = scheme_id(number);
        let leaves = leaves(&[
            ("Description", description),
            ("ElementName", "Intel(r) AMT Power Scheme"),
            ("InstanceID", &id),
            ("SchemeGUID", guid),
        ]);
        Instance { keys: keys(&[("InstanceID", &id), ("SchemeGUID", guid)]), leaves }
    };
    facts.power_schemes().iter().enumerate().map(instance).collect()
}

/// Of each scheme whether it holds (1) or not (2). Other settings are associated too, the general ones among them.
fn settings_of_elements(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let general = keys(&[("InstanceID", "Intel(r) AMT: General Settings")]);
    let mut found = vec![association("AMT_GeneralSettings", &general, true)];
    for (number, (_, guid)) in facts.power_schemes().iter().enumerate() {
        let named = keys(&[("InstanceID", &scheme_id(number)), ("SchemeGUID", guid)]);
        found.push(association(SCHEME, &named, number == amt.features.power_scheme));
    }
    found
}

fn association(class: &str, setting: &[(&'static str, String)], holds: bool) -> Instance {
    let system = keys(&[("CreationClassName", "CIM_ComputerSystem"), ("Name", "Intel(r) AMT")]);
    let leaves = vec![
        ("IsCurrent", if holds { "1" } else { "2" }.into()),
        ("ManagedElement", Leaf::Elements(reference(CIM, "CIM_ComputerSystem", &system))),
        ("SettingData", Leaf::Elements(reference(AMT, class, setting))),
    ];
    // Its keys are two references, which nobody selects by here.
    Instance { keys: Vec::new(), leaves }
}
