//! Rules that cannot be told apart: an error of the file where that is provable, of the run otherwise. Never "first
//! wins".

use std::collections::BTreeMap;
use std::ops::Range;

use crate::diagnostic::Findings;
use crate::policy::{Class, Rule, Wanted};

/// A rule with the place of its id in the file.
pub(crate) type Placed = (Rule, Range<usize>);

/// Reports every pair of rules of the same class and priority that some machine provably matches both of.
pub(crate) fn refuse(rules: &[Placed], findings: &mut Findings<'_>) {
    let mut ranks: BTreeMap<(Class, i64), Vec<&Placed>> = BTreeMap::new();
    for rule in rules {
        ranks.entry(rank(&rule.0)).or_default().push(rule);
    }
    let pairs = ranks.values().flat_map(|rules| {
        rules
            .iter()
            .enumerate()
            .flat_map(|(at, rule)| rules.iter().skip(at + 1).map(move |other| (*rule, *other)))
    });
    let mut told = 0;
    for ((rule, place), (other, other_place)) in pairs {
        if ambiguous(rule, other) {
            if findings.stop_at(told) {
                return;
            }
            told += 1;
            let also = findings.also(place.clone(), "the other rule");
            let other_line = findings.line(other_place.start);
            let message = format!(
                "rules `{}` (line {}) and `{}` (line {other_line}) match the same machines with the same precedence",
                rule.id, also.line, other.id
            );
            let help = format!(
                "set `priority = {}` on the one that should win, or make the matches exclude each other",
                rule.priority.saturating_add(1)
            );
            findings.error(other_place.clone(), message, help).also = Some(also);
        }
    }
}

/// What decides between matching rules: class first, then priority.
pub(crate) fn rank(rule: &Rule) -> (Class, i64) {
    (rule.class(), rule.priority)
}

/// True where no key tells the rules apart. A key that only one of them has does not, except that what identifies a
/// machine or a model must be compared at all: whether serial A and UUID B are one machine is for the run to see.
fn ambiguous(rule: &Rule, other: &Rule) -> bool {
    let mut compared = rule.class() == Class::Circumstance;
    for condition in &rule.conditions {
        let Some(counterpart) = other.conditions.iter().find(|it| it.key == condition.key) else { continue };
        if !overlap(&condition.wanted, &counterpart.wanted) {
            return false;
        }
        compared |= condition.key.class() == rule.class();
    }
    compared
}

/// True where some value fulfills both; of lists one pair is enough.
fn overlap(wanted: &Wanted, other: &Wanted) -> bool {
    match (wanted, other) {
        (Wanted::Globs(globs), Wanted::Globs(others)) => {
            globs.iter().any(|glob| others.iter().any(|other| glob.overlaps(other)))
        }
        (Wanted::Words(words), Wanted::Words(others)) => words.iter().any(|word| others.contains(word)),
        (Wanted::Version(range), Wanted::Version(other)) => range.overlaps(other),
        (Wanted::Truth(truth), Wanted::Truth(other)) => truth == other,
        _ => false,
    }
}
