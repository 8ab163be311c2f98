//! What refers to a certificate or a key, for whoever is about to delete it (`reference/amt.md` 5.9, 10).

use super::{AMT, CIM, Class, Instance, Leaf, keys, reference};
use crate::amt::Amt;
use crate::profile::Facts;

pub(super) static CLASSES: [Class; 2] = [
    // Its own instances are those of 802.1X, which is not simulated; TLS's are of a subclass.
    Class::read_only(CIM, "CIM_CredentialContext", |_, _| Vec::new()),
    Class::read_only(CIM, "CIM_ConcreteDependency", dependencies),
];

/// A class, and one whose instances a Pull of it gives too, under their own name.
pub(super) const SUBCLASSES: [(&str, &str); 1] = [("CIM_CredentialContext", "AMT_TLSCredentialContext")];

/// Of each certificate the key that it is for; and, as recorded, of each account its role.
fn dependencies(amt: &Amt, _: &Facts) -> Vec<Instance> {
    let instance = |antecedent: String, dependent: String| Instance {
        keys: Vec::new(),
        leaves: vec![("Antecedent", Leaf::Elements(antecedent)), ("Dependent", Leaf::Elements(dependent))],
    };
    let account = "Intel(r) AMT:$$OsAdmin";
    let mut found = vec![instance(
        reference(CIM, "CIM_Identity", &keys(&[("InstanceID", account)])),
        reference(CIM, "CIM_Role", &keys(&[("CreationClassName", "CIM_Role"), ("Name", account)])),
    )];
    found.extend(amt.store.pairs().map(|(certificate, key)| {
        let named = |word: &str, handle| [("InstanceID", format!("Intel(r) AMT {word}: Handle: {handle}"))];
        instance(
            reference(AMT, "AMT_PublicKeyCertificate", &named("Certificate", certificate)),
            reference(AMT, "AMT_PublicPrivateKeyPair", &named("Key", key)),
        )
    }));
    found
}
