//! Clients that take their credentials from the environment.

use std::{
    env, io,
    process::{Command, ExitCode},
};

use crate::Kind;

/// Runs this program again in an environment that has the credentials of these servers, and gives how it ended; `None`
/// where the environment has them. A process cannot safely change its own.
///
/// # Errors
///
/// Those of the system, when it cannot be run.
pub fn with_credentials(kinds: &[Kind]) -> io::Result<Option<ExitCode>> {
    let credentials = || kinds.iter().flat_map(|kind| kind.credentials());
    if credentials().all(|(name, value)| env::var(name).is_ok_and(|given| given == value)) {
        return Ok(None);
    }
    let again = Command::new(env::current_exe()?).args(env::args_os().skip(1)).envs(credentials()).status()?;
    Ok(Some(again.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)))
}
