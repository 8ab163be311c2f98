//! In which power states of the machine AMT stays on (`reference/amt.md` 0, fields of AMT_SystemPowerScheme recorded).
//!
//! Which scheme is in force is not in the scheme: the association CIM_ElementSettingData marks it.

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method, Reference};

/// Resource URI of AMT_SystemPowerScheme.
pub const SYSTEM_POWER_SCHEME: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SystemPowerScheme";
/// Resource URI of CIM_ElementSettingData.
pub const ELEMENT_SETTING_DATA: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ElementSettingData";

/// Puts a scheme in force, named as `SCHEME 1`. The method takes no parameter: the instance is the one meant.
pub fn set_power_scheme(instance: &str) -> Method<'_, ()> {
    Method::repeatable(SYSTEM_POWER_SCHEME, "SetPowerScheme", Vec::new()).of("InstanceID", instance)
}

/// What a scheme means for AMT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// On while the machine runs, and at no other time.
    HostOn,
    /// On, or woken from the network, in every state down to soft off.
    Always,
}

impl SystemPowerScheme {
    /// What the scheme means; `None` for one between the two, or one that says it in words not known here. Firmware
    /// tells it in English: `Mobile: ON in S0`, `Desktop: ON in S0, ME Wake in S3, S4-5`.
    pub fn stays(&self) -> Option<Stays> {
        let text = self.description.as_deref()?.to_ascii_uppercase();
        let words = || text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let names = |states: &[&str]| words().any(|word| states.contains(&word));
        if !names(&["S0"]) {
            return None;
        }
        match (names(&["S3", "S4"]), names(&["S5", "S4-5", "S4-S5"])) {
            (_, true) => Some(Stays::Always),
            (false, false) => Some(Stays::HostOn),
            (true, false) => None,
        }
    }
}

impl ElementSettingData {
    /// `InstanceID` of the power scheme, where this association marks one as the one in force.
    pub fn current_power_scheme(&self) -> Option<&str> {
        let setting = self.setting_data.as_ref().filter(|it| it.is_of(SYSTEM_POWER_SCHEME))?;
        (self.is_current == Some(1)).then(|| setting.instance_id()).flatten()
    }
}

/// AMT_SystemPowerScheme: one of the schemes that this machine offers. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_SystemPowerScheme", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SystemPowerScheme"})]
pub struct SystemPowerScheme {
    /// What it means, in English.
    #[yaserde(rename = "Description", prefix = "g")]
    pub description: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// `SCHEME 0` and so on.
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// Base64 of 16 bytes.
    #[yaserde(rename = "SchemeGUID", prefix = "g")]
    pub scheme_guid: Option<String>,
}

impl Class for SystemPowerScheme {
    const RESOURCE: &'static str = SYSTEM_POWER_SCHEME;
    const NAME: &'static str = "AMT_SystemPowerScheme";
    const ARRAYS: &'static [&'static str] = &[];
}

/// CIM_ElementSettingData: which settings an element has, and which of them are in force.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_ElementSettingData", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ElementSettingData"})]
pub struct ElementSettingData {
    /// 1: in force, 2: not.
    #[yaserde(rename = "IsCurrent", prefix = "g")]
    pub is_current: Option<u32>,
    /// The element.
    #[yaserde(rename = "ManagedElement", prefix = "g")]
    pub managed_element: Option<Reference>,
    /// The settings.
    #[yaserde(rename = "SettingData", prefix = "g")]
    pub setting_data: Option<Reference>,
}

impl Class for ElementSettingData {
    const RESOURCE: &'static str = ELEMENT_SETTING_DATA;
    const NAME: &'static str = "CIM_ElementSettingData";
    const ARRAYS: &'static [&'static str] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_by_the_states_that_they_name() {
        for (text, meaning) in [
            ("Mobile: ON in S0", Some(Stays::HostOn)),
            ("Desktop: ON in S0", Some(Stays::HostOn)),
            ("Mobile: ON in S0, ME Wake in S3, S4-5 (AC only)", Some(Stays::Always)),
            ("Desktop: ON in S0, ME Wake in S3, S4-5", Some(Stays::Always)),
            ("Desktop: ON in S0, S3, S4-5", Some(Stays::Always)),
            ("Desktop: ON in S0, S3", None),
            ("Desktop: ON in S0, ME Wake in S3", None),
            ("Desktop: ON in S0, S4", None),
            ("on in s0", Some(Stays::HostOn)),
            ("Balanced", None),
            ("S05", None),
            ("", None),
        ] {
            let scheme = SystemPowerScheme {
                description: Some(text.to_owned()),
                element_name: None,
                instance_id: None,
                scheme_guid: None,
            };
            assert_eq!(scheme.stays(), meaning, "{text}");
        }
    }
}
