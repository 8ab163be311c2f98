//! Requests of an independent implementation and recorded responses of real firmware (`OOB_CORPUS/wsman`).
//!
//! Requests: ours equal theirs as canonical XML (expanded names, attributes sorted, text). Responses: every leaf of the
//! recorded instance comes back out of our typed struct, compared with an independent tree parser.
//! `OOB_CORPUS` unset: one line says what is skipped. Set but incomplete: a failure.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test that cannot go on panics; skips are printed

mod requests;
mod responses;

use std::{
    fs,
    path::{Path, PathBuf},
};

use roxmltree::{Document, Node};

pub(crate) fn corpus(test: &str) -> Option<PathBuf> {
    match std::env::var_os("OOB_CORPUS") {
        Some(root) => Some(Path::new(&root).join("wsman")),
        None => {
            let line = format!("skipped: wsman corpus {test}, OOB_CORPUS is not set\n");
            // Past the test runner's capture.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            None
        }
    }
}

/// The one file whose name begins so; the numbers are the corpus's own.
pub(crate) fn request(root: &Path, group: &str, number: &str) -> String {
    let directory = root.join("requests").join(group);
    let mut found = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{number}_")));
    let path = found.next().unwrap_or_else(|| panic!("no {number}_* in {}", directory.display()));
    fs::read_to_string(path).unwrap()
}

pub(crate) fn response(root: &Path, path: &str) -> String {
    let path = root.join("responses").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// `{namespace}name`, sorted attributes, text of leaves, in document order.
pub(crate) fn canonical(document: &str) -> String {
    fn walk(node: Node<'_, '_>, depth: usize, out: &mut String) {
        let name = node.tag_name();
        let mut attributes: Vec<_> = node
            .attributes()
            .map(|attribute| {
                format!(
                    "{{{}}}{}={:?}",
                    attribute.namespace().unwrap_or(""),
                    attribute.name(),
                    attribute.value()
                )
            })
            .collect();
        attributes.sort();
        let text: String = match node.has_children() && node.children().any(|child| child.is_element()) {
            true => String::new(),
            false => node.text().unwrap_or("").to_owned(),
        };
        let indent = " ".repeat(depth);
        out.push_str(&format!(
            "{indent}{{{}}}{} [{}] {text:?}\n",
            name.namespace().unwrap_or(""),
            name.name(),
            attributes.join(" ")
        ));
        node.children().filter(Node::is_element).for_each(|child| walk(child, depth + 1, out));
    }
    let mut out = String::new();
    walk(Document::parse(document).unwrap().root_element(), 0, &mut out);
    out
}

pub(crate) fn elements<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

pub(crate) fn find<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.descendants().find(|node| node.tag_name().name() == name)
}
