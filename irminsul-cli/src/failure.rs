//! Why a command could not do its work, told in one line.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

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
            _ => {
                note(&chain(self));
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

/// An error and what lies beneath it, in one line, nothing twice.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let source = error.to_string();
        // Many an error tells its source in its own words already.
        if !line.contains(&source) {
            line += ": ";
            line += &source;
        }
        beneath = error.source();
    }
    line.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_sources() {
        let failure = Failure::Read { what: "\"a\"".into(), source: io::Error::other("first\n  second") };
        assert_eq!(chain(&failure), "cannot read \"a\": first second");
    }

    #[test]
    fn a_source_that_the_error_tells_already_is_told_once() {
        let told = |message: &'static str| {
            let error = irminsul::Error::new(irminsul::ErrorKind::Other, message).with_source("disk is gone");
            chain(&Failure::Store(error))
        };
        assert_eq!(told("reading failed: disk is gone"), "reading failed: disk is gone");
        assert_eq!(told("reading failed"), "reading failed: disk is gone");
    }
}
