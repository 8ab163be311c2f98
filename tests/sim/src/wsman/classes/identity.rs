//! Who the device is and how it got into its mode: set-up, and the administrator's account.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{
    AMT, Call, Class, INTEL_AMT, IPS, Instance, Leaves, Method, Output, SYSTEM, element, keys, leaves,
};
use crate::amt::{Amt, Proof, control, status};
use crate::profile::Facts;
use crate::wsman::Rejection;

pub(super) static CLASSES: [Class; 3] = [
    Class {
        methods: &CONFIGURATION,
        ..Class::read_only(AMT, "AMT_SetupAndConfigurationService", configuration)
    },
    Class {
        methods: &SETUP,
        on_read: Amt::hand_out_nonce, // fresh with each read
        ..Class::read_only(IPS, "IPS_HostBasedSetupService", host_based_setup)
    },
    Class { methods: &ACCOUNTS, ..Class::read_only(AMT, "AMT_AuthorizationService", authorization) },
];

static CONFIGURATION: [Method; 5] = [
    Method { name: "Unprovision", parameters: &["ProvisioningMode"], for_os_admin: false, run: unprovision },
    Method {
        name: "PartialUnprovision",
        parameters: &[],
        for_os_admin: false,
        run: |call| Ok(call.amt.unprovision_partially().into()),
    },
    Method {
        name: "CommitChanges",
        parameters: &[],
        for_os_admin: false,
        run: |call| Ok(call.amt.commit().into()),
    },
    Method {
        name: "SetMEBxPassword",
        parameters: &["Password"],
        for_os_admin: false,
        run: |call| {
            let password = call.parameter("Password")?.to_owned();
            Ok(call.amt.set_mebx_password(&password).into())
        },
    },
    Method { name: "GetUuid", parameters: &[], for_os_admin: true, run: uuid },
];

static SETUP: [Method; 4] = [
    Method {
        name: "Setup",
        parameters: &["NetAdminPassEncryptionType", "NetworkAdminPassword"],
        for_os_admin: true,
        run: |call| {
            let kind = call.parameter("NetAdminPassEncryptionType")?.trim().to_owned();
            let password = call.parameter("NetworkAdminPassword")?.to_owned();
            Ok(call.amt.set_up(&kind, &password).into())
        },
    },
    Method {
        name: "AddNextCertInChain",
        parameters: &["NextCertificate", "IsLeafCertificate", "IsRootCertificate"],
        for_os_admin: true,
        run: |call| {
            // What is not base64 is no certificate either.
            let certificate = call.bytes("NextCertificate")?.unwrap_or_default();
            let (leaf, root) = (call.boolean("IsLeafCertificate")?, call.boolean("IsRootCertificate")?);
            Ok(call.amt.add_to_chain(&certificate, leaf, root).into())
        },
    },
    Method {
        name: "AdminSetup",
        parameters: &[
            "NetAdminPassEncryptionType",
            "NetworkAdminPassword",
            "McNonce",
            "SigningAlgorithm",
            "DigitalSignature",
        ],
        for_os_admin: true,
        run: |call| {
            let kind = call.parameter("NetAdminPassEncryptionType")?.trim().to_owned();
            let password = call.parameter("NetworkAdminPassword")?.to_owned();
            prove(call, |amt, proof| amt.set_up_as_admin(&kind, &password, proof))
        },
    },
    Method {
        name: "UpgradeClientToAdmin",
        parameters: &["McNonce", "SigningAlgorithm", "DigitalSignature"],
        for_os_admin: false,
        run: |call| prove(call, Amt::upgrade_to_admin),
    },
];

static ACCOUNTS: [Method; 3] = [
    Method {
        name: "SetAdminAclEntryEx",
        parameters: &["Username", "DigestPassword"],
        for_os_admin: false,
        run: |call| {
            let (user, digest) = (call.parameter("Username")?.to_owned(), call.bytes("DigestPassword")?);
            Ok(call.amt.set_admin_password(&user, &digest.unwrap_or_default()).into())
        },
    },
    Method {
        name: "GetAdminAclEntry",
        parameters: &[],
        for_os_admin: false,
        run: |_| Ok(Output { value: 0, more: element("g", "Username", "admin") }),
    },
    Method {
        name: "GetAdminAclEntryStatus",
        parameters: &[],
        for_os_admin: false,
        // Whoever can ask has a password of his own: before provisioning there is no administrator.
        run: |_| Ok(Output { value: 0, more: element("g", "IsDefault", "false") }),
    },
];

