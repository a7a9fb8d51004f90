//! What a run found, as data: how it is shown is left to the modules below.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use crate::{Clause, history::Witness};

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
    /// How long it took, over all passes.
    #[serde(rename = "seconds", serialize_with = "in_seconds")]
    pub duration: Duration,
    /// What led to the failure: lines for people.
    pub details: Option<String>,
    /// The shortest history found that is impossible.
    pub witness: Option<Witness>,
}

/// What a run found on one backend.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackendReport {
    /// The backend, as its factory names it.
    pub name: String,
    /// What it declares, by the name of the guarantee; empty where it could not be opened.
    pub declares: BTreeMap<&'static str, String>,
    /// How many times the cases were run.
    pub passes: u64,
    /// Its cases, in the order of the clauses.
    pub cases: Vec<CaseReport>,
}

impl BackendReport {
    /// The clauses that the run was asked about, that the backend does not disclaim, and that no case tested for another
    /// reason than missing equipment: each is a failure of the run.
    pub fn not_tested(&self) -> impl Iterator<Item = &'static Clause> {
        Clause::all().iter().filter(|clause| matches!(self.verdict_of(clause.id), Some(Verdict::Inconclusive)))
    }

    /// The verdict on a clause: the worst of its cases; passed where one passed and the rest could not be tested or is
    /// not supported. `None` where no case was about it.
    #[must_use]
    pub fn verdict_of(&self, clause: &str) -> Option<Verdict> {
        let of_clause = || self.cases.iter().filter(|case| case.clause == clause).map(|case| case.verdict);
        let worst = of_clause().max()?;
        let passed = of_clause().any(|verdict| verdict == Verdict::Pass);
        Some(if passed && !worst.is_failure() { Verdict::Pass } else { worst })
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

    /// Whether the backend kept what was tested: no failure, no clause that is declared and was not tested, and one case
    /// at least that passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|case| !case.verdict.is_failure())
            && self.count(Verdict::Pass) > 0
            && self.not_tested().next().is_none()
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
    pub backends: Vec<BackendReport>,
}

impl Report {
    /// Whether every backend passed; false for none.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.backends.is_empty() && self.backends.iter().all(BackendReport::passed)
    }

    /// The same run with what it found on further backends.
    #[must_use]
    pub fn and(mut self, further: Self) -> Self {
        self.backends.extend(further.backends);
        self
    }
}

fn in_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// The failure of a case, for a terminal: what was demanded, where, and how to see it again.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.verdict, self.reason.as_deref().unwrap_or("nothing to tell"))?;
        if let Some(clause) = Clause::by_id(self.clause) {
            writeln!(f, "  clause {}: {}", clause.id, clause.text)?;
        }
        if let Some(location) = &self.location {
            writeln!(f, "  demanded at {location}")?;
        }
        writeln!(f, "  seen again with seed {} and case {}", self.seed, self.id)?;
        if let Some(witness) = &self.witness {
            write!(f, "\n{witness}")?;
        }
        if let Some(details) = &self.details {
            writeln!(f, "\n{details}")?;
        }
        Ok(())
    }
}
