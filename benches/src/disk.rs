//! The directories of stores, what lies in them, and how long the disk below takes for a sync.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use store_api::{Error, ErrorKind, Result};

/// A directory for the files of a subject, below another.
pub(crate) fn directory(place: &Path, name: &str) -> Result<PathBuf> {
    let step = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let directory = place.join(name.chars().map(step).collect::<String>());
    fs::create_dir_all(&directory).map_err(refused)?;
    Ok(directory)
}

/// The bytes of all files below a directory.
pub(crate) fn bytes_below(directory: &Path) -> Result<u64> {
    fn sum(directory: &Path) -> io::Result<u64> {
        fs::read_dir(directory)?.try_fold(0, |bytes, entry| {
            let entry = entry?;
            let below = if entry.file_type()?.is_dir() { sum(&entry.path())? } else { entry.metadata()?.len() };
            Ok(bytes + below)
        })
    }
    sum(directory).map_err(refused)
}

const SYNCED: usize = 64;

/// How long the disk takes to append 4 KiB to a file and to sync it: about the least of a durable write of one client. A log
/// whose room was made before can be faster, as its length need not be written.
pub(crate) fn sync_time(directory: &Path) -> Result<Duration> {
    let path = directory.join("synced");
    let times = (|| {
        let mut file = File::create(&path)?;
        let mut times = Vec::with_capacity(SYNCED);
        for _ in 0..SYNCED {
            let began = Instant::now();
            file.write_all(&[b'.'; 4096])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        fs::remove_file(&path)?;
        Ok(times)
    })();
    let mut times: Vec<Duration> = times.map_err(refused)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn refused(source: io::Error) -> Error {
    Error::new(ErrorKind::Other, "the directory of the benchmark: the file system refused").with_source(source)
}