fn prove(call: &mut Call<'_>, enter: impl FnOnce(&mut Amt, &Proof<'_>) -> u32) -> Result<Output, Rejection> {
    let nonce = call.bytes("McNonce")?.unwrap_or_default();
    let algorithm = call.parameter("SigningAlgorithm")?.trim().to_owned();
    let signature = call.bytes("DigitalSignature")?.unwrap_or_default();
    let proof = Proof { nonce: &nonce, algorithm: &algorithm, signature: &signature };
    Ok(enter(call.amt, &proof).into())
}

fn unprovision(call: &mut Call<'_>) -> Result<Output, Rejection> {
    // 0 is in the vendor's sample, 1 is what clients send (`reference/amt.md` 5.13).
    let mode = call.number("ProvisioningMode")?;
    Ok(if mode <= 1 { call.amt.unprovision() } else { status::PARAMETER }.into())
}

fn uuid(call: &mut Call<'_>) -> Result<Output, Rejection> {
    Ok(Output { value: 0, more: element("g", "UUID", &STANDARD.encode(call.amt.uuid())) })
}

/// The leaves that every service has, around its own.
pub(super) fn service(
    class: &'static str,
    name: &'static str,
    own: &[(&'static str, &str)],
) -> Vec<Instance> {
    let named = [("CreationClassName", class), ("Name", name), SYSTEM, INTEL_AMT];
    let mut leaves: Leaves = leaves(&named);
    leaves.extend(own.iter().map(|(name, value)| (*name, (*value).into())));
    // In answers the leaves stand in the order of their names (recorded); equal names keep theirs.
    leaves.sort_by_key(|(name, _)| *name);
    vec![Instance { keys: keys(&named), leaves }]
}

fn configuration(amt: &Amt, _: &Facts) -> Vec<Instance> {
    // 1 ACM, 4 CCM (reference/amt.md 5.15). Before provisioning the references name no value: 1 here, so that
    // whoever reads this leaf without the state beside it is found out.
    let mode = if amt.control_mode == control::CLIENT { "4" } else { "1" };
    let state = amt.provisioning_state.to_string();
    let mut own = vec![
        ("ElementName", "Intel(r) AMT Setup and Configuration Service"),
        ("EnabledState", "5"),
        ("PasswordModel", "1"),
        ("ProvisioningMode", mode),
        ("ProvisioningServerOTP", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("ProvisioningState", &state),
        ("RequestedState", "12"),
        ("ZeroTouchConfigurationEnabled", "true"),
    ];
    // The recorded instance, long provisioned, has neither suffix: an empty one is left out.
    let suffixes = [("DhcpDNSSuffix", amt.dhcp_suffix()), ("TrustedDNSSuffix", amt.pki_suffix())];
    own.extend(suffixes.iter().filter(|(_, suffix)| !suffix.is_empty()));
    let class = "AMT_SetupAndConfigurationService";
    service(class, "Intel(r) AMT Setup and Configuration Service", &own)
}

fn host_based_setup(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let (chain, mode) = (amt.chain_status().to_string(), amt.control_mode.to_string());
    let nonce = STANDARD.encode(amt.nonce());
    let mut own: Vec<(&str, &str)> =
        amt.allowed_modes().iter().map(|mode| ("AllowedControlModes", *mode)).collect();
    own.extend([
        ("CertChainStatus", chain.as_str()),
        ("ConfigurationNonce", &nonce),
        ("CurrentControlMode", &mode),
        ("ElementName", "Intel(r) AMT Host Based Setup Service"),
    ]);
    service("IPS_HostBasedSetupService", "Intel(r) AMT Host Based Setup Service", &own)
}

fn authorization(_: &Amt, _: &Facts) -> Vec<Instance> {
    let own = [
        ("AllowHttpQopAuthOnly", "1"),
        ("ElementName", "Intel(r) AMT Authorization Service"),
        ("EnabledState", "5"),
        ("RequestedState", "12"),
    ];
    service("AMT_AuthorizationService", "Intel(r) AMT Authorization Service", &own)
}
