//! What is wrong with a policy file, and where: for people with the source line, for programs as JSON.

use std::collections::BTreeSet;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use serde::Serialize;

use crate::secrets::{self, covers, merged};
use crate::shown::shown;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiagnosticLevel {
    /// The file is refused.
    Error,
    /// The file is taken; a person should look.
    Warning,
}

/// One thing that is wrong with a policy file. Holds no value of the file, only keys, ids and places, so it can be
/// logged; [`render`] shows source lines with secrets masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Byte range in the source.
    pub span: Range<usize>,
    pub severity: DiagnosticLevel,
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// A second place that belongs to it, such as the other of two rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<Also>,
    /// Values that must not be shown, because nobody can know what an unknown key holds.
    #[serde(skip)]
    pub(crate) hide: Vec<Range<usize>>,
}

/// The second place of a [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Also {
    pub line: usize,
    pub span: Range<usize>,
    pub label: String,
}

/// All `diagnostics` with the lines of `source` they are about, for a terminal (`styled`: with ANSI colors).
///
/// Nothing raw reaches the terminal: control and bidirectional characters of the source are escaped, and values that
/// are or may be secret are masked.
pub fn render(diagnostics: &[Diagnostic], source: &str, file_name: &str, styled: bool) -> String {
    let mut hidden: Vec<Range<usize>> = secrets::masks(source);
    hidden.extend(diagnostics.iter().flat_map(|found| found.hide.clone()));
    let page = Page::new(source, &hidden);
    let path = shown(file_name);
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for found in diagnostics {
        let level = match found.severity {
            DiagnosticLevel::Error => Level::ERROR,
            DiagnosticLevel::Warning => Level::WARNING,
        };
        let span = page.range(&found.span);
        let other = found.also.as_ref().map(|also| page.range(&also.span));
        // Only the lines in question: the renderer goes through all that it is given, for every diagnostic.
        let shown = page.lines_around(&span, other.as_ref());
        let within = |range: Range<usize>| range.start - shown.start..range.end - shown.start;
        let mut snippet = Snippet::source(page.text.get(shown.clone()).unwrap_or_default())
            .line_start(page.line(shown.start))
            .path(path.as_str())
            .annotation(AnnotationKind::Primary.span(within(span)));
        if let (Some(also), Some(range)) = (&found.also, other) {
            let label = AnnotationKind::Context.span(within(range)).label(also.label.as_str());
            snippet = snippet.annotation(label);
        }
        let group: Group<'_> = level.primary_title(found.message.as_str()).element(snippet);
        let group = if found.help.is_empty() {
            group
        } else {
            group.element(Level::HELP.message(found.help.as_str()))
        };
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    text
}

/// Nobody reads on, and a broken generator would make one for every line.
const MAX_DIAGNOSTICS: usize = 100;

/// Collects the diagnostics of one file.
pub(crate) struct Findings<'s> {
    source: &'s str,
    lines: Lines,
    /// Without their lines and columns, which only those get that are told.
    found: Vec<Diagnostic>,
    /// Where errors begin.
    errors: BTreeSet<usize>,
    /// True where somebody stopped looking.
    unfinished: bool,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        let (found, errors) = (Vec::new(), BTreeSet::new());
        Self { source, lines: Lines::of(source), found, errors, unfinished: false }
    }

    pub(crate) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(DiagnosticLevel::Error, span, message.into(), help.into())
    }

    pub(crate) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(DiagnosticLevel::Warning, span, message.into(), help.into())
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.number(at)
    }

    pub(crate) fn any_error_in(&self, range: Range<usize>) -> bool {
        range.start < range.end && self.errors.range(range).next().is_some()
    }

    pub(crate) fn any_error(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Of one kind there are as many diagnostics as will ever be told, and nobody looks for more of it.
    pub(crate) fn stop_at(&mut self, count: usize) -> bool {
        self.unfinished |= count >= MAX_DIAGNOSTICS;
        self.unfinished
    }

    pub(crate) fn also(&self, span: Range<usize>, label: impl Into<String>) -> Also {
        Also { line: self.line(span.start), span, label: label.into() }
    }

    /// In the order of the file. Of more than a hundred the first are told, errors before warnings, and how many were
    /// left out.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        let order = |it: &Diagnostic| (it.span.start, it.message.clone());
        self.found.sort_by_cached_key(|it| (it.severity != DiagnosticLevel::Error, order(it)));
        let left_out = self.found.split_off(self.found.len().min(MAX_DIAGNOSTICS));
        self.found.sort_by_cached_key(order);
        if !left_out.is_empty() || self.unfinished {
            self.found.push(self.note(&left_out));
        }
        for found in &mut self.found {
            found.line = self.lines.number(found.span.start);
            let before = self.source.get(self.lines.begin(found.line)..found.span.start);
            found.column = before.map_or(1, |before| before.chars().count() + 1);
        }
        self.found
    }

    fn note(&self, left_out: &[Diagnostic]) -> Diagnostic {
        let last = self.found.last().map_or(0..0, |it| it.span.clone());
        let first = left_out.first();
        let number = if self.unfinished { "at least " } else { "" };
        let count = left_out.len().max(1);
        Diagnostic {
            line: 0,
            column: 0,
            span: first.map_or(last, |it| it.span.clone()),
            severity: first.filter(|_| !self.unfinished).map_or(DiagnosticLevel::Error, |it| it.severity),
            message: format!("and {number}{count} more that are not told here"),
            help: "mend these first and look again; often one mistake has made the others".to_owned(),
            also: None,
            // What was left out may stand beside what is shown.
            hide: left_out.iter().flat_map(|it| it.hide.clone()).collect(),
        }
    }

    fn add(
        &mut self,
        severity: DiagnosticLevel,
        span: Range<usize>,
        message: String,
        help: String,
    ) -> &mut Diagnostic {
        if severity == DiagnosticLevel::Error {
            self.errors.insert(span.start);
        }
        let index = self.found.len();
        let (line, column, also, hide) = (0, 0, None, Vec::new());
        self.found.push(Diagnostic { line, column, span, severity, message, help, also, hide });
        &mut self.found[index]
    }
}

