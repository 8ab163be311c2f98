//! Putting certificates in order, leaf first. Roots get cross-signed, so there may be several orders.

use super::certificate::{Certificate, ProvisioningChain};

/// Leaf first; the last one is self-issued, or its issuer is missing.
pub(super) type Path<'a> = Vec<&'a Certificate>;

/// Every order that the names allow, a handful at most.
pub(super) fn paths(chain: &ProvisioningChain) -> Vec<Path<'_>> {
    let all = &chain.certificates;
    let issues_another =
        |one: &Certificate| all.iter().any(|other| other.der != one.der && other.issuer == one.subject);
    let mut leaves: Vec<_> = all.iter().filter(|one| !one.is_ca && !issues_another(one)).collect();
    if leaves.is_empty() {
        leaves = all.iter().filter(|one| !issues_another(one)).collect();
    }
    if leaves.is_empty() {
        leaves = all.iter().take(1).collect(); // they issue each other in a ring
    }
    let mut paths = Vec::new();
    for leaf in leaves {
        extend(all, vec![leaf], &mut paths);
    }
    paths
}

fn extend<'a>(all: &'a [Certificate], path: Path<'a>, paths: &mut Vec<Path<'a>>) {
    let Some(last) = path.last() else { return };
    let is_used = |one: &Certificate| path.iter().any(|used| used.der == one.der);
    let issuers = all.iter().filter(|one| one.subject == last.issuer && !is_used(one));
    let issuers: Vec<_> = if last.is_self_issued() { Vec::new() } else { issuers.collect() };
    if issuers.is_empty() && paths.len() < MOST_PATHS {
        paths.push(path);
        return;
    }
    for issuer in issuers {
        if paths.len() < MOST_PATHS {
            extend(all, [path.as_slice(), &[issuer]].concat(), paths);
        }
    }
}

/// A file with more orders than this was made to be one.
const MOST_PATHS: usize = 32;
