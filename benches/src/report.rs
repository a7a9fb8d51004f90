//! What a run found, as data: how it is shown is left to the modules below.

mod headline;
mod html;
mod json;
mod plot;
#[cfg(test)]
mod sample;
pub(crate) mod tables;
mod terminal;
mod warnings;

use std::{error, iter, time::Duration};

use serde::{Deserialize, Serialize};
use store_api::{Durability, Error, ErrorKind, Result};

pub use self::{
    headline::{Headline, Measured, Target},
    tables::bytes,
};
use crate::{Delivery, Facts, Growth, Loaded, Machine, Plan, Remote, Slow, Stall, Syncs, Workload, driver::Times};

/// What a run found, with everything that it depends on.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the benchmarks.
    pub version: &'static str,
    /// The command that measures it again.
    pub command: String,
    /// What it was measured on.
    pub machine: Machine,
    /// The settings of the load part.
    pub plan: Plan,
    /// What was measured.
    pub subjects: Vec<CheckedSubject>,
    /// One call after another, where that was measured.
    pub singles: Vec<Single>,
    /// The load part.
    pub load: Vec<Series>,
    /// The delivery part.
    pub deliveries: Vec<Delivery>,
    /// Watchers that never look.
    pub slow: Vec<Slow>,
    /// The stall part.
    pub stalls: Vec<Stall>,
    /// The growth part.
    pub growth: Vec<Growth>,
    /// Stores behind a network.
    pub remote: Vec<Remote>,
    /// The ratios to look at first.
    pub headlines: Vec<Headline>,
    /// What was to be measured and could not be.
    pub failed: Vec<Failed>,
}

/// A part of a run that failed; the others stand.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Failed {
    pub what: String,
    pub why: String,
}

/// A subject, and whether it is as durable as it says.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckedSubject {
    /// The subject.
    #[serde(flatten)]
    pub facts: Facts,
    /// The syncs that the writes of one client caused; nothing where they were not counted.
    pub syncs: Option<Syncs>,
    /// Whether they are what its durability asks for.
    pub is_checked: Option<bool>,
}

impl CheckedSubject {
    /// A subject with the syncs of its writes, where they were counted.
    #[must_use]
    pub fn new(facts: Facts, syncs: Option<Syncs>) -> Self {
        let is_checked = syncs.map(|syncs| syncs.fit(facts.durability));
        Self { facts, syncs, is_checked }
    }
}

/// What one operation takes when a single client does one after another.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Single {
    pub operation: String,
    pub subject: String,
    /// How long the values are.
    pub value_len: u64,
    /// The median, in microseconds, with the interval that it lies in.
    pub median_us: Measured,
}

/// The runs of one subject in one workload with so many clients.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Series {
    /// The name of the subject.
    pub subject: String,
    /// What its clients did.
    pub workload: Workload,
    /// How many they were.
    pub clients: usize,
    /// What was found, run by run.
    pub runs: Vec<Run>,
}

impl Series {
    pub(crate) fn new(subject: &str, workload: Workload, clients: usize) -> Self {
        Self { subject: subject.to_owned(), workload, clients, runs: Vec::new() }
    }

    /// How many operations ended in a second: the median of the runs.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        median(self.runs.iter().map(|run| run.per_second))
    }

    /// By how much of that median the slowest and the fastest run lie apart; `None` of a single run.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        let rates = || self.runs.iter().map(|run| run.per_second);
        let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        (self.runs.len() > 1).then(|| (most - least) / self.per_second())
    }

    /// Of each percentile the median of the runs.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let of = |part: fn(&Latency) -> f64| median(self.runs.iter().map(|run| part(&run.latency)));
        Latency {
            count: self.runs.iter().map(|run| run.latency.count).min().unwrap_or_default(),
            p50_us: of(|latency| latency.p50_us),
            p90_us: of(|latency| latency.p90_us),
            p99_us: of(|latency| latency.p99_us),
            p999_us: of(|latency| latency.p999_us),
            max_us: of(|latency| latency.max_us),
        }
    }
}

/// What one run found.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// How many operations ended in a second.
    pub per_second: f64,
    /// How long one took.
    pub latency: Latency,
}

impl Run {
    pub(crate) fn of(times: &Times, ended: u64, recorded: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let per_second = ended as f64 / recorded.as_secs_f64();
        Self { per_second, latency: Latency::of(times) }
    }
}

/// How long something took, by percentile, in microseconds; a mean would hide what matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub count: u64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn of(times: &Times) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "times have three digits")]
        let us = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let at = |quantile| us(times.value_at_quantile(quantile));
        Self {
            count: times.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(times.max()),
        }
    }

    /// What its parts are called.
    const NAMES: [&str; 5] = ["50 %", "90 %", "99 %", "99.9 %", "all"];

    /// The parts that so many times can tell: a percentile beyond which none lies is the slowest by another name.
    fn points(&self) -> [Option<f64>; 5] {
        let from = |count, us| (self.count >= count).then_some(us);
        [from(1, self.p50_us), from(10, self.p90_us), self.p99(), self.p999(), from(1, self.max_us)]
    }

    fn p99(&self) -> Option<f64> {
        (self.count >= 100).then_some(self.p99_us)
    }

    fn p999(&self) -> Option<f64> {
        (self.count >= 1000).then_some(self.p999_us)
    }
}

