//! The provisioning certificate on its way to the device (reference/amt.md 5.3): judged before anything is sent, then
//! handed over certificate by certificate, then its key signs the device's nonce. From AMT 19 on it is announced instead,
//! and shown in TLS (reference/amt.md 5.5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oob_policy::shown;
use oob_wsman::classes::amt::SetupAndConfigurationService;
use oob_wsman::classes::ips::{ChainPlace, HostBasedSetupService, Proof, add_next_cert_in_chain};
use oob_wsman::pthi::{
    CertificateHash, EnumerateHashes, GetHash, GetLanSettings, GetPkiSuffix, LanInterface, LeafHash,
};
use oob_wsman::x509::{Device, ProvisioningChain, Ready, SuffixSource, preflight, signature_input};
use time::OffsetDateTime;

use super::Run;
use super::amt::{Point, Pthi, Trouble};
use super::failure::{Failure, described};
use super::peer::{Ours, amt_major};
use super::proof::Client;
use crate::certificate::Certified;
use crate::probe;

/// More entries than any firmware has.
const MOST_HASHES: usize = 64;

/// What the firmware says of whom it trusts, over PTHI.
pub(super) struct Trust {
    hashes: Vec<CertificateHash>,
    pki_suffix: String,
    wired_link_up: bool,
}

/// A chain that the device took, and the signature that goes with it.
pub(super) struct Armed {
    ready: Ready,
    mc_nonce: [u8; 20],
    signature: Vec<u8>,
}

impl Armed {
    pub(super) fn proof(&self) -> Proof<'_> {
        Proof { mc_nonce: &self.mc_nonce, signature: &self.signature }
    }

    /// What to look at where the device refuses all the same: its return values 4 and 5 say no more (amt.md 7).
    pub(super) fn hint(&self) -> String {
        hint(&self.ready)
    }
}

fn hint(ready: &Ready) -> String {
    let from = match ready.suffix_source {
        SuffixSource::PkiSuffix => "its PKI DNS suffix",
        SuffixSource::Dhcp => "DHCP",
    };
    format!(
        "; the certificate is of {}, AMT's suffix is {} (from {from}), its root is AMT's entry `{}`",
        shown(&ready.common_name),
        shown(&ready.suffix),
        shown(&ready.root_entry)
    )
}

/// A chain that the device should take, for AMT 19 and newer: nothing of it was sent yet.
pub(super) struct Announced {
    ready: Ready,
    /// What is announced over MEI.
    pub(super) leaf: LeafHash,
    /// What is shown in TLS then.
    pub(super) ours: Ours,
}

impl Announced {
    /// What to look at where the device refuses all the same.
    pub(super) fn hint(&self) -> String {
        hint(&self.ready)
    }
}

/// Judges the certificate, and nothing more.
pub(super) async fn prepare(
    run: &Run<'_>,
    local: &mut Client<'_, '_>,
    trust: &Trust,
) -> Result<Announced, Failure> {
    let certified = certificate(run)?;
    let configuration = local.get::<SetupAndConfigurationService>().await?;
    let ready = judge(run, certified, &configuration, trust)?;
    let leaf = ready.certificates.first().and_then(|der| LeafHash::of(der)).ok_or_else(|| {
        Failure::impossible("certificate-not-fit", "the provisioning certificate: its leaf cannot be read")
    })?;
    let ours = certified.in_tls(&ready.certificates);
    Ok(Announced { ready, leaf, ours })
}

fn certificate<'a>(run: &Run<'a>) -> Result<&'a Certified, Failure> {
    run.certificate.ok_or_else(|| {
        Failure::impossible("no-provisioning-certificate", "no provisioning certificate was read")
    })
}

/// Asks for everything that decides over a certificate and can be read over PTHI.
pub(super) async fn trust(pthi: &mut Pthi<'_>) -> Result<Trust, Failure> {
    let mut hashes = Vec::new();
    for handle in pthi.ask(&EnumerateHashes).await?.into_iter().take(MOST_HASHES) {
        hashes.push(pthi.ask(&GetHash { handle }).await?);
    }
    let pki_suffix = pthi.ask(&GetPkiSuffix).await?;
    let wired_link_up = match pthi.ask(&GetLanSettings { interface: LanInterface::Wired }).await {
        Ok(settings) => settings.link_up,
        // A machine without a wired interface says so with a status.
        Err(trouble) if trouble.is_answer() => false,
        Err(trouble) => return Err(Trouble::into(trouble)),
    };
    Ok(Trust { hashes, pki_suffix, wired_link_up })
}

