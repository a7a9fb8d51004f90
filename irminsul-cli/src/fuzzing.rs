//! What holds of what a user gives, whatever bytes they are: each function panics where it does not.

use irminsul::{Bytes, Diff, Key};

use crate::record::{Record, state_of};

/// Lines of a watch: the state that they lead to is stated by lines that lead to it; what is none is told in one short
/// line.
pub fn records(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match state_of(text) {
        Ok(state) => {
            let line = |(key, value): (&Key, &Bytes)| {
                serde_json::to_string(&Record::change(key, &Diff::Added { new: value.clone() }))
            };
            let lines: Result<Vec<String>, _> = state.iter().map(line).collect();
            assert_eq!(state_of(&lines.expect("texts").join("\n")), Ok(state));
        }
        Err((line, problem)) => {
            assert!((1..=text.lines().count()).contains(&line));
            // A key has up to 255 bytes, and each may be escaped.
            assert!(problem.len() < 255 * 10 + 200 && !problem.contains(char::is_control), "{problem:?}");
        }
    }
}
