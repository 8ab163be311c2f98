//! What AMT tells of its own openness: whom it trusts, who set it up, whom it calls. Facts, never opinions; texts are
//! foreign (reference/amt.md 2.2, 5.0).

use std::collections::BTreeMap;

use oob_policy::{Fact, Value};
use oob_wsman::pthi::{
    CertificateHash, HashAlgorithm, LanSettings, RemoteAccessStatus, SetupAuditRecord, TunnelState,
};

use super::amt::Failure;

const HASHES: &str = "intel.amt.hashes";
const PKI_SUFFIX: &str = "intel.amt.pki_suffix";
const EHBC: &str = "intel.amt.ehbc";
const ZERO_TOUCH: &str = "intel.amt.zero_touch";
const REMOTE_ACCESS: &str = "intel.amt.remote_access";
const LINK: &str = "intel.amt.link";
const SETUP_AUDIT: &str = "intel.amt.setup_audit";
const ASKED: &str = "mei:pthi";

/// What AMT answered, question by question. Nothing here decides the verdict on AMT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posture {
    pub hashes: Result<Vec<CertificateHash>, Failure>,
    /// Empty: none is set.
    pub pki_suffix: Result<String, Failure>,
    pub ehbc: Result<bool, Failure>,
    pub zero_touch: Result<bool, Failure>,
    pub remote_access: Result<RemoteAccessStatus, Failure>,
    pub wired: Result<LanSettings, Failure>,
    pub wireless: Result<LanSettings, Failure>,
    pub setup_audit: Result<SetupAuditRecord, Failure>,
}

impl Posture {
    /// Nothing of it was asked, for one reason.
    pub fn unasked(failure: &Failure) -> Self {
        Self {
            hashes: Err(failure.clone()),
            pki_suffix: Err(failure.clone()),
            ehbc: Err(failure.clone()),
            zero_touch: Err(failure.clone()),
            remote_access: Err(failure.clone()),
            wired: Err(failure.clone()),
            wireless: Err(failure.clone()),
            setup_audit: Err(failure.clone()),
        }
    }
}

/// Always the same seven facts, in one order.
pub(super) fn facts(posture: Option<&Posture>) -> Vec<Fact> {
    let Some(posture) = posture else {
        let why = "AMT's host interface was not asked";
        return [HASHES, PKI_SUFFIX, EHBC, ZERO_TOUCH, REMOTE_ACCESS, LINK, SETUP_AUDIT]
            .map(|name| Fact::unknown(name, ASKED, why))
            .to_vec();
    };
    vec![
        fact(HASHES, &posture.hashes, |hashes| trusted(hashes)),
        fact(PKI_SUFFIX, &posture.pki_suffix, |suffix| match suffix.is_empty() {
            true => "none".into(),
            false => suffix.as_str().into(),
        }),
        fact(EHBC, &posture.ehbc, |enabled| (*enabled).into()),
        fact(ZERO_TOUCH, &posture.zero_touch, |enabled| (*enabled).into()),
        fact(REMOTE_ACCESS, &posture.remote_access, remote_access),
        links(&posture.wired, &posture.wireless),
        match &posture.setup_audit {
            Err(Failure::Status(status)) => Fact::unknown(
                SETUP_AUDIT,
                ASKED,
                format!("AMT answered with status {status:#x}; one that nobody ever set up has no record"),
            ),
            audit => fact(SETUP_AUDIT, audit, setup),
        },
    ]
}

fn fact<T>(name: &str, answer: &Result<T, Failure>, value: impl FnOnce(&T) -> Value) -> Fact {
    match answer {
        Ok(answer) => Fact::observed(name, value(answer), ASKED),
        Err(failure) => Fact::unknown(name, ASKED, failure.text()),
    }
}

/// How many roots can provision this machine; those that the maker did not ship are named.
fn trusted(hashes: &[CertificateHash]) -> Value {
    let count = |active: bool| hashes.iter().filter(|it| it.is_active == active).map(|_| 1_u64).sum::<u64>();
    let added: Vec<String> = hashes
        .iter()
        .filter(|it| !it.is_default)
        .map(|it| {
            let state = if it.is_active { "active" } else { "not active" };
            format!("{} ({} {}, {state})", it.name, algorithm(it.algorithm), hex(&it.hash))
        })
        .collect();
    map([("active", count(true).into()), ("inactive", count(false).into()), ("added", added.into())])
}

