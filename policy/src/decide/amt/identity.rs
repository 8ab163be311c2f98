//! Whether the AMT that answers is this machine's.

use crate::decide::Case;
use crate::{Detection, UNKNOWN, shown};

/// AMT has its UUID from this machine's SMBIOS. Another one means that the AMT of another machine answers, as in a guest
/// that its host's HECI function was given to, or behind a port that leads elsewhere; it gets no login.
///
/// A sentence where they contradict each other; what either does not tell contradicts nothing.
pub(in crate::decide) fn stranger(case: &Case<'_>) -> Option<String> {
    is_strange(case.detection).then(|| {
        let [amt, host] = uuids(case.detection);
        format!(
            "the AMT that answers says that its machine is {}, and SMBIOS says that this machine is {}: it is not this \
             machine's AMT, so nothing is sent to it; in a virtual machine, take its host's management engine away from it",
            shown(amt),
            shown(host)
        )
    })
}

/// Whether they contradict each other.
pub(crate) fn is_strange(detection: &Detection) -> bool {
    let [amt, host] = uuids(detection);
    let same = |host: &str| amt.eq_ignore_ascii_case(host);
    ![amt, host].contains(&UNKNOWN) && !same(host) && !swapped(host).is_some_and(|host| same(&host))
}

fn uuids(detection: &Detection) -> [&str; 2] {
    ["intel.amt.uuid", "host.uuid"].map(|name| detection.text(name))
}

/// With the first three groups in the other byte order, as some firmware before SMBIOS 2.6 wrote them.
fn swapped(uuid: &str) -> Option<String> {
    let mut groups: Vec<String> = uuid.split('-').map(str::to_owned).collect();
    for group in groups.iter_mut().take(3) {
        let bytes: Option<Vec<&str>> = (0..group.len()).step_by(2).map(|at| group.get(at..at + 2)).collect();
        *group = bytes?.into_iter().rev().collect();
    }
    (groups.len() == 5).then(|| groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::swapped;

    #[test]
    fn the_first_three_groups_are_swapped() {
        assert_eq!(
            swapped("00112233-4455-6677-8899-aabbccddeeff").as_deref(),
            Some("33221100-5544-7766-8899-aabbccddeeff")
        );
        for odd in ["", "0", "00112233-4455", "éé-0-0-0-0"] {
            assert_eq!(swapped(odd), None, "{odd}");
        }
    }
}
