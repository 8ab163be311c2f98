//! The admin account of the network (`reference/amt.md` 5.5, 5.15).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method};
use crate::{digest::Ha1, verbs::Param};

/// Resource URI of AMT_AuthorizationService.
pub const AUTHORIZATION_SERVICE: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_AuthorizationService";

/// Makes `ha1` the password of its user. Here the hash goes as base64 of its 16 raw bytes, not as hex as in Setup. The
/// login of the present client ends with it.
pub fn set_admin_acl_entry_ex(ha1: &Ha1) -> Method<'_, ()> {
    let params =
        vec![Param::text("Username", ha1.user()), Param::secret("DigestPassword", ha1.acl_password_hash())];
    Method::once(AUTHORIZATION_SERVICE, "SetAdminAclEntryEx", params)
}

/// Reads the admin's user name.
pub fn get_admin_acl_entry<'a>() -> Method<'a, String> {
    Method::repeatable(AUTHORIZATION_SERVICE, "GetAdminAclEntry", Vec::new())
        .reading(|output| output.text("Username").map(str::to_owned))
}

/// Asks whether the admin's password is still the one from the factory.
pub fn get_admin_acl_entry_status<'a>() -> Method<'a, bool> {
    Method::repeatable(AUTHORIZATION_SERVICE, "GetAdminAclEntryStatus", Vec::new())
        .reading(|output| output.boolean("IsDefault"))
}

/// The same of the network's admin entry.
pub fn get_admin_net_acl_entry_status<'a>() -> Method<'a, bool> {
    Method::repeatable(AUTHORIZATION_SERVICE, "GetAdminNetAclEntryStatus", Vec::new())
        .reading(|output| output.boolean("IsDefault"))
}

/// AMT_AuthorizationService: accounts. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_AuthorizationService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_AuthorizationService"})]
pub struct AuthorizationService {
    /// 1: digest `auth` suffices, 0: `auth-int` wanted.
    #[yaserde(rename = "AllowHttpQopAuthOnly", prefix = "g")]
    pub allow_http_qop_auth_only: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for AuthorizationService {
    const RESOURCE: &'static str = AUTHORIZATION_SERVICE;
    const NAME: &'static str = "AMT_AuthorizationService";
    const ARRAYS: &'static [&'static str] = &[];
}
