//! What a rule compares text with: globs, literals and ranges of versions, and what can be proved about two of them.

use std::cmp::{max, min};
use std::iter::zip;

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

    /// True where some text matches both. Exact: what is no overlap here is none on any machine.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (&self.literal, &other.literal) {
            (Some(one), Some(two)) if one != two => false,
            // A literal with an escaped space at its end matches nothing, itself included.
            (Some(literal), _) | (_, Some(literal)) => self.matches(literal) && other.matches(literal),
            (None, None) => self.common(other).is_some(),
        }
    }

    /// A text in its normal form that matches both, if there is one: a search through the pairs of places in the two
    /// patterns, each visited once.
    fn common(&self, other: &Self) -> Option<String> {
        // Most pairs differ in their last characters already, which spares the search.
        let ends = zip(self.parts.iter().rev(), other.parts.iter().rev());
        let mut ends = ends.take_while(|(one, two)| **one != Part::Any && **two != Part::Any);
        if ends.any(|(one, two)| one.shared(two) == [None, None]) {
            return None;
        }
        let (height, width) = (self.parts.len() + 1, other.parts.len() + 1);
        // Where each place was come to from, and with which character. 3: what the text ends with so far.
        let mut from: Vec<Option<(Place, Option<char>)>> = vec![None; height * width * 3];
        let index = |(i, j, end): Place| (i * width + j) * 3 + end as usize;
        let mut open = vec![((0, 0, End::Nothing), (0, 0, End::Nothing), None)];
        while let Some((place, before, character)) = open.pop() {
            let known = from.get_mut(index(place))?;
            if known.is_some() {
                continue;
            }
            *known = Some((before, character));
            let (i, j, end) = place;
            let (one, two) = match (self.parts.get(i), other.parts.get(j)) {
                (None, None) if end == End::Space => continue,
                (None, None) => return Some(spelled(&from, index, place)),
                pair => pair,
            };
            // What takes a character leaves its part behind, unless the part is `*`.
            let step = |part: &Part| usize::from(*part != Part::Any);
            if let (Some(one), Some(two)) = (one, two) {
                let [solid, space] = one.shared(two);
                let (i, j) = (i + step(one), j + step(two));
                open.extend(solid.map(|it| ((i, j, End::Solid), place, Some(it))));
                open.extend(
                    space.filter(|_| end != End::Nothing).map(|it| ((i, j, End::Space), place, Some(it))),
                );
            }
            open.extend((one == Some(&Part::Any)).then_some(((i + 1, j, end), place, None)));
            open.extend((two == Some(&Part::Any)).then_some(((i, j + 1, end), place, None)));
        }
        None
    }
}

/// A place in each of two patterns, and what the text that led there ends with: no text begins or ends with a space.
type Place = (usize, usize, End);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Nothing,
    Solid,
    Space,
}

/// The text on the way to `place`.
fn spelled(
    from: &[Option<(Place, Option<char>)>],
    index: impl Fn(Place) -> usize,
    mut place: Place,
) -> String {
    let mut text = Vec::new();
    while place != (0, 0, End::Nothing) {
        let Some(Some((before, character))) = from.get(index(place)) else { break };
        text.extend(*character);
        place = *before;
    }
    text.iter().rev().collect()
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

    /// A character that both take and that is no space, and a space that both take; of those that a text can hold.
    fn shared(&self, other: &Self) -> [Option<char>; 2] {
        let both =
            |it: &char| zip([self, other], [it; 2]).all(|(part, it)| *part == Self::Any || part.takes(*it));
        let (literal, set) = match (self, other) {
            (Self::Literal(literal), _) | (_, Self::Literal(literal)) => (Some(*literal), false),
            _ => (None, [self, other].iter().any(|part| matches!(part, Self::Set { .. }))),
        };
        if let Some(literal) = literal {
            let taken = Some(literal).filter(both);
            return if literal.is_whitespace() { [None, taken] } else { [taken, None] };
        }
        if !set {
            return [Some('a'), Some(' ')];
        }
        let solid = |it: &char| !it.is_whitespace() && it.to_lowercase().eq([*it]);
        let (ours, theirs) = (self.ranges(), other.ranges());
        let pairs =
            ours.iter().flat_map(|one| theirs.iter().map(move |two| (max(one.0, two.0), min(one.1, two.1))));
        let first = pairs.clone().find_map(|(from, to)| (from..=to).find(solid));
        let space = SPACES.iter().find_map(|(from, to)| (*from..=*to).find(both));
        [first, space]
    }

    /// All characters that the part takes.
    fn ranges(&self) -> Vec<(char, char)> {
        match self {
            Self::Any | Self::One => vec![(char::MIN, char::MAX)],
            Self::Literal(literal) => vec![(*literal, *literal)],
            Self::Set { inside: true, ranges } => ranges.clone(),
            Self::Set { inside: false, ranges } => {
                let mut sorted = ranges.clone();
                sorted.sort_unstable();
                let mut gaps = Vec::new();
                let mut next = Some(char::MIN);
                for (from, to) in sorted {
                    let Some(begin) = next else { break };
                    // The character before `from`, if the gap holds one.
                    gaps.extend((begin..from).next_back().map(|end| (begin, end)));
                    next = if to < begin { next } else { (to..=char::MAX).nth(1) };
                }
                gaps.extend(next.map(|begin| (begin, char::MAX)));
                gaps
            }
        }
    }
}

