//! What is run, as a table: each row is a line of the summary, whose steps are made one after the other.

use anyhow::{Result, ensure};

/// What was tried with every seed of the broken stores.
pub(crate) const BROKEN: &str = "broken";
/// What was tried of every case on every broken store.
pub(crate) const MATRIX: &str = "broken-matrix";
/// What the fuzzer made.
pub(crate) const FUZZ: &str = "fuzz";
/// How the name of a row ends whose store has another row.
pub(crate) const LONG: &str = "-long";

/// One line of the summary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its folder below the state has this name, too.
    pub(crate) name: &'static str,
    /// How many steps it has; a row that goes by time has one for each second.
    pub(crate) of: u32,
    /// In which turn its first step is due.
    pub(crate) first_turn: u32,
    pub(crate) work: Work,
}

/// What its steps are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A pass of the suite, with the next seed; `{}` in the address is the folder of the stores.
    Suite { address: &'static str, profile: &'static str },
    /// A second of load on a store.
    Load { address: &'static str },
    /// A second of the fuzzer.
    Fuzz,
    /// A test program, of the package in a folder.
    Test { folder: &'static str, test: &'static str, told: Told },
}

/// What the environment tells a test program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// The next seed.
    Seed,
    /// To put the cases of the next clause on every broken store.
    Clause,
    /// Something that does not change.
    Variable(&'static str, &'static str),
    /// Nothing.
    Nothing,
}

/// Stores that are sound: the name, how many seeds, how thorough each pass, the address. What the seeds of two rows have in
/// common is the code that they test: an option that changes little of it has fewer.
const SUITES: [(&str, u32, &str, &str); 18] = [
    ("mem", 100, "quick", "mem:"),
    ("mem-shared", 100, "quick", "mem:soak"),
    ("sqlite", 100, "quick", "sqlite:{}/a.db"),
    ("sqlite-normal", 100, "quick", "sqlite:{}/a.db?sync=normal"),
    ("rocksdb", 20, "quick", "rocksdb:{}/rocks"),
    ("rocksdb-unsynced", 20, "quick", "rocksdb:{}/rocks?sync=off"),
    ("mem-sha256", 20, "quick", "mem:?hash=sha256"),
    ("mem-unverified", 20, "quick", "mem:?verify=off"),
    ("sqlite-sha256", 20, "quick", "sqlite:{}/a.db?hash=sha256"),
    ("sqlite-unverified", 20, "quick", "sqlite:{}/a.db?verify=off"),
    ("sqlite-fast-poll", 20, "quick", "sqlite:{}/a.db?poll=1"),
    ("sqlite-slow-poll", 20, "quick", "sqlite:{}/a.db?poll=500"),
    ("mem-long", 5, "standard", "mem:"),
    ("mem-shared-long", 5, "standard", "mem:soak"),
    ("sqlite-long", 5, "standard", "sqlite:{}/a.db"),
    ("sqlite-normal-long", 5, "standard", "sqlite:{}/a.db?sync=normal"),
    ("rocksdb-long", 5, "standard", "rocksdb:{}/rocks"),
    ("rocksdb-unsynced-long", 5, "standard", "rocksdb:{}/rocks?sync=off"),
];

/// Stores under load.
const LOADS: [(&str, &str); 3] =
    [("load-mem", "mem:"), ("load-sqlite", "sqlite:{}/load.db"), ("load-rocksdb", "rocksdb:{}/load-rocks")];
const LOAD_SECONDS: u32 = 3600;
const FUZZ_SECONDS_OF_A_TARGET: u32 = 600;

/// Tests that have to catch what is broken, with one seed after the other: the name, the folder of the package, the test.
const SEEDED: [(&str, &str, &str); 3] = [
    (BROKEN, "conformance", "broken"),
    ("sqlite-power-loss", "backend-sqlite", "power_loss"),
    ("rocksdb-power-loss", "backend-rocksdb", "power_loss"),
];
const SEEDS_OF_A_TEST: u32 = 20;

/// Tests that are run once.
const ONCE: [(&str, &str, &str, Told); 4] = [
    ("s3-hostile", "backend-s3", "hostile", Told::Nothing),
    ("s3-memory", "backend-s3", "memory", Told::Nothing),
    ("s3-faults", "backend-s3", "faults", Told::Nothing),
    ("template", "examples/backend-template", "conformance", Told::Variable("IRMINSUL_PROFILE", "standard")),
];

/// All rows, for so many targets of the fuzzer.
pub(crate) fn all(fuzz_targets: u32) -> Vec<Row> {
    let row = |name, of, work| Row { name, of, first_turn: 0, work };
    let suites = SUITES.map(|(name, seeds, profile, address)| row(name, seeds, Work::Suite { address, profile }));
    let loads = LOADS.map(|(name, address)| row(name, LOAD_SECONDS, Work::Load { address }));
    let fuzz = row(FUZZ, FUZZ_SECONDS_OF_A_TARGET * fuzz_targets, Work::Fuzz);
    let seeded =
        SEEDED.map(|(name, folder, test)| row(name, SEEDS_OF_A_TEST, Work::Test { folder, test, told: Told::Seed }));
    let every_case = Work::Test { folder: "conformance", test: "broken", told: Told::Clause };
    let matrix = row(MATRIX, clauses().map(|_| 1).sum(), every_case);
    // In turns of their own, so that none holds up all that behind it has many steps.
    let once = (0..).zip(ONCE).map(|(first_turn, (name, folder, test, told))| Row {
        first_turn,
        ..row(name, 1, Work::Test { folder, test, told })
    });
    suites.into_iter().chain(loads).chain([fuzz]).chain(seeded).chain([matrix]).chain(once).collect()
}

