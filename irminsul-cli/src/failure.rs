//! Why a command could not do its work, told in one line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) use benches::with_causes;

/// An error of the command: exit code 2, unless a signal ended it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] irminsul::Error),
    #[error("{0}")]
    Refused(String),
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for a signal")]
    Signal(#[source] io::Error),
    #[error("cannot write {what}")]
    Write { what: String, source: io::Error },
    #[error("interrupted")]
    Interrupted,
    /// A run that failed and could not be tidied up: why it failed is told first.
    #[error("{failure}")]
    Untidy { failure: Box<Failure>, left: Vec<String> },
}

/// What a shell reports of a command that a closed pipe ended: 128 and `SIGPIPE`.
const READER_IS_GONE: u8 = 141;

/// What a shell reports of a command that Ctrl-C ended: 128 and `SIGINT`.
const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// Tells it on standard error, and how to exit. A reader that went away, as `head` does, is no error to tell.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(READER_IS_GONE),
            Self::Untidy { failure, left } => {
                let code = failure.report();
                for line in left {
                    note(line);
                }
                code
            }
            _ => {
                note(&with_causes(self));
                ExitCode::from(if matches!(self, Self::Interrupted) { INTERRUPTED } else { 2 })
            }
        }
    }
}

/// A line on standard error.
pub(crate) fn note(line: &str) {
    // Where standard error is gone, nowhere is left to tell it; the exit code still does.
    let _ = writeln!(io::stderr(), "irminsul: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_sources() {
        let failure = Failure::Read { what: "\"a\"".into(), source: io::Error::other("first\n  second") };
        assert_eq!(with_causes(&failure), "cannot read \"a\": first second");
    }
}
