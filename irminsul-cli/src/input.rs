//! Where a command reads bytes from: a file, or standard input where `-` is given.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use irminsul::{Bytes, MAX_VALUE_LEN};

use crate::{failure::Failure, output::printable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
}

impl From<OsString> for Input {
    fn from(path: OsString) -> Self {
        if path == "-" { Self::Stdin } else { Self::File(path.into()) }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(_) => write!(f, "\"{}\"", printable(&self.name())),
        }
    }
}

impl Input {
    /// The name that was given for it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// All of it, as a value: no more than a value may have is ever in memory (V1).
    pub(crate) fn read_value(&self) -> Result<Bytes, Failure> {
        let limit = MAX_VALUE_LEN as u64 + 1;
        let mut value = Vec::new();
        self.open().and_then(|reader| reader.take(limit).read_to_end(&mut value)).map_err(|e| self.cannot_read(e))?;
        if value.len() > MAX_VALUE_LEN {
            return Err(Failure::refused(format!(
                "{self} is longer than a value may be, {MAX_VALUE_LEN} bytes: split it"
            )));
        }
        Ok(value.into())
    }

    /// All of it, as text.
    pub(crate) fn read_text(&self) -> Result<String, Failure> {
        let mut text = String::new();
        self.open().and_then(|mut reader| reader.read_to_string(&mut text)).map_err(|e| self.cannot_read(e))?;
        Ok(text)
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin().lock()),
            Self::File(path) => Box::new(File::open(path)?),
        })
    }

    fn cannot_read(&self, source: io::Error) -> Failure {
        Failure::Read { what: self.to_string(), source }
    }
}
