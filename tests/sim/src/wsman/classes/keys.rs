//! Keys, certificates, and what TLS does with them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::body::{Kind, Rule, property, read};
use super::features::is_true;
use super::identity::service;
use super::{
    AMT, Call, Class, ENDPOINTS, Instance, Keys, Leaf, Method, Output, denied, element, invalid_selectors,
    keys, leaves, reference, same,
};
use crate::amt::{Amt, status};
use crate::profile::Facts;
use crate::store::{LOCAL, REMOTE, TlsSettings};
use crate::wsman::Rejection;
use crate::x509::shown;

pub(super) static CLASSES: [Class; 6] = [
    Class { methods: &MANAGEMENT, ..Class::read_only(AMT, "AMT_PublicKeyManagementService", management) },
    Class { delete: Some(delete_key), ..Class::read_only(AMT, KEY_PAIR, key_pairs) },
    Class { delete: Some(delete_certificate), ..Class::read_only(AMT, CERTIFICATE, certificates) },
    Class {
        create: Some(create_context),
        put: Some(put_context),
        delete: Some(delete_context),
        ..Class::read_only(AMT, "AMT_TLSCredentialContext", contexts)
    },
    Class { put: Some(put_settings), ..Class::read_only(AMT, "AMT_TLSSettingData", settings) },
    Class::read_only(AMT, COLLECTION, |_, _| {
        let named = [("ElementName", ENDPOINTS)];
        vec![Instance { keys: keys(&named), leaves: leaves(&named) }]
    }),
];

const KEY_PAIR: &str = "AMT_PublicPrivateKeyPair";
const CERTIFICATE: &str = "AMT_PublicKeyCertificate";
const COLLECTION: &str = "AMT_TLSProtocolEndpointCollection";

static MANAGEMENT: [Method; 4] = [
    Method {
        name: "GenerateKeyPair",
        parameters: &["KeyAlgorithm", "KeyLength"],
        for_os_admin: false,
        run: |call| {
            // 0 is RSA.
            if (call.number("KeyAlgorithm")?, call.number("KeyLength")?) != (0, 2048) {
                return Ok(status::PARAMETER.into());
            }
            Ok(made("KeyPair", KEY_PAIR, key_name, call.amt.generate_key()))
        },
    },
    Method {
        name: "GeneratePKCS10RequestEx",
        parameters: &["KeyPair", "NullSignedCertificateRequest", "SigningAlgorithm"],
        for_os_admin: false,
        run: sign_request,
    },
    Method {
        name: "AddCertificate",
        parameters: &["CertificateBlob"],
        for_os_admin: false,
        run: |call| {
            let der = call.bytes("CertificateBlob")?.unwrap_or_default();
            Ok(made(
                "CreatedCertificate",
                CERTIFICATE,
                certificate_name,
                call.amt.store.add_certificate(&der),
            ))
        },
    },
    Method {
        name: "AddTrustedRootCertificate",
        parameters: &["CertificateBlob"],
        for_os_admin: false,
        run: |call| {
            let der = call.bytes("CertificateBlob")?.unwrap_or_default();
            Ok(made("CreatedCertificate", CERTIFICATE, certificate_name, call.amt.store.add_root(&der)))
        },
    },
];

fn key_name(handle: u32) -> String {
    format!("Intel(r) AMT Key: Handle: {handle}")
}

fn certificate_name(handle: u32) -> String {
    format!("Intel(r) AMT Certificate: Handle: {handle}")
}

/// The output of a method that makes something, or its status.
fn made(parameter: &str, class: &str, name: fn(u32) -> String, result: Result<u32, u32>) -> Output {
    match result {
        Ok(handle) => {
            let reference = reference(AMT, class, &[("InstanceID", name(handle))]);
            Output { value: 0, more: element("g", parameter, &reference) }
        }
        Err(status) => status.into(),
    }
}

fn sign_request(call: &mut Call<'_>) -> Result<Output, Rejection> {
    let handle = referred(call, "KeyPair", KEY_PAIR, key_name)?;
    let request = call.bytes("NullSignedCertificateRequest")?.unwrap_or_default();
    // 1 is SHA-256 with RSA.
    if call.number("SigningAlgorithm")? != 1 {
        return Ok(status::PARAMETER.into());
    }
    Ok(match call.amt.store.sign_request(handle.unwrap_or(u32::MAX), &request) {
        Ok(der) => Output { value: 0, more: element("g", "SignedCertificateRequest", &STANDARD.encode(der)) },
        Err(status) => status.into(),
    })
}

