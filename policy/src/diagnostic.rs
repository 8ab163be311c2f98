//! What is wrong with a policy file, and where: for people with the source line, for programs as JSON.

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
    /// A value that must not be shown, because nobody can know what an unknown key holds.
    #[serde(skip)]
    pub(crate) hide: Option<Range<usize>>,
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
    hidden.extend(diagnostics.iter().filter_map(|found| found.hide.clone()));
    let page = Page::new(source, &hidden);
    let path = shown(file_name);
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for found in diagnostics {
        let level = match found.severity {
            DiagnosticLevel::Error => Level::ERROR,
            DiagnosticLevel::Warning => Level::WARNING,
        };
        let mut snippet = Snippet::source(page.text.as_str())
            .path(path.as_str())
            .annotation(AnnotationKind::Primary.span(page.range(&found.span)));
        if let Some(also) = &found.also {
            let label = AnnotationKind::Context.span(page.range(&also.span)).label(also.label.as_str());
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

/// Collects the diagnostics of one file.
pub(crate) struct Findings<'s> {
    source: &'s str,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        let lines = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { source, lines, found: Vec::new() }
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
        self.lines.partition_point(|begin| *begin <= at).max(1)
    }

    pub(crate) fn any_error_in(&self, range: Range<usize>) -> bool {
        let inside =
            |it: &Diagnostic| range.contains(&it.span.start) && it.severity == DiagnosticLevel::Error;
        self.found.iter().any(inside)
    }

    pub(crate) fn also(&self, span: Range<usize>, label: impl Into<String>) -> Also {
        Also { line: self.line(span.start), span, label: label.into() }
    }

    /// In the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        self.found
    }

    fn add(
        &mut self,
        severity: DiagnosticLevel,
        span: Range<usize>,
        message: String,
        help: String,
    ) -> &mut Diagnostic {
        let line = self.line(span.start);
        let begin = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.source.get(begin..span.start).map_or(1, |before| before.chars().count() + 1);
        let index = self.found.len();
        self.found.push(Diagnostic { line, column, span, severity, message, help, also: None, hide: None });
        &mut self.found[index]
    }
}

/// The source as it may be shown, with a map from byte offsets of the source to byte offsets of the page.
struct Page {
    text: String,
    offsets: Vec<usize>,
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
        Self { text, offsets }
    }

    fn range(&self, span: &Range<usize>) -> Range<usize> {
        let at = |offset: usize| self.offsets.get(offset).copied().unwrap_or(self.text.len());
        let begin = at(span.start);
        begin..at(span.end).max(begin)
    }
}
