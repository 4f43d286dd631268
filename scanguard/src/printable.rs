//! Text of others on its way out: what a terminal, a pager or a person takes for something else than it is, is written as an escape.
//!
//! Names of programs, reasons, comments and names of files come from people and programs that this one does not trust. A control
//! character among them moves the cursor or clears the screen; a format character (Unicode's general category Cf) shows text in another
//! order than it is read, or not at all ("Trojan Source", CVE-2021-42574).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of the category Cf in Unicode 17, and U+2028 and U+2029, which end a line for some readers and not for others.
const FORMAT: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether a character is not what it seems, or not seen: control and format characters, and separators of lines and paragraphs.
#[must_use]
pub(crate) fn is_deceptive(character: char) -> bool {
    character.is_control() || FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// One line of somebody's text, such as a name: all such characters are escaped (`\n`, `\u{202e}`), line breaks too.
#[must_use]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_deceptive, |character, out| out.extend(character.escape_default()))
}

/// Text of several lines in which such names stand already: line breaks stay, and so, where it is `styled`, do the sequences that set
/// colours and weight.
#[must_use]
pub(crate) fn text(text: &str, styled: bool) -> Cow<'_, str> {
    let is_escaped = |character| character != '\n' && is_deceptive(character);
    if !styled || !text.contains('\u{1b}') {
        return escaped(text, is_escaped, |character, out| out.extend(character.escape_default()));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let (before, found) = rest.split_at(at);
        out.push_str(&self::text(before, false));
        let style = style(found);
        out.push_str(if style.is_empty() { "\\u{1b}" } else { style });
        rest = &found[style.len().max(1)..];
    }
    out.push_str(&self::text(rest, false));
    Cow::Owned(out)
}

/// The sequence that a text begins with, if it is one of those that this program uses: reset, bold, dim, italic and the plain colours of
/// the foreground (ECMA-48, section 8.3.117). Others can hide text.
fn style(text: &str) -> &str {
    const USED: [&str; 13] = ["0", "1", "2", "3", "31", "32", "33", "34", "35", "36", "37", "90", "39"];
    let Some((parameters, _)) = text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')) else { return "" };
    if USED.contains(&parameters) { &text[.."\u{1b}[m".len() + parameters.len()] } else { "" }
}

/// JSON, in which such characters stand within strings alone: `\u202e`, as JSON escapes them.
#[must_use]
pub(crate) fn json(text: String) -> String {
    let is_escaped = |character| character != '\n' && is_deceptive(character);
    let escape = |character: char, out: &mut String| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").expect("a String takes everything");
        }
    };
    match escaped(&text, is_escaped, escape) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for character in text[first..].chars() {
        if is_escaped(character) {
            escape(character, &mut out);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ESCAPE: char = '\u{1b}';

    #[test]
    fn what_deceives_is_escaped_and_what_does_not_stays() {
        let rows = [
            ("plain text, Ünïcödé, 日本語, 🦀", "plain text, Ünïcödé, 日本語, 🦀"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\tc\r\u{7f}\u{9b}", "a\\nb\\tc\\r\\u{7f}\\u{9b}"),
            ("user\u{202e}txt.exe\u{2066}", "user\\u{202e}txt.exe\\u{2066}"),
            ("two\u{2028}lines\u{2029}", "two\\u{2028}lines\\u{2029}"),
            ("\u{200b}\u{feff}\u{e0041}\u{ad}", "\\u{200b}\\u{feff}\\u{e0041}\\u{ad}"),
        ];
        for (from, expected) in rows {
            assert_eq!(line(from), expected);
        }
    }

    #[test]
    fn styles_of_ours_stay_and_others_do_not() {
        let styled = "\u{1b}[1mTIME\u{1b}[0m\n\u{1b}[31mbad\u{1b}[0m\u{1b}[8mhidden\u{1b}[2J\u{202e}\u{1b}";
        assert_eq!(
            text(styled, true),
            "\u{1b}[1mTIME\u{1b}[0m\n\u{1b}[31mbad\u{1b}[0m\\u{1b}[8mhidden\\u{1b}[2J\\u{202e}\\u{1b}"
        );
        assert_eq!(text("\u{1b}[1mx\n", false), "\\u{1b}[1mx\n");
    }

    proptest! {
        #[test]
        fn nothing_deceptive_is_left(from: String, styled: bool) {
            prop_assert!(!line(&from).contains(is_deceptive));
            let out = text(&from, styled);
            let left = out.chars().find(|left| !['\n', '\u{1b}'].contains(left) && is_deceptive(*left));
            prop_assert_eq!(left, None);
            prop_assert!(styled || !out.contains(ESCAPE), "{:?}", out);
        }

        #[test]
        fn json_means_the_same(from: String) {
            let out = json(serde_json::to_string_pretty(&[&from]).expect("JSON"));
            prop_assert_eq!(out.chars().find(|left| *left != '\n' && is_deceptive(*left)), None);
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&out).expect("JSON"), [from]);
        }
    }
}
