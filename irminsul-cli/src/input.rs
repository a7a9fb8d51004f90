//! Where a command reads bytes from: a file, or standard input where `-` is given.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
};

use irminsul::{Bytes, MAX_VALUE_LEN};

use crate::{failure::Failure, output::as_given};

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
            Self::File(_) => write!(f, "\"{}\"", as_given(&self.name())),
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

    /// Refuses what can be told to be no value without reading it.
    fn check(&self) -> Result<(), Failure> {
        let Self::File(path) = self else { return Ok(()) };
        let metadata = fs::metadata(path).map_err(|e| self.cannot_read(e))?;
        if metadata.is_dir() {
            return Err(self.cannot_read(io::ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() && metadata.len() > MAX_VALUE_LEN as u64 { Err(self.too_long()) } else { Ok(()) }
    }

    /// All of it, as a value: no more than a value may have is ever in memory (V1).
    pub(crate) fn read_value(&self) -> Result<Bytes, Failure> {
        let limit = MAX_VALUE_LEN as u64 + 1;
        let mut value = Vec::new();
        self.open().and_then(|reader| reader.take(limit).read_to_end(&mut value)).map_err(|e| self.cannot_read(e))?;
        if value.len() > MAX_VALUE_LEN {
            return Err(self.too_long());
        }
        Ok(value.into())
    }

    /// All of it.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.open().and_then(|mut reader| reader.read_to_end(&mut bytes)).map_err(|e| self.cannot_read(e))?;
        Ok(bytes)
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

    fn too_long(&self) -> Failure {
        Failure::refused(format!("{self} is longer than a value may be, {MAX_VALUE_LEN} bytes: split it"))
    }

    fn cannot_read(&self, source: io::Error) -> Failure {
        Failure::Read { what: self.to_string(), source }
    }
}

/// Refuses what can be told to be no values before any of them is read, and standard input that is to be read twice.
pub(crate) fn check<'i>(inputs: impl IntoIterator<Item = &'i Input, IntoIter: Clone>) -> Result<(), Failure> {
    let inputs = inputs.into_iter();
    inputs.clone().try_for_each(Input::check)?;
    check_stdin(inputs)
}

/// Refuses standard input that is to be read twice.
pub(crate) fn check_stdin<'i>(inputs: impl IntoIterator<Item = &'i Input>) -> Result<(), Failure> {
    if inputs.into_iter().filter(|input| **input == Input::Stdin).count() > 1 {
        return Err(Failure::refused("standard input can be read only once: give `-` once, and files for the rest"));
    }
    Ok(())
}
