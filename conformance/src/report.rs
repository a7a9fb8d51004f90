//! What a run found, as data: how it is shown is left to the modules below.

mod html;
mod json;
#[cfg(test)]
mod sample;
mod terminal;

use std::{fmt, time::Duration};

use serde::Serialize;
use store_api::Guarantees;

use crate::{Clause, Crashes, Growth, history::Witness};

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The backend does not claim what the case is about.
    Unsupported,
    /// The backend kept the clause.
    Pass,
    /// What the case needs is missing here; the reason says what.
    Untested,
    /// Nothing was shown either way, as when a budget ran out or the machine was too slow.
    Inconclusive,
    /// The suite, or the factory, is at fault: nothing is known of the backend.
    HarnessError,
    /// The backend broke the clause.
    Fail,
}

impl Verdict {
    /// Every verdict, from the best to the worst.
    pub const ALL: [Self; 6] =
        [Self::Unsupported, Self::Pass, Self::Untested, Self::Inconclusive, Self::HarnessError, Self::Fail];

    /// Its name, as in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Pass => "pass",
            Self::Untested => "untested",
            Self::Inconclusive => "inconclusive",
            Self::HarnessError => "harness error",
            Self::Fail => "fail",
        }
    }

    /// Whether a run with such a case has failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::HarnessError)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one case found on one backend.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case, such as `atomic/A2-test-and-set-truth-table`.
    pub id: &'static str,
    /// The clause that it is about.
    pub clause: &'static str,
    /// How it ended; over several passes, the worst.
    pub verdict: Verdict,
    /// Why, in one line; nothing where it passed.
    pub reason: Option<String>,
    /// Where in the suite it was demanded: file and line.
    pub location: Option<String>,
    /// The run's seed that replays it, together with its id.
    pub seed: u64,
    /// The command that replays it, where the run was told [how it was started](crate::Options::command).
    pub replay: Option<String>,
    /// How long it took, over all passes.
    #[serde(rename = "seconds", serialize_with = "json::seconds")]
    pub duration: Duration,
    /// How often it cut the store off, over all passes.
    pub crashes: Crashes,
    /// How often what depends on luck met, such as two writes of one key, where the case counts that: the least of all
    /// passes. A fault that strikes once in a hundred meetings is missed by so many with a chance of 0.99 to that power.
    pub met: Option<usize>,
    /// How much the process that this case loads grew: the most of all passes. `None` for other cases.
    pub growth: Option<Growth>,
    /// What led to the failure: lines for people.
    pub details: Option<String>,
    /// The shortest history found that is impossible.
    pub witness: Option<Witness>,
}

impl CaseReport {
    /// Whether it ended so since something took too long.
    #[cfg(feature = "broken-stores")]
    pub(crate) fn is_late(&self) -> bool {
        self.reason.as_deref().is_some_and(crate::patience::is_of_patience)
    }

    /// Takes in what another pass found: the worst counts.
    fn add(&mut self, mut other: Self) {
        if other.verdict > self.verdict {
            std::mem::swap(self, &mut other);
        }
        self.take_in(&other);
    }

    /// Takes in how long another attempt took and what it measured, and not how it ended.
    pub(crate) fn take_in(&mut self, other: &Self) {
        self.duration += other.duration;
        self.crashes += other.crashes;
        self.met = self.met.into_iter().chain(other.met).min();
        self.growth = Growth::of_both(self.growth, other.growth);
    }
}

/// The verdict on a clause in figures: `pass 3`, or `fail 1 of 3` where its cases ended differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    verdict: Verdict,
    /// How many cases ended so.
    cases: usize,
    /// How many there are, without those that do not apply.
    of: usize,
}

impl Tally {
    /// How many, for people; nothing where no case applies.
    fn figures(self) -> String {
        match self {
            Self { of: 0, .. } => String::new(),
            Self { cases, of, .. } if cases == of => cases.to_string(),
            Self { cases, of, .. } => format!("{cases} of {of}"),
        }
    }
}

/// How a run ended on one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// Some cases that apply could not be run here.
    PassedInPart,
    /// It has not failed, and there are cases that showed nothing either way.
    NotSettled,
    /// No case showed anything.
    NothingTested,
    Failed,
}

/// What a run found on one backend.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackendReport {
    /// The backend, as its factory names it.
    pub name: String,
    /// What it declares; nothing where it could not be opened.
    #[serde(serialize_with = "json::guarantees")]
    pub declares: Option<Guarantees>,
    /// How many times the cases were run.
    pub passes: u64,
    /// Its cases, in the order of the clauses.
    pub cases: Vec<CaseReport>,
}

