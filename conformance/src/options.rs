//! What a run is asked for.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use crate::CaseReport;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Profile {
    /// Each case once, with few rounds: under ten seconds on an engine in memory.
    #[default]
    Quick,
    /// Each case once, with five times the rounds of a quick run: some minutes on an embedded engine.
    Standard,
    /// The standard rounds over and over, each pass with the next seed, as long as was asked.
    Soak(#[serde(skip)] Duration),
}

impl Profile {
    pub(crate) fn rounds(self, quick: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Standard | Self::Soak(_) => quick.saturating_mul(5),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Soak(_) => "soak",
        })
    }
}

/// The name of a profile; a `soak` that is named so takes an hour.
impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "quick" => Ok(Self::Quick),
            "standard" => Ok(Self::Standard),
            "soak" => Ok(Self::Soak(Duration::from_hours(1))),
            other => Err(format!("no profile {other:?}: it is one of quick, standard, soak")),
        }
    }
}

/// What happens in a run, for whoever shows progress.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// So many cases are about to run, in this pass of a soak or in all.
    Started {
        /// The backend.
        backend: String,
        /// How many cases apply to it.
        cases: usize,
    },
    /// A case ended.
    Ended {
        /// The backend.
        backend: String,
        /// The case, and how it ended.
        case: Box<CaseReport>,
    },
}

type Listener = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a run is asked for.
///
/// ```
/// use conformance::{Options, Profile};
///
/// let options = Options::new().profile(Profile::Standard).seed(7).case("watch/*");
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) profile: Profile,
    pub(crate) seed: u64,
    pub(crate) cases: Option<String>,
    pub(crate) jobs: usize,
    pub(crate) patience: Duration,
    /// Where a `faulty-fs` is mounted, or why none is.
    pub(crate) faulty_fs: Result<PathBuf, String>,
    /// What keeps it mounted.
    _mounted: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) first_pass: u64,
    command: Option<String>,
    pub(crate) listener: Option<Listener>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The quick profile, every case, a random seed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            profile: Profile::Quick,
            seed: fastrand::u64(..1 << 32),
            cases: None,
            jobs: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            patience: Duration::from_secs(30),
            faulty_fs: Err("no faulty-fs is mounted: see `Options::faulty_fs`".to_owned()),
            _mounted: None,
            first_pass: 0,
            command: None,
            listener: None,
        }
    }

    /// How thorough the run is.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// What all random choices of the run derive from: the same seed makes the same choices, though not the same
    /// interleaving of threads.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Only the cases whose id contains this text, or matches it where it has a `*` for any text.
    #[must_use]
    pub fn case(mut self, pattern: impl Into<String>) -> Self {
        self.cases = Some(pattern.into());
        self
    }

    /// How many cases [`run`](crate::run) runs at once; by default one per core. Native tests run as many as their test
    /// runner does (`--test-threads`).
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// How long the suite waits for something that must happen, such as an event of a watch; 30 seconds by default.
    ///
    /// Time in which the machine was too busy to run a control timer does not count, and where the disk of temporary files
    /// is slow to sync, the case is inconclusive instead of failed. The wait is extended by the watch lag that the backend
    /// declares, and by the time that its answers take.
    ///
    /// A case that needs concurrent calls to meet by chance tries for as long; if too few met, it is inconclusive. A case
    /// hangs if the store gives no answer for ten times as long.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The mount point of a `faulty-fs`, for the cases of power loss and failing disks; without one they are untested.
    #[must_use]
    pub fn faulty_fs(mut self, mount_point: impl Into<PathBuf>) -> Self {
        self.faulty_fs = Ok(mount_point.into());
        self
    }

    /// Why there is no `faulty-fs`, such as what the system lacks: the reason of the cases that are untested for that.
    #[must_use]
    pub fn without_faulty_fs(mut self, reason: impl fmt::Display) -> Self {
        self.faulty_fs = Err(format!("no faulty-fs is mounted: {reason}"));
        self
    }

    /// Mounts a `faulty-fs` where none is named yet, for as long as these options or their clones are there. Where that
    /// fails, the error is the reason of the cases that are untested for it.
    #[must_use]
    pub fn mounting<M, E>(self, mount: impl FnOnce() -> Result<M, E>) -> Self
    where
        M: AsRef<Path> + Send + Sync + 'static,
        E: fmt::Display,
    {
        if self.faulty_fs.is_ok() {
            return self;
        }
        match mount() {
            Ok(mounted) => {
                let options = self.faulty_fs(mounted.as_ref());
                Self { _mounted: Some(Arc::new(mounted)), ..options }
            }
            Err(reason) => self.without_faulty_fs(reason),
        }
    }

    /// The first pass of a soak that goes on where another one stopped.
    #[must_use]
    pub fn first_pass(mut self, pass: u64) -> Self {
        self.first_pass = pass;
        self
    }

    /// The command line of this run, word by word and without the stores, such as `irminsul conform --profile standard`.
    /// Reports print it with a backend, `--seed` and `--case` added, to replay a case.
    #[must_use]
    pub fn command<W: AsRef<str>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        let words: Vec<String> = words.into_iter().map(|word| in_shell(word.as_ref()).into_owned()).collect();
        self.command = Some(words.join(" "));
        self
    }

    /// Who is told how far the run is; called from several threads.
    #[must_use]
    pub fn on_progress(mut self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// The command that replays a case.
    pub(crate) fn replay(&self, backend: &str, seed: u64, case: &str) -> Option<String> {
        let command = self.command.as_ref()?;
        Some(format!("{command} {} --seed {seed} --case {case}", in_shell(backend)))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        if let Some(listener) = &self.listener {
            listener(progress);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("profile", &self.profile)
            .field("seed", &self.seed)
            .field("cases", &self.cases)
            .field("jobs", &self.jobs)
            .field("patience", &self.patience)
            .field("faulty_fs", &self.faulty_fs)
            .finish_non_exhaustive()
    }
}

/// A word as a shell takes it.
fn in_shell(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_fs_stays_mounted_as_long_as_the_options_and_is_not_mounted_beside_another() {
        #[derive(Clone)]
        struct Mount(Arc<PathBuf>);
        impl AsRef<Path> for Mount {
            fn as_ref(&self) -> &Path {
                &self.0
            }
        }
        let mount = Mount(Arc::new("/mnt/faulty".into()));
        let options = Options::new().mounting(|| Ok::<_, String>(mount.clone()));
        let later = options.clone().mounting(|| -> Result<Mount, String> { panic!("one is mounted") });
        drop(options);
        assert_eq!(later.faulty_fs.as_ref(), Ok(&*mount.0));
        assert_eq!(Arc::strong_count(&mount.0), 2);
        drop(later);
        assert_eq!(Arc::strong_count(&mount.0), 1);
    }

    #[test]
    fn a_faulty_fs_that_cannot_be_mounted_is_a_reason() {
        let options = Options::new().mounting(|| Err::<PathBuf, _>("there is no device"));
        assert_eq!(options.faulty_fs, Err("no faulty-fs is mounted: there is no device".to_owned()));
    }

    #[test]
    fn a_replay_is_a_command_that_a_shell_takes() {
        let options = Options::new().command(["my program", "conform"]);
        let replay = |backend| options.replay(backend, 7, "a/A1-x").unwrap();
        assert_eq!(replay("mem:"), "'my program' conform mem: --seed 7 --case a/A1-x");
        assert_eq!(replay("s:it's?a=b&c"), r"'my program' conform 's:it'\''s?a=b&c' --seed 7 --case a/A1-x");
        assert_eq!(Options::new().replay("mem:", 7, "a/A1-x"), None);
    }
}