/// Byte offsets at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of a byte offset, from 1.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at).max(1)
    }

    fn begin(&self, line: usize) -> usize {
        self.0.get(line - 1).copied().unwrap_or(0)
    }
}

/// The source as it may be shown, with a map from byte offsets of the source to byte offsets of the page.
struct Page {
    text: String,
    offsets: Vec<usize>,
    lines: Lines,
}

impl Page {
    fn new(source: &str, hidden: &[Range<usize>]) -> Self {
        let hidden = merged(hidden.to_vec());
        let mut text = String::with_capacity(source.len());
        let mut offsets = Vec::with_capacity(source.len() + 1);
        for (at, character) in source.char_indices() {
            offsets.resize(at + character.len_utf8(), text.len());
            match character {
                '\n' | '\t' => text.push(character),
                '\r' if source[at..].starts_with("\r\n") => {}
                _ if covers(&hidden, at) => text.push('*'),
                _ => text.push_str(&shown(character.encode_utf8(&mut [0; 4]))),
            }
        }
        offsets.push(text.len());
        let lines = Lines::of(&text);
        Self { text, offsets, lines }
    }

    fn range(&self, span: &Range<usize>) -> Range<usize> {
        let at = |offset: usize| self.offsets.get(offset).copied().unwrap_or(self.text.len());
        let begin = at(span.start);
        begin..at(span.end).max(begin)
    }

    fn line(&self, at: usize) -> usize {
        self.lines.number(at)
    }

    /// The whole lines that hold one range or both.
    fn lines_around(&self, one: &Range<usize>, other: Option<&Range<usize>>) -> Range<usize> {
        let start = other.map_or(one.start, |it| it.start.min(one.start));
        let end = other.map_or(one.end, |it| it.end.max(one.end)).max(start);
        let rest = self.text.get(end..).and_then(|rest| rest.find('\n'));
        self.lines.begin(self.line(start))..rest.map_or(self.text.len(), |length| end + length + 1)
    }
}
