//! The ratios to look at first, each beside what it was meant to be.

use serde::Serialize;

use super::Report;
use crate::Workload;

/// A ratio within one run. Absolute figures differ from machine to machine; ratios much less.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Headline {
    /// What is compared.
    pub what: String,
    /// What it was meant to be.
    pub target: Target,
    /// What it is; nothing where a part of it was not measured.
    pub measured: Option<f64>,
    /// What both are counted in: `×` for a ratio.
    pub unit: &'static str,
    /// Whether it is what it was meant to be.
    pub is_met: Option<bool>,
}

/// What a ratio is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// So many times as fast, or more.
    AtLeast(f64),
    /// So many times as long, or less.
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(least) => measured >= least,
            Self::AtMost(most) => measured <= most,
        }
    }
}

impl Headline {
    /// A ratio that is meant to be this.
    #[must_use]
    pub fn new(what: impl Into<String>, target: Target, measured: impl Into<Option<f64>>) -> Self {
        let measured = measured.into();
        let is_met = measured.map(|measured| target.is_met_by(measured));
        Self { what: what.into(), target, measured, unit: "×", is_met }
    }

    /// The same, where it is no ratio.
    #[must_use]
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

impl Report {
    /// How many times as many operations a subject ends in a second as another does, with so many clients each.
    #[must_use]
    pub fn throughput_ratio(&self, workload: Workload, one: (&str, usize), other: (&str, usize)) -> Option<f64> {
        let rate = |(subject, clients)| Some(self.series(subject, workload, clients)?.per_second());
        ratio(rate(one)?, rate(other)?)
    }

    /// How many times as long a subject takes for an operation as another does, half of the time, with one client each.
    #[must_use]
    pub fn time_ratio(&self, workload: Workload, one: &str, other: &str) -> Option<f64> {
        let time = |subject| Some(self.series(subject, workload, 1)?.latency().p50_us);
        ratio(time(one)?, time(other)?)
    }
}

/// `None` where one of them is 0, as of a run that was too short for one operation.
fn ratio(one: f64, other: f64) -> Option<f64> {
    (one > 0.0 && other > 0.0).then(|| one / other)
}
