//! Foreign text made fit to be shown.

/// `text` with control, bidirectional and invisible characters escaped as `\u{..}`, so that it can neither steer a
/// terminal nor look like something else. Line ends are escaped too: what is foreign stays on its line.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Controls (C0, C1, DEL), and what reorders or hides text: Unicode Bidi_Control, zero-width, line and paragraph
/// separators, tags and the byte order mark.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(shown("Dell\u{1b}[2J\r\n"), "Dell\\u{1b}[2J\\u{d}\\u{a}");
        assert_eq!(shown("\u{202e}txt.exe\u{9b}31m"), "\\u{202e}txt.exe\\u{9b}31m");
        assert_eq!(shown("Größe 漢字 é"), "Größe 漢字 é");
    }
}
