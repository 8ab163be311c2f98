//! Refusals that have nothing to do with the hardware: the policy itself may not be applied here or now.

use time::{Date, OffsetDateTime};

use super::{Case, Draft, lacks_signature};
use crate::matcher::Selection;
use crate::{Action, EXAMPLE_RECIPIENTS, Exit};

pub(super) fn tie(selection: &Selection<'_>, draft: &mut Draft) {
    let Selection::Tie(rules) = selection else { return };
    let names: Vec<String> = rules.iter().map(|rule| format!("`{}` (line {})", rule.id, rule.line)).collect();
    let text = format!(
        "rules {} match this machine with the same precedence, so none applies: set `priority` on the one that \
         should win",
        names.join(" and ")
    );
    draft.refuse(Exit::PolicyRefused, "ambiguous-rules", None, None, text);
}

pub(super) fn policy(case: &Case<'_>, draft: &mut Draft) {
    serial(case, draft);
    if lacks_signature(case) {
        let text = format!(
            "the policy is not signed, and its action here is `{}`: sign it, or permit this run with --allow-unsigned",
            case.action.word()
        );
        draft.refuse(Exit::PolicyRefused, "policy-unsigned", None, None, text);
    }
    if let Some(last) = case.policy.not_after.filter(|last| over(*last, case.context.now)) {
        let text = format!("the policy ended with {last}: give it a later `not_after` and a higher `serial`");
        dated(case, "policy-expired", None, text, draft);
    }
    let seals = case.rule.is_some_and(|rule| rule.neutralize.certificate.is_some());
    if case.action == Action::Use || seals && case.action == Action::Neutralize {
        recipients(case, draft);
    }
    if case.action != Action::Ignore && case.context.weak_id {
        let text = format!(
            "this machine has nothing that identifies it for certain (no SMBIOS UUID and serial, no global MAC), so \
             `{}` could later take another machine for it: only `ignore` is carried out",
            case.action.word()
        );
        draft.refuse(Exit::Impossible, "weak-device-id", None, None, text);
    }
}

/// An older policy is a rollback, whatever it asks for (reference/org-state.md 6.5).
fn serial(case: &Case<'_>, draft: &mut Draft) {
    let Some((seen, sha256)) = &case.history.policy else { return };
    let serial = case.policy.serial;
    if serial < *seen {
        let text =
            format!("policy serial {serial} is lower than {seen}, which this device has had: raise `serial`");
        draft.refuse(Exit::PolicyRefused, "policy-rolled-back", None, None, text);
    } else if serial == *seen && !sha256.eq_ignore_ascii_case(&case.policy.sha256) {
        let text =
            format!("this device has had another policy with the same serial {serial}: raise `serial`");
        draft.refuse(Exit::PolicyRefused, "policy-serial-reused", None, None, text);
    }
}

fn recipients(case: &Case<'_>, draft: &mut Draft) {
    for recipient in &case.policy.recipients {
        if case.acts_live() && EXAMPLE_RECIPIENTS.contains(&recipient.key.as_str()) {
            let text = format!(
                "escrow recipient `{}` is of the published examples, so everybody could open the credential: replace \
                 `escrow.recipient.key` with a key of your own (`age-keygen`)",
                recipient.name
            );
            draft.refuse(Exit::PolicyRefused, "example-recipient", Some(&recipient.name), None, text);
        }
        if let Some(last) = recipient.not_after.filter(|last| over(*last, case.context.now)) {
            let text = format!(
                "escrow recipient `{}` ended with {last}: replace its key, or give it a later `not_after`",
                recipient.name
            );
            dated(case, "recipient-expired", Some(&recipient.name), text, draft);
        }
    }
}

/// A date refuses under a clock that something vouches for, and warns otherwise: new machines often have a wrong one.
fn dated(case: &Case<'_>, cause: &str, detail: Option<&str>, text: String, draft: &mut Draft) {
    if case.context.clock_trusted {
        draft.refuse(Exit::PolicyRefused, cause, detail, None, text);
    } else {
        draft.warnings.push(format!("{text} (nothing vouches for this machine's clock, so this only warns)"));
    }
}

/// True once the last day is over in UTC. A time that no calendar has is taken for over.
fn over(last: Date, now: i64) -> bool {
    OffsetDateTime::from_unix_timestamp(now).map_or(true, |now| now.date() > last)
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::over;

    #[test]
    fn a_day_ends_at_midnight() {
        let last = date!(2027 - 06 - 30);
        assert!(!over(last, 1_814_399_999), "23:59:59 of the last day");
        assert!(over(last, 1_814_400_000), "0:00 of the next");
        assert!(over(last, i64::MAX));
        assert!(!over(last, 0));
    }
}
