//! What a soak leaves for the one that goes on with it: what it is of, the seed, how much was done, and the failures so
//! far.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use conformance::{Growth, Report};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, file::write_file};

const FILE: &str = "soak.json";

/// The passes of a soak. Without a file it begins anew each time.
pub(super) struct Soak {
    file: Option<PathBuf>,
    state: State,
}

/// What the passes of a soak have in common, since their failures are told together.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SoakSettings {
    /// The addresses of the stores.
    pub(super) stores: Vec<String>,
    /// How thorough each pass is.
    pub(super) profile: String,
    /// Which cases were asked for, where not all.
    pub(super) cases: Option<String>,
    /// Whether a faulty-fs was there.
    pub(super) faulty_fs: bool,
}

#[derive(Serialize, Deserialize)]
struct State {
    #[serde(flatten)]
    settings: SoakSettings,
    seed: u64,
    /// How often the stores were cut off, in all passes so far.
    #[serde(default)]
    kills: u64,
    #[serde(default)]
    power_losses: u64,
    /// By how much processes grew whose stores were loaded, where any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    growth: Option<Growth>,
    next_pass: u64,
    /// The commands that replay what failed, or was not settled, and the passes in which nothing passed.
    failures: BTreeSet<String>,
}

impl Soak {
    /// Goes on where the one before stopped, where there was one; it keeps its seed, and is of the same.
    pub(super) fn resume(directory: Option<&Path>, settings: SoakSettings, seed: Option<u64>) -> Result<Self, Failure> {
        let file = directory.map(|directory| directory.join(FILE));
        let earlier = file.as_deref().map_or(Ok(None), read)?;
        if let Some(other) = earlier.as_ref().and_then(|earlier| settings.differs_from(&earlier.settings)) {
            return Err(Failure::refused(format!(
                "--report: the soak of this report has other {other}: give it the same, or name another directory"
            )));
        }
        if let (Some(earlier), Some(seed)) = (&earlier, seed)
            && earlier.seed != seed
        {
            return Err(Failure::refused(format!(
                "--seed: the soak of this report began with seed {}: leave --seed out, or name another directory",
                earlier.seed
            )));
        }
        let fresh = || State {
            settings,
            seed: seed.unwrap_or_else(random_seed),
            kills: 0,
            power_losses: 0,
            growth: None,
            next_pass: 0,
            failures: BTreeSet::new(),
        };
        Ok(Self { file, state: earlier.unwrap_or_else(fresh) })
    }

    pub(super) fn seed(&self) -> u64 {
        self.state.seed
    }

    pub(super) fn next_pass(&self) -> u64 {
        self.state.next_pass
    }

    /// The failures of all passes so far, as commands that replay them, and the passes that showed nothing.
    pub(super) fn failures(&self) -> &BTreeSet<String> {
        &self.state.failures
    }

    /// Takes in what a pass has found.
    pub(super) fn passed(&mut self, report: &Report) -> Result<(), Failure> {
        for backend in &report.backends {
            let failed = backend.cases.iter().filter(|case| case.verdict.is_failure());
            let mut replays = failed.chain(backend.not_settled()).filter_map(|case| case.replay.clone()).peekable();
            if replays.peek().is_none() && !backend.passed() {
                let nothing = format!("pass {} of {}: no case passed", self.state.next_pass, backend.name);
                self.state.failures.insert(nothing);
            }
            self.state.failures.extend(replays);
            let crashes = backend.crashes();
            self.state.kills += crashes.kills;
            self.state.power_losses += crashes.power_losses;
            if let Some(growth) = backend.growth() {
                *self.state.growth.get_or_insert_default() += growth;
            }
        }
        self.state.next_pass += 1;
        let Some(file) = &self.file else { return Ok(()) };
        let state = serde_json::to_string(&self.state).map_err(|e| Failure::Output(e.into()))?;
        write_file(file, &state)
    }
}

impl SoakSettings {
    /// In what it is another one.
    fn differs_from(&self, earlier: &Self) -> Option<&'static str> {
        let differences = [
            (self.stores != earlier.stores, "stores"),
            (self.profile != earlier.profile, "thoroughness (--profile)"),
            (self.cases != earlier.cases, "cases (--case)"),
            (self.faulty_fs != earlier.faulty_fs, "equipment (--faulty-fs)"),
        ];
        differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// One that a person can type again.
fn random_seed() -> u64 {
    fastrand::u64(..1 << 32)
}

fn read(file: &Path) -> Result<Option<State>, Failure> {
    let what = || file.display().to_string();
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| Failure::Read {
            what: format!("{}, which no soak wrote: remove it, or name another directory", what()),
            source: source.into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Read { what: what(), source }),
    }
}
