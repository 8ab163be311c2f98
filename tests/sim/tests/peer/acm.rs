//! Into admin control mode with the chain of `tests/chain`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

use super::{GET, Lme, SETUP, Sim, envelope, invocation, leaf, md5, os_admin, post};

pub fn chain_path(name: &str) -> String {
    format!("{}/tests/chain/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(chain_path(name)).unwrap()
}

/// Brings a machine that trusts `tests/chain/root.der` into admin control mode with this password, from before
/// provisioning, as its local account.
pub fn activate_as_admin(sim: &Sim, password: &str) {
    let account = os_admin(sim);
    let mut lme = Lme::open(sim);
    let mut invoke = |method: &str, fields: &str| {
        leaf(&post(&mut lme, "$$OsAdmin", &account, &invocation(SETUP, method, fields)), "ReturnValue")
    };
    for (name, is_leaf, is_root) in
        [("leaf.der", true, false), ("intermediate.der", false, false), ("root.der", false, true)]
    {
        let fields = format!(
            "<h:NextCertificate>{}</h:NextCertificate><h:IsLeafCertificate>{is_leaf}</h:IsLeafCertificate>\
             <h:IsRootCertificate>{is_root}</h:IsRootCertificate>",
            STANDARD.encode(file(name))
        );
        assert_eq!(invoke("AddNextCertInChain", &fields), "0", "{name}");
    }
    let answer = post(&mut lme, "$$OsAdmin", &account, &envelope(GET, SETUP, ""));
    let nonce = STANDARD.decode(leaf(&answer, "ConfigurationNonce")).unwrap();
    let key = RsaKeyPair::from_der(&file("leaf.key")).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    let own = [7; 20];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &[&nonce[..], &own].concat(), &mut signature).unwrap();
    let realm = sim.state()["realm"].as_str().unwrap().to_owned();
    let fields = format!(
        "<h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
         <h:NetworkAdminPassword>{}</h:NetworkAdminPassword><h:McNonce>{}</h:McNonce>\
         <h:SigningAlgorithm>2</h:SigningAlgorithm><h:DigitalSignature>{}</h:DigitalSignature>",
        md5(&format!("admin:{realm}:{password}")),
        STANDARD.encode(own),
        STANDARD.encode(signature)
    );
    let answer = post(&mut lme, "$$OsAdmin", &account, &invocation(SETUP, "AdminSetup", &fields));
    assert_eq!(leaf(&answer, "ReturnValue"), "0");
}
