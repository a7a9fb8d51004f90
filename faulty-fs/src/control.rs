//! The client of the control file, for programs that link this crate; others write the same lines themselves.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{
    disk::Mode,
    faults::Fault,
    loss::Loss,
    protocol::{Action, Command, Stats},
    tree::CONTROL_NAME,
};

/// Sends commands to a mounted file system.
#[derive(Clone, Debug)]
pub struct Control {
    file: PathBuf,
}

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The file system refused it, and said why.
    #[error("{0}")]
    Refused(String),
    /// The control file could not be used; the file system may not be mounted.
    #[error("the control file could not be used; is the file system mounted? {0}")]
    Io(#[from] io::Error),
    /// The answer was not understood.
    #[error("the answer was not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

impl Control {
    /// The control of what is mounted at a directory. Nothing is opened before the first command.
    #[must_use]
    pub fn at(mount_point: impl AsRef<Path>) -> Self {
        Self { file: mount_point.as_ref().join(CONTROL_NAME) }
    }

    /// The power of a disk fails.
    pub fn lose(&self, disk: &str, loss: Loss) -> Result<(), ControlError> {
        self.act(disk, Action::Lose(loss))
    }

    /// Operations on a disk begin to fail.
    pub fn inject(&self, disk: &str, fault: Fault) -> Result<(), ControlError> {
        self.act(disk, Action::Inject(fault))
    }

    /// Limits what a disk holds, in bytes.
    pub fn full(&self, disk: &str, bytes: Option<u64>) -> Result<(), ControlError> {
        self.act(disk, Action::Full(bytes))
    }

    /// Sets when the names of a disk become durable.
    pub fn mode(&self, disk: &str, mode: Mode) -> Result<(), ControlError> {
        self.act(disk, Action::Mode(mode))
    }

    /// Makes all that was written to a disk durable.
    pub fn sync(&self, disk: &str) -> Result<(), ControlError> {
        self.act(disk, Action::Sync)
    }

    /// Ends all faults of a disk, and its limit.
    pub fn clear(&self, disk: &str) -> Result<(), ControlError> {
        self.act(disk, Action::Clear)
    }

    /// What a disk was asked for.
    pub fn stats(&self, disk: &str) -> Result<Stats, ControlError> {
        Ok(serde_json::from_str(&self.ask(disk, Action::Stats)?)?)
    }

    fn act(&self, disk: &str, action: Action) -> Result<(), ControlError> {
        self.ask(disk, action).map(drop)
    }

    fn ask(&self, disk: &str, action: Action) -> Result<String, ControlError> {
        let command = format!("{}\n", Command { disk: disk.to_owned(), action });
        let mut file = File::options().read(true).write(true).open(&self.file)?;
        let written = file.write_all(command.as_bytes());
        let mut answer = String::new();
        match written {
            Ok(()) => {
                file.read_to_string(&mut answer)?;
                Ok(answer)
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                file.read_to_string(&mut answer)?;
                Err(ControlError::Refused(answer.strip_prefix("error: ").unwrap_or(&answer).trim_end().to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}