/// The clauses with their areas, as the ids of their cases begin.
fn clauses() -> impl Iterator<Item = &'static str> {
    let mut clauses: Vec<_> = conformance::case_ids("").filter_map(|id| Some(id.split_once('-')?.0)).collect();
    clauses.sort_unstable();
    clauses.dedup();
    clauses.into_iter()
}

/// The rows that have one of the patterns as their name, or contain it where none has it; all, where there is none.
pub(crate) fn chosen(rows: &[Row], patterns: &[String]) -> Result<Vec<Row>> {
    for pattern in patterns {
        let names = rows.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        let known = rows.iter().any(|row| row.name.contains(pattern));
        ensure!(known, "--only: no row has {pattern:?} in its name; the rows are {names}");
    }
    let is_name = |pattern: &String| rows.iter().any(|row| row.name == pattern);
    let is_meant = |row: &Row, pattern| if is_name(pattern) { row.name == pattern } else { row.name.contains(pattern) };
    let is_chosen = |row: &&Row| patterns.is_empty() || patterns.iter().any(|pattern| is_meant(row, pattern));
    Ok(rows.iter().filter(is_chosen).copied().collect())
}

impl Row {
    /// Which part of a run is its own, where it goes by time.
    fn part(&self) -> Option<u32> {
        match self.work {
            Work::Load { .. } => Some(12),
            Work::Fuzz => Some(6),
            Work::Suite { .. } | Work::Test { .. } => None,
        }
    }

    /// Whether a step is a second.
    pub(crate) fn goes_by_time(&self) -> bool {
        self.part().is_some()
    }

    /// How many seconds it has in a run of so many minutes, where it goes by time: its part, or an equal one where no
    /// other kind of row is chosen, and no more than it lacks.
    pub(crate) fn share(&self, chosen: &[Self], minutes: u32, done: u32) -> u32 {
        let alone = chosen.iter().all(Self::goes_by_time);
        let parts = if alone { Some(chosen.iter().map(|_| 1).sum()) } else { self.part() };
        parts.map_or(0, |parts| minutes.saturating_mul(60) / parts).min(self.of.saturating_sub(done))
    }

    /// In which turn its next step is due, when so many are done: what goes by time comes first.
    pub(crate) fn turn(&self, done: u32) -> u32 {
        if self.goes_by_time() { 0 } else { self.first_turn + done }
    }
}

impl Told {
    /// The variables of a step, by its number.
    pub(crate) fn variables(self, step: u32) -> Vec<(&'static str, String)> {
        match self {
            Self::Seed => vec![("IRMINSUL_FIRST_SEED", step.to_string()), ("IRMINSUL_SEEDS", "1".to_owned())],
            Self::Clause => {
                let next = clauses().nth(step as usize);
                next.map(|clause| ("IRMINSUL_MATRIX", format!("{clause}-"))).into_iter().collect()
            }
            Self::Variable(name, value) => vec![(name, value.to_owned())],
            Self::Nothing => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(patterns: &[&str]) -> Result<Vec<&'static str>> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Ok(chosen(&all(2), &patterns)?.iter().map(|row| row.name).collect())
    }

    #[test]
    fn every_row_has_a_folder_of_its_own() {
        let names = names(&[]).unwrap();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_pattern_chooses_by_the_name_or_else_by_a_part_of_it_and_has_to_choose_something() {
        assert_eq!(names(&["broken", "sqlite"]).unwrap(), ["sqlite", BROKEN]);
        assert_eq!(names(&["roken", "uzz"]).unwrap(), [FUZZ, BROKEN, MATRIX]);
        let refused = names(&["fuzz", "rcksdb"]).unwrap_err().to_string();
        assert!(refused.starts_with("--only: no row has \"rcksdb\" in its name; the rows are mem, "), "{refused}");
    }

    #[test]
    fn every_clause_has_a_step_of_the_matrix_and_no_more() {
        let row = chosen(&all(2), &[MATRIX.to_owned()]).unwrap()[0];
        let cases = |step| match &Told::Clause.variables(step)[..] {
            [(_, pattern)] => conformance::case_ids(pattern).collect(),
            _ => Vec::new(),
        };
        assert!(cases(row.of).is_empty());
        let tried: BTreeSet<_> = (0..row.of).flat_map(cases).collect();
        assert_eq!(tried, conformance::case_ids("").collect());
    }

    #[test]
    fn what_goes_by_time_has_a_part_of_it_or_all_where_it_is_alone() {
        let rows = all(2);
        let by_time: Vec<Row> = rows.iter().copied().filter(Row::goes_by_time).collect();
        let [load, .., fuzz] = &by_time[..] else { panic!("loads, and the fuzzer") };
        assert_eq!((load.share(&rows, 60, 0), fuzz.share(&rows, 60, 0)), (300, 600));
        assert_eq!((load.share(&by_time, 60, 0), fuzz.share(&by_time[3..], 60, 0)), (900, 1200));
        assert_eq!((load.share(&rows, 60, 3500), load.share(&rows, 60, 3600)), (100, 0));
    }
}
