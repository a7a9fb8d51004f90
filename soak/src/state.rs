//! What was done of each row, in a folder of its own, so that the next run goes on there.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use conformance::Growth;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::rows::Row;

/// What was done of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    pub(crate) steps: u32,
    /// How long they took, all together.
    pub(crate) took: Duration,
    /// How many cases lacked equipment.
    pub(crate) untested: u64,
    pub(crate) kills: u64,
    pub(crate) power_losses: u64,
    pub(crate) growth: Option<Growth>,
    /// Inputs of the fuzzer, by target.
    pub(crate) inputs: BTreeMap<String, u64>,
    /// Cases that were put on every broken store, and those of them that caught none.
    pub(crate) cases: u64,
    pub(crate) catching_none: u64,
    /// The commands that replay the failures of its passes, as far as they were told.
    pub(crate) replays: BTreeSet<String>,
    /// Where to read of what failed.
    pub(crate) failures: BTreeSet<String>,
}

/// What `irminsul conform` keeps of the passes that it made with a report.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Passes {
    pub(crate) next_pass: u32,
    pub(crate) kills: u64,
    pub(crate) power_losses: u64,
    pub(crate) growth: Option<Growth>,
    pub(crate) failures: BTreeSet<String>,
}

impl Passes {
    /// Of a row, in its folder; none before the first.
    pub(crate) fn kept_in(folder: &Path) -> Result<Self> {
        Ok(read(&folder.join("soak.json"))?.unwrap_or_default())
    }
}

/// The report of `irminsul conform`, as far as it is counted.
#[derive(Deserialize)]
struct Report {
    backends: Vec<Backend>,
}

#[derive(Deserialize)]
struct Backend {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    verdict: String,
}

/// How many cases the report in a folder has as untested.
pub(crate) fn untested_in(folder: &Path) -> Result<u64> {
    let report: Report = read(&folder.join("report.json"))?.context("irminsul conform wrote no report")?;
    let cases = report.backends.iter().flat_map(|backend| &backend.cases);
    Ok(cases.filter(|case| case.verdict == "untested").map(|_| 1).sum())
}

/// The folders of all rows, for one state of the code.
pub(crate) struct State {
    folder: PathBuf,
}

impl State {
    pub(crate) fn of(digest: &str) -> Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        Ok(Self { folder: std::path::absolute(target)?.join("soak").join(digest) })
    }

    /// Creates it, and keeps other runs away while the file is held.
    pub(crate) fn hold(&self) -> Result<File> {
        fs::create_dir_all(self.stores())?;
        let lock = File::create(self.folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => bail!("another run goes on in {}: wait for it", self.folder.display()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Where the stores are that have files.
    pub(crate) fn stores(&self) -> PathBuf {
        self.folder.join("stores")
    }

    pub(crate) fn folder(&self, row: &Row) -> PathBuf {
        self.folder.join(row.name)
    }

    /// What was done of a row, which is refused where a file of it is garbled.
    pub(crate) fn done(&self, row: &Row) -> Result<Done> {
        Passes::kept_in(&self.folder(row))?;
        Ok(read(&self.file(row))?.unwrap_or_default())
    }

    pub(crate) fn done_of(&self, rows: &[Row]) -> Result<Vec<(Row, Done)>> {
        rows.iter().map(|row| Ok((*row, self.done(row)?))).collect()
    }

    /// Writes it whole: an interruption leaves what was there before.
    pub(crate) fn keep(&self, row: &Row, done: &Done) -> Result<()> {
        let file = self.file(row);
        let beside = file.with_added_extension("new");
        fs::write(&beside, serde_json::to_string_pretty(done)?)
            .and_then(|()| fs::rename(&beside, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn file(&self, row: &Row) -> PathBuf {
        self.folder(row).join("done.json")
    }
}

/// What is in a file of a row; nothing where there is none.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let folder = file.parent().unwrap_or(file);
    let garbled = || format!("{} is garbled: remove {} to begin it anew", file.display(), folder.display());
    serde_json::from_slice(&bytes).map(Some).with_context(garbled)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::rows::Work;

    const ROW: Row = Row { name: "mem", of: 3, first_turn: 0, work: Work::Suite { address: "mem:", profile: "quick" } };

    fn state() -> (TempDir, State) {
        let folder = TempDir::new().unwrap();
        let state = State { folder: folder.path().to_owned() };
        fs::create_dir(state.folder(&ROW)).unwrap();
        (folder, state)
    }

    #[test]
    fn what_was_done_is_read_as_it_was_kept() {
        let (_folder, state) = state();
        assert_eq!(state.done(&ROW).unwrap(), Done::default());
        let mut growth = Growth::default();
        growth.turns = 7;
        let done = Done {
            steps: 2,
            took: Duration::from_millis(1500),
            growth: Some(growth),
            inputs: [("key".to_owned(), 9)].into(),
            failures: ["a page".to_owned()].into(),
            ..Done::default()
        };
        state.keep(&ROW, &done).unwrap();
        assert_eq!(state.done_of(&[ROW]).unwrap()[0].1, done);
        let files: Vec<_> = fs::read_dir(state.folder(&ROW)).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["done.json"]);
    }

    #[test]
    fn a_garbled_file_is_refused_with_what_to_do() {
        for (name, text) in [("done.json", "{\"steps\": 2"), ("done.json", "{}"), ("soak.json", "{\"next_pass\": -1}")]
        {
            let (_folder, state) = state();
            fs::write(state.folder(&ROW).join(name), text).unwrap();
            let refused = state.done(&ROW).unwrap_err().to_string();
            let folder = state.folder(&ROW);
            let wanted =
                format!("{} is garbled: remove {} to begin it anew", folder.join(name).display(), folder.display());
            assert_eq!(refused, wanted);
        }
    }

    #[test]
    fn passes_and_reports_are_read_as_the_command_writes_them() {
        let (_folder, state) = state();
        let folder = state.folder(&ROW);
        assert_eq!(Passes::kept_in(&folder).unwrap(), Passes::default());
        let written = r#"{"stores":["mem:"],"profile":"quick","cases":null,"faulty_fs":true,"seed":7,"kills":3,
            "power_losses":4,"growth":{"turns":1,"threads":0,"tasks":0,"files":2,"memory_kib":5},"next_pass":2,
            "failures":["irminsul conform mem: --seed 8"]}"#;
        fs::write(folder.join("soak.json"), written).unwrap();
        let passes = Passes::kept_in(&folder).unwrap();
        assert_eq!((passes.next_pass, passes.kills, passes.power_losses), (2, 3, 4));
        assert_eq!(passes.growth.map(|growth| (growth.files, growth.memory_kib)), Some((2, 5)));
        assert_eq!(passes.failures, ["irminsul conform mem: --seed 8".to_owned()].into());
        let case = |verdict| format!(r#"{{"id":"a/A1-b","verdict":"{verdict}"}}"#);
        let cases = ["pass", "untested", "fail", "untested"].map(case).join(",");
        fs::write(folder.join("report.json"), format!(r#"{{"backends":[{{"cases":[{cases}]}}]}}"#)).unwrap();
        assert_eq!(untested_in(&folder).unwrap(), 2);
    }

    #[test]
    fn one_run_keeps_another_away() {
        let (_folder, state) = state();
        let held = state.hold().unwrap();
        assert!(state.hold().unwrap_err().to_string().starts_with("another run goes on in "));
        drop(held);
        state.hold().unwrap();
    }
}
