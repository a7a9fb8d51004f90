//! Standard output, for people and for programs.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::failure::Failure;

/// Where results go: standard output, where each line goes out when it is complete.
pub(crate) struct Output(Box<dyn Write>);

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::to(io::stdout().lock())
    }

    pub(crate) fn to(writer: impl Write + 'static) -> Self {
        Self(Box::new(writer))
    }

    /// Bytes as they are: nothing is added.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(Failure::Output)
    }

    /// A line for people.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(Failure::Output)
    }

    /// A line for programs.
    pub(crate) fn json(&mut self, record: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(record).map_err(|e| Failure::Output(e.into()))?;
        line.push(b'\n');
        self.raw(&line)
    }

    /// The record as a line for programs, or what it displays as for people.
    pub(crate) fn record(&mut self, record: &(impl Serialize + fmt::Display), json: bool) -> Result<(), Failure> {
        if json { self.json(record) } else { self.line(record) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::Output)
    }
}

/// A key or a file name on one line that a terminal can show: control characters and backslashes are escaped as in Rust.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let escaped = text.escape_debug().to_string();
    // Quotes are escaped with the rest, and need it nowhere here.
    let shown = escaped.replace("\\\"", "\"").replace("\\'", "'");
    if shown == text { text.into() } else { shown.into() }
}

/// A name as it was given, on one line that a terminal can show: control characters are escaped as in Rust, and nothing
/// else, so that it names the same when it is typed again.
pub(crate) fn as_given(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_control) {
        return name.into();
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.chars().map(shown).collect()
}

/// A number with its noun, as in `1 entry` and `2 entries`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_it_was_given() {
        assert_eq!(as_given(r"a\nb 'c'"), r"a\nb 'c'");
        assert_eq!(as_given("a\n\u{1b}[2J\\"), r"a\n\u{1b}[2J\");
    }

    #[test]
    fn what_moves_a_terminal_is_escaped_and_the_rest_is_not() {
        for text in ["a/b c", "it's \"quoted\"", "naïve/日本", "e\u{301}"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable("a\n\u{1b}[2J\\\"\0"), r#"a\n\u{1b}[2J\\"\0"#);
    }
}