impl BackendReport {
    /// The cases that showed nothing either way, in two attempts each: with one of them the run has not passed.
    pub fn not_settled(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.verdict == Verdict::Inconclusive)
    }

    /// The verdict on a clause: the worst of its cases; passed where one passed and for the rest equipment is missing, or
    /// it is not supported. `None` where no case was about it.
    #[must_use]
    pub fn verdict_of(&self, clause: &str) -> Option<Verdict> {
        self.tally_of(clause).map(|tally| tally.verdict)
    }

    /// The cases about a clause.
    pub fn of_clause(&self, clause: &str) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(move |case| case.clause == clause)
    }

    /// How its cases ended, in a line: `142 passed, 1 failed, 12 unsupported, 4.1 s of cases`. They may take longer than
    /// the run, in which some are beside each other.
    fn figures(&self) -> String {
        let told = [
            (Verdict::Pass, "passed"),
            (Verdict::Fail, "failed"),
            (Verdict::HarnessError, "stopped by harness errors"),
            (Verdict::Inconclusive, "inconclusive"),
            (Verdict::Untested, "untested"),
            (Verdict::Unsupported, "unsupported"),
        ];
        let counts = told.map(|(verdict, word)| (self.count(verdict), word));
        let mut figures: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if figures.is_empty() {
            figures.push("no case was run".into());
        }
        if self.passes > 1 {
            figures.push(format!("{} passes", self.passes));
        }
        let Crashes { kills, power_losses } = self.crashes();
        let crashes = [(kills, "kills"), (power_losses, "power losses")];
        figures.extend(crashes.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
        if let Some(Growth { turns, threads, tasks, files, memory_kib }) = self.growth() {
            figures.push(format!(
                "{turns} turns of load (grown by {threads} threads, {tasks} tasks, {files} open files, {memory_kib} KiB)"
            ));
        }
        figures.push(format!("{:.1} s of cases", self.duration().as_secs_f64()));
        figures.join(", ")
    }

    /// What it declares, by name; nothing but that where it could not be opened.
    fn declared(&self) -> Vec<(&'static str, String)> {
        let Some(Guarantees { durability, visibility, index, watch_lag, .. }) = self.declares else {
            return vec![("nothing", "since it could not be opened".into())];
        };
        let lag = |lag: Duration| if lag.is_zero() { "at once".into() } else { format!("{lag:?}") };
        let others = watch_lag.others.map_or_else(|| "none".into(), lag);
        vec![
            ("durability", durability.to_string()),
            ("visibility", visibility.to_string()),
            ("index", index.to_string()),
            ("watch lag", format!("{}, others' {others}", lag(watch_lag.own))),
        ]
    }

    /// The cases with which the run has failed.
    fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.verdict.is_failure())
    }

    fn tally_of(&self, clause: &str) -> Option<Tally> {
        let verdicts = || self.of_clause(clause).map(|case| case.verdict);
        let worst = verdicts().max()?;
        let passed = verdicts().any(|verdict| verdict == Verdict::Pass);
        let verdict = if passed && worst == Verdict::Untested { Verdict::Pass } else { worst };
        Some(Tally {
            verdict,
            cases: verdicts().filter(|ended| *ended == verdict).count(),
            of: verdicts().filter(|ended| *ended != Verdict::Unsupported).count(),
        })
    }

    /// Takes in what further passes found.
    fn add(&mut self, further: Self) {
        self.passes += further.passes;
        for case in further.cases {
            match self.cases.iter_mut().find(|known| known.id == case.id) {
                Some(known) => known.add(case),
                None => self.cases.push(case),
            }
        }
    }

    /// How many cases ended like that.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// The time that its cases took, one after the other.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.cases.iter().map(|case| case.duration).sum()
    }

    /// How often its cases cut the store off, all together.
    #[must_use]
    pub fn crashes(&self) -> Crashes {
        let mut all = Crashes::default();
        self.cases.iter().for_each(|case| all += case.crashes);
        all
    }

    /// How much the processes that its cases load grew: the most of all. `None` where no case loads one.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        self.cases.iter().fold(None, |growth, case| Growth::of_both(growth, case.growth))
    }

    /// Whether the backend kept what was tested: no failure, no case that is not settled, and one at least that passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self.end(), End::Passed | End::PassedInPart)
    }

    fn end(&self) -> End {
        if self.failures().next().is_some() {
            return End::Failed;
        }
        if self.not_settled().next().is_some() {
            return End::NotSettled;
        }
        match (self.count(Verdict::Pass), self.count(Verdict::Untested)) {
            (0, _) => End::NothingTested,
            (_, 0) => End::Passed,
            _ => End::PassedInPart,
        }
    }
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the suite.
    pub suite: &'static str,
    /// The profile.
    pub profile: String,
    /// The seed of the first pass.
    pub seed: u64,
    /// Which cases were asked for, where not all.
    pub cases: Option<String>,
    /// The backends, in the order in which they were tested.
    #[serde(serialize_with = "json::backends")]
    pub backends: Vec<BackendReport>,
}