/// The handle of the instance that a child refers to; `None` when its name has no handle.
fn referred(
    call: &Call<'_>,
    child: &str,
    class: &str,
    name: fn(u32) -> String,
) -> Result<Option<u32>, Rejection> {
    let reference = call.request.reference(child).filter(|reference| {
        reference.resource == format!("{AMT}{class}")
            && matches!(reference.selectors.as_slice(), [(key, _)] if key == "InstanceID")
    });
    let reference = reference.ok_or_else(|| Rejection::schema(format!("{child} refers to no {class}.")))?;
    let id = &reference.selectors[0].1;
    let handle = id.rsplit(' ').next().and_then(|number| number.parse().ok());
    Ok(handle.filter(|handle| name(*handle) == *id))
}

fn management(_: &Amt, _: &Facts) -> Vec<Instance> {
    let own = [
        ("ElementName", "Intel(r) AMT Certificate Store Service"),
        ("EnabledDefault", "5"),
        ("EnabledState", "5"),
        ("RequestedState", "12"),
    ];
    service("AMT_PublicKeyManagementService", "Intel(r) AMT Public Key Management Service", &own)
}

fn key_pairs(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let instance = |(handle, key): (u32, &crate::rsa::KeyPair)| {
        let id = key_name(handle);
        let leaves = leaves(&[
            ("DERKey", &STANDARD.encode(&key.public)),
            ("ElementName", "Intel(r) AMT Key"),
            ("InstanceID", &id),
        ]);
        Instance { keys: keys(&[("InstanceID", &id)]), leaves }
    };
    amt.store.keys().map(instance).collect()
}

fn certificates(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let instance = |(handle, stored): (u32, &crate::store::Stored)| {
        let id = certificate_name(handle);
        let certificate = &stored.certificate;
        let mut leaves = leaves(&[
            ("ElementName", "Intel(r) AMT Certificate"),
            ("InstanceID", &id),
            ("Issuer", &shown(&certificate.issuer)),
            ("Subject", &shown(&certificate.subject)),
            ("TrustedRootCertficate", if stored.is_root { "true" } else { "false" }), // sic
            ("X509Certificate", &STANDARD.encode(&certificate.der)),
        ]);
        if facts.is_tls_only() {
            leaves.insert(3, ("ReadOnlyCertificate", if stored.is_own { "true" } else { "false" }.into()));
        }
        Instance { keys: keys(&[("InstanceID", &id)]), leaves }
    };
    amt.store.certificates().map(instance).collect()
}

fn delete_key(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let handle = call.amt.store.keys().nth(at).map(|(handle, _)| handle);
    match handle.is_some_and(|handle| call.amt.store.delete_key(handle)) {
        true => Ok(()),
        false => Err(denied("A certificate is for this key.")),
    }
}

fn delete_certificate(call: &mut Call<'_>, at: usize) -> Result<(), Rejection> {
    let handle = call.amt.store.certificates().nth(at).map(|(handle, _)| handle);
    match handle.is_some_and(|handle| call.amt.store.delete_certificate(handle)) {
        true => Ok(()),
        false => Err(denied("The certificate is in use or cannot be deleted.")),
    }
}