/// White_Space of the Unicode Character Database, which `trim` takes off.
const SPACES: [(char, char); 10] = [
    ('\t', '\r'),
    (' ', ' '),
    ('\u{85}', '\u{85}'),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
];

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

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        max(self.from, other.from) < min(self.to, other.to)
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

    use super::{Glob, SPACES, VersionRange, version};

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
    fn two_globs_overlap_exactly_where_a_text_matches_both() {
        for (one, other, overlap) in [
            ("a", "A ", true),
            ("a", "b", false),
            ("a*", "ab", true),
            ("a*", "b", false),
            ("a*", "A*", true),
            ("Dell*", "*Inc.", true),
            ("a*", "*b", true),
            ("ab*", "*bc", true),
            ("*a*", "*b*", true),
            ("*a", "*b", false),
            ("a*c", "b*c", false),
            ("a?", "?b", true),
            ("a?", "b?", false),
            ("???", "a*bcd", false),
            ("????", "a*bcd", true),
            ("*a?", "*b", true),
            ("*a??", "?b", false),
            ("*", "?*?", true),
            ("[a-f]*", "[d-z]?", true),
            ("[a-c]*", "[d-z]*", false),
            ("[!a-z]*", "[b-y]*", false),
            ("[!a-c]x*", "[!b-z]x?", true),
            ("[!b-c!]*", "[a]*", true),
            // A text has no space at its ends, so these take nothing at all.
            ("*[ ]", "*", false),
            ("\\ a", "\\ a", false),
            ("a*[ ]*", "a*", true),
            ("a*[ ]", "a*", false),
            ("?[ ]?", "a*b", true),
        ] {
            let (one, other) = (Glob::parse(one).unwrap(), Glob::parse(other).unwrap());
            assert_eq!(one.overlaps(&other), overlap, "{} and {}", one.text, other.text);
            assert_eq!(other.overlaps(&one), overlap, "{} and {}", other.text, one.text);
        }
    }

    #[test]
    fn the_spaces_are_those_that_trim_takes_off() {
        for character in char::MIN..=char::MAX {
            let listed = SPACES.iter().any(|(from, to)| (*from..=*to).contains(&character));
            assert_eq!(listed, character.is_whitespace(), "{character:?}");
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
        assert!(!range("<12").overlaps(&range(">=12")));
        assert!(range("<=12").overlaps(&range(">=12")));
    }

    /// Few letters, so that patterns meet.
    const PATTERNS: &str = r"([ab? *]|\[!?[ab ]{1,2}\]|\\ ){1,7}";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn parsing_and_matching_never_panic(pattern in "\\PC{0,12}", text in "\\PC{0,12}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                prop_assert!(!glob.matches(&text) || glob.overlaps(&glob));
            }
            let _ = VersionRange::parse(&pattern);
        }

        #[test]
        fn what_matches_both_is_an_overlap(one in PATTERNS, other in PATTERNS, text in "[abAB ]{0,5}") {
            let (Ok(one), Ok(other)) = (Glob::parse(&one), Glob::parse(&other)) else { return Ok(()) };
            prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
            if one.matches(&text) && other.matches(&text) {
                prop_assert!(one.overlaps(&other), "{:?}", text);
            }
        }

        #[test]
        fn an_overlap_has_a_text_that_matches_both(one in PATTERNS, other in PATTERNS) {
            let (Ok(one), Ok(other)) = (Glob::parse(&one), Glob::parse(&other)) else { return Ok(()) };
            let common = one.common(&other);
            prop_assert_eq!(common.is_some(), one.overlaps(&other));
            if let Some(text) = common {
                prop_assert!(one.matches(&text) && other.matches(&text), "{:?}", text);
            }
        }

        #[test]
        fn a_literal_matches_itself(text in "[a-zA-Z0-9 .()-]{1,20}") {
            prop_assume!(!text.trim().is_empty());
            prop_assert!(Glob::parse(&text).unwrap().matches(&text));
        }
    }
}