/// An error in one line, with what lies beneath it and nothing twice.
#[must_use]
pub fn with_causes(error: &dyn error::Error) -> String {
    let mut line = error.to_string();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        // Many an error tells its source in its own words already.
        if !line.contains(&cause) {
            line += ": ";
            line += &cause;
        }
    }
    line.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

impl Report {
    /// A report without findings yet.
    #[must_use]
    pub fn new(command: impl Into<String>, machine: Machine, plan: Plan) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: command.into(),
            machine,
            plan,
            subjects: Vec::new(),
            singles: Vec::new(),
            load: Vec::new(),
            deliveries: Vec::new(),
            slow: Vec::new(),
            stalls: Vec::new(),
            growth: Vec::new(),
            remote: Vec::new(),
            headlines: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Takes the rows that a part found; one that failed is named and has none.
    pub fn take<R>(&mut self, what: impl Into<String>, found: Result<Vec<R>>, rows: fn(&mut Self) -> &mut Vec<R>) {
        match found {
            Ok(found) => rows(self).extend(found),
            Err(error) => self.failed.push(Failed { what: what.into(), why: with_causes(&error) }),
        }
    }

    /// Takes the rows of a table of loads, and which of its subjects failed.
    pub fn take_loads(&mut self, durability: Durability, loaded: Loaded) {
        self.load.extend(loaded.series);
        for (subject, error) in loaded.failed {
            let what = format!("loads at durability {durability}: {subject}");
            self.failed.push(Failed { what, why: with_causes(&error) });
        }
    }

    /// That all of the run could be measured, or what could not be.
    pub fn check(&self) -> Result<()> {
        let [first, others @ ..] = &self.failed[..] else { return Ok(()) };
        let others = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        let message = format!("a part of the run failed, {}: {}{others}", first.what, first.why);
        Err(Error::new(ErrorKind::Other, message))
    }

    /// The same when the run is over.
    #[must_use]
    pub fn ended(mut self) -> Self {
        self.machine.has_ended();
        self
    }

    /// The report as files, each with its name: a page, data, a page of Markdown, and where durable writes of few
    /// and of many clients were measured, a picture of them.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut files =
            vec![("report.html", self.to_html()), ("report.json", self.to_json()), ("report.md", self.to_markdown())];
        files.extend(self.to_svg().map(|picture| ("durable-set.svg", picture)));
        files
    }

    /// The time of an operation when a single client does one after another.
    #[must_use]
    pub fn single(&self, operation: &str, subject: &str, value_len: u64) -> Option<Measured> {
        let is_it = |single: &&Single| {
            single.operation == operation && single.subject == subject && single.value_len == value_len
        };
        self.singles.iter().find(is_it).map(|single| single.median_us)
    }

    /// An operation of a subject behind a network.
    #[must_use]
    pub fn behind_a_network(&self, operation: &str, subject: &str) -> Option<&Remote> {
        self.remote.iter().find(|remote| remote.operation == operation && remote.subject == subject)
    }

    /// The series of a subject in a workload with so many clients.
    #[must_use]
    pub fn series(&self, subject: &str, workload: Workload, clients: usize) -> Option<&Series> {
        let is_it =
            |series: &&Series| series.subject == subject && series.workload == workload && series.clients == clients;
        self.load.iter().find(is_it)
    }

    /// The subjects of a table: those with one durability.
    fn subjects_with(&self, durability: Durability) -> impl Iterator<Item = &CheckedSubject> {
        self.subjects.iter().filter(move |subject| subject.facts.durability == durability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_what_lies_beneath_it_and_nothing_twice() {
        let line = |message: &'static str, source: &'static str| {
            with_causes(&Error::new(ErrorKind::Other, message).with_source(source))
        };
        assert_eq!(line("reading failed", "the disk\n  is gone"), "reading failed: the disk is gone");
        assert_eq!(line("reading failed: the disk is gone", "the disk is gone"), "reading failed: the disk is gone");
    }

    #[test]
    fn of_several_runs_the_median_counts() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()).to_string(), "2");
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()).to_string(), "2.5");
        let report = sample::report();
        let series = report.series("ours", Workload::Set, 64).unwrap();
        assert_eq!((series.per_second(), series.spread()), (2000.0, Some(0.5)));
        assert_eq!(report.series("ours", Workload::Set, 1).unwrap().spread(), None);
        assert_eq!(series.latency(), sample::LATENCY);
    }

    #[test]
    fn a_percentile_beyond_which_nothing_lies_is_not_told() {
        let told = |count| Latency { count, ..sample::LATENCY }.points().map(|point| point.is_some());
        assert_eq!(told(0), [false; 5]);
        assert_eq!(told(99), [true, true, false, false, true]);
        assert_eq!(told(999), [true, true, true, false, true]);
        assert_eq!(told(1000), [true; 5]);
    }

    #[test]
    fn a_subject_is_checked_against_the_durability_that_it_declares() {
        let checked = |durability, syncs| {
            let facts = Facts { durability, ..sample::facts("ours", crate::Role::Ours) };
            CheckedSubject::new(facts, Some(Syncs { writes: 100, syncs })).is_checked
        };
        assert_eq!(checked(Durability::Power, 100), Some(true));
        assert_eq!(checked(Durability::Power, 99), Some(false));
        assert_eq!(checked(Durability::Process, 100), Some(false));
        assert_eq!(checked(Durability::Process, 3), Some(true));
    }
}
