//! What a rule compares text with: globs, literals and ranges of versions, and what can be proved about two of them.

use std::cmp::{max, min};

/// What can be said about two conditions on the same key without seeing a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Some value fulfills both.
    Proved,
    /// No value fulfills both.
    Disjoint,
    /// Not decided here; the run will see.
    Open,
}

/// A glob: `*` is any text, `?` one character, `[a-z]` one of a set, `[!a-z]` one outside of it, `\` takes the next
/// character literally. Without these it is a literal. Compared without regard to case and to spaces at the ends,
/// because firmware is careless with both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    pub(crate) text: String,
    parts: Vec<Part>,
    /// The one text that it matches, if it has no wildcard; in its normal form.
    literal: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Literal(char),
    Set { inside: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// # Errors
    /// Says what is wrong with the pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = normal(text).collect::<Vec<_>>().into_iter().peekable();
        if rest.peek().is_none() {
            return Err("is empty");
        }
        while let Some(character) = rest.next() {
            parts.push(match character {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Literal(rest.next().ok_or("ends with a lone `\\`")?),
                '[' => {
                    let inside = rest.next_if_eq(&'!').is_none();
                    let mut ranges = Vec::new();
                    loop {
                        let from = rest.next().ok_or("has a `[` without its `]`")?;
                        if from == ']' && !ranges.is_empty() {
                            break;
                        }
                        let to = if rest.next_if_eq(&'-').is_some() {
                            rest.next().ok_or("has a `[` without its `]`")?
                        } else {
                            from
                        };
                        if to < from || to == ']' {
                            return Err("has a range that runs backwards");
                        }
                        ranges.push((from, to));
                    }
                    Part::Set { inside, ranges }
                }
                other => Part::Literal(other),
            });
        }
        let literal =
            parts.iter().map(|part| if let Part::Literal(it) = part { Some(*it) } else { None }).collect();
        Ok(Self { text: text.to_owned(), parts, literal })
    }

    pub(crate) fn matches(&self, found: &str) -> bool {
        let found: Vec<char> = normal(found).collect();
        // Two cursors, and one place to fall back to: linear in practice, never exponential.
        let (mut part, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), found.get(at)) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    retry = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(one), Some(character)) if one.takes(*character) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((star, from)) if from < found.len() => {
                    retry = Some((star, from + 1));
                    part = star + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }

    pub(crate) fn overlap(&self, other: &Self) -> Overlap {
        match (&self.literal, &other.literal) {
            (Some(one), Some(two)) if one == two => Overlap::Proved,
            (Some(literal), None) if other.matches(literal) => Overlap::Proved,
            (None, Some(literal)) if self.matches(literal) => Overlap::Proved,
            (None, None) if self.parts == other.parts => Overlap::Proved,
            (None, None) => Overlap::Open,
            _ => Overlap::Disjoint,
        }
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(literal) => *literal == character,
            Self::Set { inside, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&character)) == *inside
            }
        }
    }
}

fn normal(text: &str) -> impl Iterator<Item = char> {
    text.trim().chars().flat_map(char::to_lowercase)
}

/// A range of versions, such as `>=11, <12` or `11.8`. A bound counts as far as it is written: `<=11` includes 11.8,
/// `11` is every 11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionRange {
    pub(crate) text: String,
    /// The first version inside.
    from: Version,
    /// The first version beyond.
    to: Version,
}

/// `major.minor.hotfix.build`.
pub(crate) type Version = [u64; 4];

