//! Growth, each subject in a process of its own: memory is that of the process.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use benches::{Growth, GrowthPlan, Progress};
use store_api::{Error, ErrorKind, Result};

use crate::{
    Arguments,
    engines::map,
    subjects::{by_name, name},
};

/// Those that can grow, with the durability that leaves the disk out of it.
pub(crate) const SUBJECTS: [&str; 7] = [
    name::MEM,
    map::NAME,
    name::SQLITE_RELAXED,
    name::RAW_SQLITE_RELAXED,
    name::ROCKSDB_RELAXED,
    name::RAW_ROCKSDB_RELAXED,
    name::FJALL_RELAXED,
];

/// Measures one subject in a copy of this program.
pub(crate) fn in_a_process(subject: &str, arguments: &Arguments, progress: &Progress) -> Result<Growth> {
    progress.doing(&format!("growth: {subject}"));
    let mut command = Command::new(std::env::current_exe().map_err(lost)?);
    command.args(["--grow", subject, "--largest", &arguments.largest.to_string()]);
    command.args(
        [(arguments.bench, "--bench"), (arguments.quick, "--quick")].iter().filter(|(is, _)| *is).map(|(_, arg)| arg),
    );
    if let Some(place) = &arguments.place {
        command.arg("--place").arg(place);
    }
    let ended = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(lost)?;
    progress.done();
    serde_json::from_slice(&ended.stdout).map_err(|error| {
        let message = format!("the growth of {subject} was not measured: its process ended with {}", ended.status);
        Error::new(ErrorKind::Other, message).with_source(error)
    })
}

/// What that copy does.
pub(crate) async fn grow(subject: &str, place: &Path, plan: &GrowthPlan) -> Result<()> {
    let unknown = || Error::new(ErrorKind::InvalidInput, "--grow: no subject has this name");
    let growth: Growth = by_name(subject).ok_or_else(unknown)?.grow(place, plan).await?;
    let told = serde_json::to_vec(&growth).map_err(|error| lost(error.into()))?;
    io::stdout().write_all(&told).map_err(lost)
}

fn lost(source: io::Error) -> Error {
    Error::new(ErrorKind::Other, "the process that measures growth").with_source(source)
}
