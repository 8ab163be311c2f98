//! The writer: elements in the order given, the same bytes every time, wiped where they grow.

use zeroize::Zeroizing;

use crate::secret::SecretBuffer;

/// Writes start tags, text and end tags. Names are this crate's own; values are escaped.
pub(crate) struct Writer(SecretBuffer);

impl Default for Writer {
    /// 4 KiB holds every ordinary request, so that nothing is moved.
    fn default() -> Self {
        Self(SecretBuffer::with_capacity(4096))
    }
}

impl Writer {
    pub(crate) fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.escaped(value);
            self.0.push('"');
        }
        self.0.push('>');
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.escaped(text);
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name, &[]);
        self.text(text);
        self.close(name);
    }

    pub(crate) fn into_text(self) -> Zeroizing<String> {
        self.0.into_text()
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // A reader would turn a bare one into a line feed or, in an attribute, into a blank.
                '\r' => self.0.push_str("&#13;"),
                other => self.0.push(other),
            }
        }
    }
}
