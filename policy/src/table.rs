//! Reads TOML tables key by key and goes on after a mistake, so that all diagnostics of a file come at once.
//!
//! serde stops at the first error, hence this walk. A table is read only inside [`read_table`], which reports every
//! key that the reading did not ask for: no table can forget to refuse unknown fields.

use std::ops::Range;

use time::{Date, Month};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Findings;
use crate::secrets;
use crate::shown::shown;

/// One table being read.
pub(crate) struct Table<'t, 's> {
    table: &'t DeTable<'t>,
    span: Range<usize>,
    /// What the table is called in messages, such as `[policy]`.
    name: String,
    asked: Vec<&'static str>,
    pub(crate) findings: &'t mut Findings<'s>,
}

/// Reads a table with `read`; keys that `read` did not ask for are errors.
pub(crate) fn read_table<T>(
    name: &str,
    table: &DeTable<'_>,
    span: Range<usize>,
    findings: &mut Findings<'_>,
    read: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> T {
    let mut reader = Table { table, span, name: name.to_owned(), asked: Vec::new(), findings };
    let value = read(&mut reader);
    reader.refuse_unknown();
    value
}

impl Table<'_, '_> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str().map(str::to_owned);
        self.typed(key, "a string in quotes", value, text)
    }

    /// A string, or a list of strings. Empty lists are returned as they are.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = self.get(key)?;
        let texts = match value.get_ref() {
            DeValue::String(text) => Some(vec![Spanned::new(value.span(), text.clone().into_owned())]),
            DeValue::Array(items) => {
                let mut texts = Vec::new();
                for item in items.iter() {
                    let text = item.get_ref().as_str().map(str::to_owned);
                    texts.extend(self.typed(key, "strings in quotes", item, text));
                }
                Some(texts)
            }
            _ => None,
        };
        self.typed(key, "a string or a list of strings", value, texts)
    }

    pub(crate) fn integer(&mut self, key: &'static str) -> Option<Spanned<i64>> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok());
        self.typed(key, "a whole number", value, number)
    }

    pub(crate) fn natural(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|it| u64::from_str_radix(it.as_str(), it.radix()).ok());
        self.typed(key, "a whole number that is not negative", value, number)
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        self.typed(key, "true or false", value, flag)
    }

    /// A date without a time, such as `2027-06-30`.
    pub(crate) fn date(&mut self, key: &'static str) -> Option<Spanned<Date>> {
        let value = self.get(key)?;
        let date = value.get_ref().as_datetime().filter(|it| it.time.is_none()).and_then(|it| it.date);
        let date = date.and_then(|date| {
            let month = Month::try_from(date.month).ok()?;
            Date::from_calendar_date(i32::from(date.year), month, date.day).ok()
        });
        self.typed(key, "a date without quotes, such as 2027-06-30", value, date)
    }

    /// One of a list of words, each with its meaning.
    pub(crate) fn word<W: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, W)],
    ) -> Option<Spanned<W>> {
        let text = self.text(key)?;
        self.meaning(key, &text, words)
    }

    /// What a word means; an unknown one is reported, with the nearest known one.
    pub(crate) fn meaning<W: Copy>(
        &mut self,
        key: &str,
        text: &Spanned<String>,
        words: &[(&'static str, W)],
    ) -> Option<Spanned<W>> {
        if let Some((_, meaning)) = words.iter().find(|(word, _)| word == text.get_ref()) {
            return Some(Spanned::new(text.span(), *meaning));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mut help = format!("known are: {}", known.join(", "));
        if let Some(near) = nearest(text.get_ref(), &known) {
            help = format!("did you mean \"{near}\"? {help}");
        }
        self.findings.error(text.span(), format!("`{key}` does not know this word"), help);
        None
    }

    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        name: &str,
        read: impl FnOnce(&mut Table<'_, '_>) -> T,
    ) -> Option<Spanned<T>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            return self.typed(key, "a table", value, None);
        };
        Some(Spanned::new(value.span(), read_table(name, table, value.span(), self.findings, read)))
    }

    /// An array of tables, `[[key]]`.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        name: &str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> T,
    ) -> Vec<Spanned<T>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.typed::<()>(key, &format!("tables, each under {name}"), value, None);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let read = read_table(name, table, item.span(), self.findings, &mut read);
                    tables.push(Spanned::new(item.span(), read));
                }
                None => {
                    self.typed::<()>(key, &format!("tables, each under {name}"), item, None);
                }
            }
        }
        tables
    }

    /// Reports a key that must be there and is not. A key that is there with a wrong value has been reported already.
    pub(crate) fn require(&mut self, key: &'static str, help: &str) {
        if !self.has(key) {
            self.findings.error(self.span.clone(), format!("{} lacks `{key}`", self.name), help);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &str,
        value: &Spanned<DeValue<'_>>,
        read: Option<T>,
    ) -> Option<Spanned<T>> {
        if read.is_none() {
            let message = format!("`{key}` wants {expected}, and this is {}", kind(value.get_ref()));
            let help = format!("write {expected} for `{key}`");
            self.findings.error(value.span(), message, help);
        }
        read.map(|read| Spanned::new(value.span(), read))
    }

    fn refuse_unknown(mut self) {
        for (key, value) in self.table.iter() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) || secrets::is_secret_entry(name, value.get_ref()) {
                continue; // secrets.rs reports the latter
            }
            let mut help = format!("{} knows: {}", self.name, self.asked.join(", "));
            if let Some(near) = nearest(name, &self.asked) {
                help = format!("did you mean `{near}`? {help}");
            }
            let message = format!("{} has no key `{}`", self.name, shown(name));
            // A table under a header has the header's place, which holds no value.
            let hide = Some(value.span()).filter(|value| value.start >= key.span().end).into_iter().collect();
            self.findings.error(key.span(), message, help).hide = hide;
        }
        self.asked.clear();
    }
}

impl<'t> Table<'t, '_> {
    /// Where a key's value stands, readable or not.
    pub(crate) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.span())
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known word that a typing mistake most likely meant.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word: Vec<char> = word.to_lowercase().replace('-', "_").chars().take(64).collect();
    let distance = |other: &str| edits(&word, &other.replace('-', "_").chars().collect::<Vec<_>>());
    let near = known.iter().map(|other| (distance(other), *other)).min_by_key(|(edits, _)| *edits);
    near.filter(|(edits, other)| *edits <= 2 && *edits * 2 <= other.len()).map(|(_, other)| other)
}

/// Optimal string alignment distance: insertions, deletions, changes and swaps of neighbors.
fn edits(from: &[char], to: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (rows[i][j + 1] + 1).min(row[j] + 1).min(rows[i][j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        let known = ["action", "priority", "match", "id"];
        for (typed, meant) in [
            ("actoin", Some("action")),
            ("prioritty", Some("priority")),
            ("Match", Some("match")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
    }
}
