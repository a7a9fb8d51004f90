//! What a command found, as a script sees it.

use std::process::ExitCode;

use irminsul::Bytes;

use crate::{
    failure::{Failure, note},
    output::Output,
};

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

impl Outcome {
    /// Says on standard error why nothing is on standard output: an empty value leaves it empty, too.
    pub(crate) fn absent(why: &str) -> Self {
        note(why);
        Self::Negative
    }
}

/// Writes a value byte for byte, or says why there is none.
pub(crate) fn value_or_absent(value: Option<Bytes>, why: &str, output: &mut Output) -> Result<Outcome, Failure> {
    match value {
        Some(value) => output.raw(&value).map(|()| Outcome::Fine),
        None => Ok(Outcome::absent(why)),
    }
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