fn remote_access(status: &RemoteAccessStatus) -> Value {
    let network = match status.network {
        0 => "direct".to_owned(),
        1 => "vpn".to_owned(),
        2 => "outside".to_owned(),
        other => format!("unknown ({other})"),
    };
    let tunnel = match status.tunnel {
        TunnelState::NotConnected => "none".to_owned(),
        TunnelState::Connecting => "connecting".to_owned(),
        TunnelState::Connected => "up".to_owned(),
        TunnelState::Other(other) => format!("unknown ({other})"),
    };
    let host = if status.mps_host.is_empty() { "none" } else { &status.mps_host };
    map([("network", network.into()), ("tunnel", tunnel.into()), ("mps_host", host.into())])
}

/// `absent` is an interface without a MAC address: AMT has no such one.
fn links(wired: &Result<LanSettings, Failure>, wireless: &Result<LanSettings, Failure>) -> Fact {
    let word = |lan: &LanSettings| match (lan.mac == [0; 6], lan.enabled, lan.link_up) {
        (true, ..) => "absent",
        (_, false, _) => "disabled",
        (.., true) => "up",
        (.., false) => "down",
    };
    let told = |lan: &Result<LanSettings, Failure>| lan.as_ref().map_or(oob_policy::UNKNOWN, word).into();
    let why = |name: &str, lan: &Result<LanSettings, Failure>| {
        lan.as_ref().err().map(|failure| format!("{name}: {}", failure.text()))
    };
    let whys: Vec<String> = [why("wired", wired), why("wireless", wireless)].into_iter().flatten().collect();
    if whys.len() == 2 {
        return Fact::unknown(LINK, ASKED, whys.join("; "));
    }
    let fact = Fact::observed(LINK, map([("wired", told(wired)), ("wireless", told(wireless))]), ASKED);
    if whys.is_empty() { fact } else { fact.because(whys.join("; ")) }
}