impl Report {
    /// Whether every backend passed; false for none.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.backends.is_empty() && self.backends.iter().all(BackendReport::passed)
    }

    /// The same run with what it found on further backends, and in further passes over the same ones.
    #[must_use]
    pub fn and(mut self, further: Self) -> Self {
        for backend in further.backends {
            match self.backends.iter_mut().find(|known| known.name == backend.name) {
                Some(known) => known.add(backend),
                None => self.backends.push(backend),
            }
        }
        self
    }

    /// The clauses that the run was about, in the contract's order.
    pub fn clauses(&self) -> impl Iterator<Item = &'static Clause> {
        let asked =
            |clause: &&Clause| self.backends.iter().any(|backend| backend.of_clause(clause.id).next().is_some());
        Clause::all().iter().filter(asked)
    }

    /// The same clauses by what they are about.
    fn groups(&self) -> Vec<(&'static str, Vec<&'static Clause>)> {
        let clauses: Vec<&Clause> = self.clauses().collect();
        let groups = clauses.chunk_by(|one, next| one.group() == next.group());
        groups.map(|group| (group[0].group(), group.to_vec())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_is_judged_by_the_worst_of_its_cases() {
        let report = sample::report();
        let [sound, broken, shut] = &report.backends[..] else { panic!("three backends") };
        let tally =
            |backend: &BackendReport, clause| backend.tally_of(clause).map(|tally| (tally.verdict, tally.figures()));
        assert_eq!(tally(sound, "A2"), Some((Verdict::Pass, "1 of 2".into())));
        assert_eq!(tally(sound, "W11"), Some((Verdict::Unsupported, String::new())));
        assert_eq!(tally(broken, "A2"), Some((Verdict::Fail, "1 of 2".into())));
        assert_eq!(tally(shut, "K1"), Some((Verdict::HarnessError, "1".into())));
        assert_eq!(tally(shut, "A2"), None);
        assert!(sound.passed() && !broken.passed() && !shut.passed() && !report.passed());
    }

    #[test]
    fn a_case_that_is_not_settled_is_hidden_by_none_that_passed() {
        let mut report = sample::report();
        report.backends.truncate(1);
        assert!(report.passed());
        report.backends[0].cases[2].verdict = Verdict::Inconclusive;
        assert!(!report.passed());
        let backend = &report.backends[0];
        assert_eq!(backend.verdict_of("A2"), Some(Verdict::Inconclusive));
        assert_eq!(backend.not_settled().map(|case| case.id).collect::<Vec<_>>(), ["atomic/A2-another"]);
        let shown = report.to_string();
        assert!(shown.contains("not settled: no other process\n  on sound  atomic/A2-another\n"), "{shown}");
        assert!(shown.contains("\nnot settled  sound\n") && !shown.contains("FAIL"), "{shown}");
        assert!(report.to_html().contains("<h1>sound is not settled</h1>"));
    }

    #[test]
    fn a_further_pass_counts_where_it_is_worse() {
        let good = Report { backends: vec![sample::report().backends.remove(0)], ..sample::report() };
        let mut bad = good.clone();
        let crashes = Crashes { kills: 2, power_losses: 1 };
        let grown = |files, memory_kib| Some(Growth { turns: 10, files, memory_kib, ..Growth::default() });
        let case = bad.backends[0].cases[1].clone();
        let growth = grown(0, 7);
        bad.backends[0].cases[1] = CaseReport { seed: 8, verdict: Verdict::Fail, crashes, growth, ..case };
        let mut last = good.clone();
        last.backends[0].cases[1].growth = grown(1, 5);
        let both = good.and(bad).and(last);
        let [backend] = &both.backends[..] else { panic!("one backend") };
        assert_eq!((backend.passes, backend.cases.len()), (3, 4));
        let case = &backend.cases[1];
        assert_eq!((case.verdict, case.seed, case.duration), (Verdict::Fail, 8, Duration::from_millis(4500)));
        assert_eq!(backend.crashes(), crashes);
        assert_eq!(backend.growth(), Some(Growth { turns: 20, files: 1, memory_kib: 7, ..Growth::default() }));
        let shown = backend.figures();
        let figure = "20 turns of load (grown by 0 threads, 0 tasks, 1 open files, 7 KiB), ";
        assert!(shown.contains(figure), "{shown}");
    }
}
