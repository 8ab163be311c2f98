//! The report for programs.

use oob_policy::deceives;
use serde::Serialize;

/// Indented JSON with a line end. Characters that could steer a terminal are written as `\uXXXX`, which every reader
/// turns back: the value is unchanged, and a person may look at the file.
///
/// # Errors
/// Where the value cannot be JSON, such as a map whose keys are no text.
pub fn json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // The line ends between values are the only control characters that JSON has outside of texts.
        if deceives(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use oob_policy::deceives;
    use serde_json::{Value, json};

    #[test]
    fn value_is_kept_and_text_is_harmless() {
        let value = json!({"a\u{202e}": ["\u{1b}[2J\n\"\\", "\u{e0041}\u{7f}\u{9b}", 1, null]});
        let text = super::json(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.trim_end().chars().all(|c| c == '\n' || !deceives(c)), "{text:?}");
        assert!(text.contains("\\u202e") && text.contains("\\udb40\\udc41"), "{text}");
    }
}