/// Judges the certificate, hands the chain over and signs. Nothing is provisioned yet; where the certificate is not one
/// that the device takes, the failure's exit is [`oob_policy::Exit::Impossible`].
pub(super) async fn arm(
    run: &Run<'_>,
    local: &mut Client<'_, '_>,
    service: &HostBasedSetupService,
    trust: Trust,
) -> Result<Armed, Failure> {
    let certified = certificate(run)?;
    let configuration = local.get::<SetupAndConfigurationService>().await?;
    let ready = judge(run, certified, &configuration, &trust)?;
    let nonce = nonce(service)?;
    let count = ready.certificates.len();
    for (index, der) in ready.certificates.iter().enumerate() {
        let place = match index {
            0 => ChainPlace::Leaf,
            _ if index + 1 == count => ChainPlace::Root,
            _ => ChainPlace::Intermediate,
        };
        let point = Point { kind: "mutating", what: "IPS_HostBasedSetupService.AddNextCertInChain" };
        probe::before(&point);
        let said = local.invoke(&add_next_cert_in_chain(der, place)).await;
        probe::after(&point);
        said.map_err(|error| {
            let text = format!("handing over certificate {} of {count}: {}", index + 1, described(&error));
            match error {
                // The device judged it, and said no.
                oob_wsman::client::Error::ReturnValue(_) => Failure::impossible("certificate-refused", text),
                _ => Failure::unchanged("wsman", text),
            }
        })?;
    }
    let mut mc_nonce = [0; 20];
    getrandom::fill(&mut mc_nonce)
        .map_err(|error| Failure::unchanged("no-random-bytes", format!("making a nonce: {error}")))?;
    let signature = certified
        .sign(&signature_input(&nonce, &mc_nonce))
        .map_err(|why| Failure::unchanged("not-signed", why))?;
    Ok(Armed { ready, mc_nonce, signature })
}

fn judge(
    run: &Run<'_>,
    certified: &Certified,
    configuration: &SetupAndConfigurationService,
    trust: &Trust,
) -> Result<Ready, Failure> {
    let refuse = |text: String| {
        Failure::impossible("certificate-not-fit", format!("the provisioning certificate: {text}"))
    };
    let chain = ProvisioningChain::from_der(certified.chain.clone())
        .map_err(|error| refuse(shown(&error.to_string())))?;
    let device = Device {
        hashes: &trust.hashes,
        pki_suffix: &trust.pki_suffix,
        dhcp_suffix: configuration.dhcp_dns_suffix.as_deref().unwrap_or_default(),
        wired_link_up: trust.wired_link_up,
        amt_major: amt_major(run.detection),
    };
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let ready = preflight(&chain, device, now).map_err(|broken| {
        let rules: Vec<String> = broken.iter().map(|rule| shown(&rule.to_string())).collect();
        refuse(rules.join("; "))
    })?;
    // SubjectPublicKeyInfo of an RSA key ends with its RSAPublicKey.
    if !ready.leaf_public_key.ends_with(certified.public_key()) {
        return Err(refuse(
            "the private key beside it is not the leaf's; put both of one pair into the file".into(),
        ));
    }
    Ok(ready)
}

/// The nonce that the device gave with this very reading of its service.
fn nonce(service: &HostBasedSetupService) -> Result<Vec<u8>, Failure> {
    let text = service.configuration_nonce.as_deref().unwrap_or_default();
    match STANDARD.decode(text.trim()) {
        Ok(nonce) if nonce.len() == 20 => Ok(nonce),
        _ => Err(Failure::unchanged(
            "no-configuration-nonce",
            "AMT's host based setup service gave no ConfigurationNonce of 20 bytes to be signed; run again",
        )),
    }
}