fn setup(record: &SetupAuditRecord) -> Value {
    let [year, month, day, hour, minute, second, _] = record.time;
    let mut told = vec![
        ("by", if record.host_initiated { "host" } else { "server" }.into()),
        ("login", if record.tls_mode == 0 { "certificate" } else { "pre-shared-key" }.into()),
        ("secure_dns", record.secure_dns.into()),
    ];
    let mut add = |name, text: &str| {
        if !text.is_empty() {
            told.push((name, text.into()));
        }
    };
    add("server", &record.server_name);
    add("server_ip", &record.server_ip);
    if record.hash.iter().any(|byte| *byte != 0) {
        add("root", &format!("{} {}", algorithm(record.hash_algorithm), hex(&record.hash)));
        add("root_shipped", if record.is_oem_default { "yes" } else { "no" });
    }
    if year != 0 {
        add("time", &format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
    }
    Value::Map(told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn algorithm(algorithm: HashAlgorithm) -> String {
    match algorithm {
        HashAlgorithm::Md5 => "md5".to_owned(),
        HashAlgorithm::Sha1 => "sha1".to_owned(),
        HashAlgorithm::Sha256 => "sha256".to_owned(),
        HashAlgorithm::Sha384 => "sha384".to_owned(),
        HashAlgorithm::Sha512 => "sha512".to_owned(),
        HashAlgorithm::Other(number) => format!("algorithm {number}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan(mac: u8, enabled: bool, link_up: bool) -> LanSettings {
        LanSettings { enabled, ipv4: [0; 4], dhcp: true, dhcp_mode: 2, link_up, mac: [mac; 6] }
    }

    fn posture() -> Posture {
        let hash = |is_default, is_active, name: &str| CertificateHash {
            is_default,
            is_active,
            algorithm: HashAlgorithm::Sha256,
            hash: vec![0xab; 32],
            name: name.to_owned(),
        };
        let status = RemoteAccessStatus {
            network: 2,
            tunnel: TunnelState::Connected,
            trigger: 3,
            mps_host: "mps".into(),
        };
        Posture {
            hashes: Ok(vec![hash(true, true, "a"), hash(true, false, "b"), hash(false, true, "mine")]),
            pki_suffix: Ok(String::new()),
            ehbc: Ok(false),
            zero_touch: Ok(true),
            remote_access: Ok(status),
            wired: Ok(lan(0, false, false)),
            wireless: Ok(lan(2, true, true)),
            setup_audit: Err(Failure::Status(3)),
        }
    }

    fn told(posture: &Posture, name: &str) -> (String, String) {
        let fact = facts(Some(posture)).into_iter().find(|fact| fact.name == name).unwrap();
        (serde_json::to_string(&fact.value).unwrap(), fact.reason.unwrap_or_default())
    }

    #[test]
    fn every_answer_has_its_word() {
        let mut it = posture();
        assert_eq!(
            told(&it, HASHES).0,
            format!(
                "{{\"active\":2,\"added\":[\"mine (sha256 {}, active)\"],\"inactive\":1}}",
                "ab".repeat(32)
            )
        );
        assert_eq!(told(&it, PKI_SUFFIX).0, "\"none\"");
        assert_eq!((told(&it, EHBC).0.as_str(), told(&it, ZERO_TOUCH).0.as_str()), ("false", "true"));
        assert_eq!(
            told(&it, REMOTE_ACCESS).0,
            "{\"mps_host\":\"mps\",\"network\":\"outside\",\"tunnel\":\"up\"}"
        );
        assert_eq!(told(&it, LINK).0, "{\"wired\":\"absent\",\"wireless\":\"up\"}");
        assert!(told(&it, SETUP_AUDIT).1.contains("nobody ever set up"));
        for (lan, word) in [(lan(1, false, true), "disabled"), (lan(1, true, false), "down")] {
            it.wired = Ok(lan);
            assert!(told(&it, LINK).0.contains(&format!("\"wired\":\"{word}\"")));
        }
        it.wired = Err(Failure::Other("lost".into()));
        assert_eq!(
            told(&it, LINK),
            ("{\"wired\":\"unknown\",\"wireless\":\"up\"}".into(), "wired: lost".into())
        );
        it.wireless = Err(Failure::Status(1));
        assert_eq!(told(&it, LINK).0, "\"unknown\"");
    }

    #[test]
    fn the_record_of_the_setup_names_the_server() {
        let mut it = posture();
        it.setup_audit = Ok(SetupAuditRecord {
            tls_mode: 0,
            secure_dns: false,
            host_initiated: false,
            hash_algorithm: HashAlgorithm::Sha1,
            hash: vec![1; 20],
            serials: [[0; 16]; 3],
            more_serials: false,
            is_oem_default: true,
            is_time_valid: true,
            server_ip: "192.0.2.1".into(),
            time: [2026, 1, 2, 3, 4, 5, 6],
            server_name: "rps.example.com".into(),
        });
        let (value, _) = told(&it, SETUP_AUDIT);
        for part in
            ["\"by\":\"server\"", "rps.example.com", "2026-01-02T03:04:05", "sha1 0101", "\"certificate\""]
        {
            assert!(value.contains(part), "{part} in {value}");
        }
    }

    #[test]
    fn what_was_not_asked_is_unknown_in_the_same_order() {
        let names = |facts: Vec<Fact>| facts.into_iter().map(|fact| fact.name).collect::<Vec<_>>();
        let none = facts(None);
        assert!(
            none.iter()
                .all(|fact| fact.value.as_text() == Some(oob_policy::UNKNOWN) && fact.reason.is_some())
        );
        let unasked = facts(Some(&Posture::unasked(&Failure::Other("gone".into()))));
        assert!(unasked.iter().all(|fact| fact.value.as_text() == Some(oob_policy::UNKNOWN)));
        assert!(unasked.iter().all(|fact| fact.reason.as_deref().is_some_and(|why| why.contains("gone"))));
        assert_eq!(names(none), names(unasked));
    }
}
