//! What a run was measured on: without it, no figure means anything.

use std::{fs, path::Path, thread, time::Duration};

use serde::Serialize;
use store_api::Result;

use crate::{
    disk::sync_time,
    report::tables::{bytes, time},
};

/// The machine of a run; nothing where the system does not tell.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The system and the architecture.
    pub system: String,
    /// The kernel.
    pub kernel: Option<String>,
    /// The processor.
    pub processor: Option<String>,
    /// How many cores this process may use.
    pub cores: Option<usize>,
    /// How much memory there is.
    pub memory_bytes: Option<u64>,
    /// How many processes wanted to run, on average over a minute, before the run began: what was measured right
    /// before it counts as well.
    pub load_before: Option<f64>,
    /// The same when it had ended, this one included.
    pub load_after: Option<f64>,
    /// How long the disk takes to append 4 KiB and sync them, the median of 64: about the least of a
    /// durable write.
    #[serde(serialize_with = "microseconds")]
    pub sync_us: Duration,
    /// Where that was.
    pub synced_in: String,
}

impl Machine {
    /// The machine, before a run whose files will be in a directory, and what that is called.
    pub fn before(place: &Path, called: impl Into<String>) -> Result<Self> {
        let of_file = |path: &str, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kibibytes = |text: String| text.strip_suffix(" kB")?.parse::<u64>().ok();
        Ok(Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            processor: of_file("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().ok().map(Into::into),
            memory_bytes: of_file("/proc/meminfo", "MemTotal").and_then(kibibytes).map(|kibibytes| kibibytes * 1024),
            load_before: load_average(),
            load_after: None,
            sync_us: sync_time(place)?,
            synced_in: called.into(),
        })
    }

    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self {
            system: "linux x86_64".into(),
            kernel: Some("6.1".into()),
            processor: Some("A processor".into()),
            cores: Some(2),
            memory_bytes: Some(8 << 30),
            load_before: Some(0.1),
            load_after: Some(2.0),
            sync_us: Duration::from_micros(500),
            synced_in: "a directory".into(),
        }
    }

    /// The same machine when the run has ended.
    pub(crate) fn has_ended(&mut self) {
        self.load_after = load_average();
    }
}

impl Machine {
    /// The machine in lines, each with its name.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".into());
        let load = |load: Option<f64>| load.map_or_else(|| "not known".into(), |load| format!("{load:.2}"));
        vec![
            ("system", format!("{}, kernel {}", self.system, known(&self.kernel))),
            ("processor", known(&self.processor)),
            ("cores", self.cores.map_or_else(|| "not known".into(), |cores| cores.to_string())),
            ("memory", self.memory_bytes.map_or_else(|| "not known".into(), bytes)),
            ("load average", format!("{} before, {} after", load(self.load_before), load(self.load_after))),
            ("append and sync 4 KiB", format!("{}, in {}", time(self.sync_us.as_secs_f64() * 1e6), self.synced_in)),
        ]
    }
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn microseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e6)
}
