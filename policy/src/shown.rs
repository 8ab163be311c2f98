//! Foreign text made fit to be shown.

/// `text` on one line, with what could steer a terminal or deceive a reader written out as `\u{202e}`: control
/// characters (C0, C1, DEL, line ends), bidirectional controls, and characters that cannot be seen.
///
/// Everything a device, a file or a server has said goes through here before it is shown.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if deceives(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Unicode's Bidi_Control and Default_Ignorable_Code_Point as far as they can hide or reorder text, and all controls.
pub fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_steers_or_deceives_is_written_out() {
        let cases = [
            ("Dell\u{1b}[2J\r\n", "Dell\\u{1b}[2J\\u{d}\\u{a}"),
            ("\u{202e}txt.exe\u{9b}31m", "\\u{202e}txt.exe\\u{9b}31m"),
            ("a\u{200b}b\u{feff}\u{7f}\0", "a\\u{200b}b\\u{feff}\\u{7f}\\u{0}"),
            ("Größe 漢字 é 😀 =1+1 <b>", "Größe 漢字 é 😀 =1+1 <b>"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }
}