impl VersionRange {
    /// # Errors
    /// Says what is wrong with the range.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut range = Self { text: text.to_owned(), from: [0; 4], to: [u64::MAX; 4] };
        for bound in text.split(',').map(str::trim) {
            let digits = bound.trim_start_matches(['<', '>', '=', ' ']);
            let (low, length) =
                version(digits).ok_or("has a bound that is no version such as 11 or 11.8.50")?;
            let mut high = low;
            high[length - 1] = high[length - 1].saturating_add(1);
            let (from, to) = match bound[..bound.len() - digits.len()].trim() {
                ">=" => (low, [u64::MAX; 4]),
                ">" => (high, [u64::MAX; 4]),
                "<" => ([0; 4], low),
                "<=" => ([0; 4], high),
                "" | "=" => (low, high),
                _ => return Err("has a comparison other than <, <=, >, >= and ="),
            };
            range.from = max(range.from, from);
            range.to = min(range.to, to);
        }
        if range.from < range.to { Ok(range) } else { Err("holds no version at all") }
    }

    pub(crate) fn contains(&self, version: Version) -> bool {
        self.from <= version && version < self.to
    }

    pub(crate) fn overlap(&self, other: &Self) -> Overlap {
        if max(self.from, other.from) < min(self.to, other.to) { Overlap::Proved } else { Overlap::Disjoint }
    }
}

/// Up to four numbers with dots between them, and how many they were.
pub(crate) fn version(text: &str) -> Option<(Version, usize)> {
    let mut version = [0; 4];
    let mut length = 0;
    for number in text.trim().split('.') {
        if number.is_empty() || number.len() > 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *version.get_mut(length)? = number.parse().ok()?;
        length += 1;
    }
    Some((version, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Glob, Overlap, VersionRange, version};

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("OptiPlex*", "OPTIPLEX 7010 ", true),
            ("OptiPlex*", "Latitude 7490", false),
            ("*7?10*", "OptiPlex 7010", true),
            ("*", "", true),
            ("Dell Inc.", "dell inc. ", true),
            ("Dell Inc.", "Dell Incx", false),
            ("HP [a-c]1", "hp B1", true),
            ("HP [!a-c]1", "hp B1", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), fits, "{pattern} on {text}");
        }
        for bad in ["", "  ", "a[b", "a\\", "[z-a]", "[a-"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_proved_about_two_globs() {
        for (one, other, overlap) in [
            ("a", "A ", Overlap::Proved),
            ("a", "b", Overlap::Disjoint),
            ("a*", "ab", Overlap::Proved),
            ("a*", "b", Overlap::Disjoint),
            ("a*", "*b", Overlap::Open),
            ("a*", "A*", Overlap::Proved),
        ] {
            let (one, other) = (Glob::parse(one).unwrap(), Glob::parse(other).unwrap());
            assert_eq!(one.overlap(&other), overlap);
            assert_eq!(other.overlap(&one), overlap);
        }
    }

    #[test]
    fn version_ranges() {
        for (range, found, inside) in [
            (">=11, <12", "11.8.50.3425", true),
            (">=11, <12", "12.0.0.1", false),
            ("<=11", "11.8", true),
            (">11", "11.8", false),
            (">11", "12.0", true),
            ("11.8", "11.8.93.1", true),
            ("= 11.8", "11.9", false),
        ] {
            let (found, _) = version(found).unwrap();
            assert_eq!(VersionRange::parse(range).unwrap().contains(found), inside, "{range}");
        }
        for bad in ["", "eleven", ">=12, <11", "~11", "11..8", "1.2.3.4.5", ">=11,", "99999999999999999999"] {
            assert!(VersionRange::parse(bad).is_err(), "{bad}");
        }
        let range = |text| VersionRange::parse(text).unwrap();
        assert_eq!(range("<12").overlap(&range(">=12")), Overlap::Disjoint);
        assert_eq!(range("<=12").overlap(&range(">=12")), Overlap::Proved);
    }

    proptest! {
        #[test]
        fn parsing_and_matching_never_panic(pattern in "\\PC{0,12}", text in "\\PC{0,12}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let _ = glob.matches(&text);
                prop_assert_eq!(glob.overlap(&glob), Overlap::Proved);
            }
            let _ = VersionRange::parse(&pattern);
        }

        #[test]
        fn a_literal_matches_itself(text in "[a-zA-Z0-9 .()-]{1,20}") {
            prop_assume!(!text.trim().is_empty());
            prop_assert!(Glob::parse(&text).unwrap().matches(&text));
        }
    }
}