fn context_parts(handle: u32) -> [(&'static str, String); 2] {
    [
        ("ElementInContext", reference(AMT, CERTIFICATE, &[("InstanceID", certificate_name(handle))])),
        ("ElementProvidingContext", reference(AMT, COLLECTION, &[("ElementName", ENDPOINTS.to_owned())])),
    ]
}

fn contexts(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let instance = |handle| Instance {
        keys: keys(&[
            ("ElementInContext", &certificate_name(handle)),
            ("ElementProvidingContext", ENDPOINTS),
        ]),
        leaves: context_parts(handle).map(|(name, parts)| (name, Leaf::Elements(parts))).to_vec(),
    };
    amt.store.context().map(instance).into_iter().collect()
}

fn create_context(call: &mut Call<'_>) -> Result<Keys, Rejection> {
    let handle = context_of_body(call)?;
    if call.amt.store.context().is_some() {
        return Err(Rejection::sender("e:AlreadyExists", "The instance already exists."));
    }
    set_context(call, handle)?;
    Ok(vec![
        ("ElementInContext", certificate_name(handle)),
        ("ElementProvidingContext", ENDPOINTS.to_owned()),
    ])
}

fn put_context(call: &mut Call<'_>, _: usize) -> Result<(), Rejection> {
    let handle = context_of_body(call)?;
    set_context(call, handle)
}

fn delete_context(call: &mut Call<'_>, _: usize) -> Result<(), Rejection> {
    if call.amt.store.settings.iter().any(|settings| settings.enabled) {
        return Err(denied("TLS is enabled."));
    }
    call.amt.store.remove_context();
    Ok(())
}

/// The handle of the certificate that the body's context is for.
fn context_of_body(call: &Call<'_>) -> Result<u32, Rejection> {
    let children = call.request.input.as_ref().map_or(0, |input| input.children.len());
    let handle = referred(call, "ElementInContext", CERTIFICATE, certificate_name)?;
    let collection = call.request.reference("ElementProvidingContext").filter(|reference| {
        reference.resource == format!("{AMT}{COLLECTION}")
            && matches!(reference.selectors.as_slice(), [(key, name)] if key == "ElementName" && same(ENDPOINTS, name))
    });
    if collection.is_none() || children != 2 {
        return Err(Rejection::schema("The body is no context of a certificate and TLS."));
    }
    handle.ok_or_else(invalid_selectors)
}

fn set_context(call: &mut Call<'_>, handle: u32) -> Result<(), Rejection> {
    if call.amt.store.set_context(handle) { Ok(()) } else { Err(invalid_selectors()) }
}

const SIDES: [&str; 2] = ["Intel(r) AMT 802.3 TLS Settings", "Intel(r) AMT LMS TLS Settings"];

fn settings(amt: &Amt, facts: &Facts) -> Vec<Instance> {
    let instance = |(side, settings): (usize, &TlsSettings)| {
        let word = |value| if value { "true" } else { "false" };
        let mut leaves = leaves(&[
            ("AcceptNonSecureConnections", word(settings.accepts_cleartext)),
            ("ElementName", SIDES[side]),
            ("Enabled", word(settings.enabled)),
            ("InstanceID", SIDES[side]),
            ("MutualAuthentication", word(settings.mutual)),
        ]);
        if facts.is_tls_only() {
            leaves.push((
                "NonSecureConnectionsSupported",
                word(side == LOCAL && !facts.is_host_tls_only()).into(),
            ));
        }
        leaves.extend(settings.trusted_names.iter().map(|name| ("TrustedCN", name.as_str().into())));
        Instance { keys: keys(&[("InstanceID", SIDES[side])]), leaves }
    };
    amt.store.settings.iter().enumerate().map(instance).collect()
}

fn put_settings(call: &mut Call<'_>, side: usize) -> Result<(), Rejection> {
    // On the host's side cleartext cannot be switched off before AMT 19.
    let cleartext = if side == REMOTE { Rule::Required } else { Rule::Echo };
    let table = [
        property("AcceptNonSecureConnections", cleartext, Kind::Boolean),
        property("ElementName", Rule::Echo, Kind::Text),
        property("Enabled", Rule::Required, Kind::Boolean),
        property("InstanceID", Rule::Echo, Kind::Text),
        property("MutualAuthentication", Rule::Required, Kind::Boolean),
        property("NonSecureConnectionsSupported", Rule::ReadOnly, Kind::Boolean),
        property("TrustedCN", Rule::Optional, Kind::Texts),
    ];
    let values = read(call, &table, &settings(call.amt, call.facts)[side].leaves)?;
    let (enabled, mutual) = (is_true(&values, "Enabled"), is_true(&values, "MutualAuthentication"));
    let host_tls_only = call.facts.is_host_tls_only();
    let accepts_cleartext = side == LOCAL && !host_tls_only || is_true(&values, "AcceptNonSecureConnections");
    let tls_only = call.facts.is_tls_only() && side == REMOTE || host_tls_only;
    if tls_only && (accepts_cleartext || !enabled) {
        return Err(denied("This firmware speaks nothing but TLS here."));
    }
    if enabled && call.amt.store.context().is_none() {
        return Err(denied("TLS has no certificate."));
    }
    if mutual && !(enabled && call.amt.store.has_roots()) {
        return Err(denied("Mutual authentication needs TLS and a trusted root."));
    }
    let trusted_names = values.get("TrustedCN").cloned().unwrap_or_default();
    if !mutual && !trusted_names.is_empty() {
        return Err(Rejection::schema("TrustedCN goes with mutual authentication only."));
    }
    call.amt.store.settings[side] = TlsSettings { enabled, mutual, accepts_cleartext, trusted_names };
    call.amt.lose_address();
    Ok(())
}
