//! What a command found, as a script sees it.

use std::process::ExitCode;

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Fine,
    /// Something is absent, does not match, or failed a check: exit code 1.
    Negative,
    /// Part of the work could not be done, and each error was told when it happened: exit code 2.
    Incomplete,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Negative => 1,
            Outcome::Incomplete => 2,
        })
    }
}
