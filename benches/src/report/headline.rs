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
    pub measured: Option<Measured>,
    /// What both are counted in: `×` for a ratio.
    pub unit: &'static str,
    /// Whether it is what it was meant to be; nothing where that was not measured, or its interval spans the target.
    pub is_met: Option<bool>,
}

/// A figure, and the interval that it lies in with a confidence of 95 %, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// The best estimate.
    pub value: f64,
    /// The ends of the interval; both are the estimate where none is known.
    pub between: (f64, f64),
}

impl Measured {
    /// An estimate, and the ends of its interval.
    #[must_use]
    pub fn new(value: f64, low: f64, high: f64) -> Self {
        Self { value, between: (low, high) }
    }

    /// How many times as much this is.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let ((low, high), (least, most)) = (self.between, other.between);
        Self::new(self.value / other.value, low / most, high / least)
    }

    /// How much more this is.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let ((low, high), (least, most)) = (self.between, other.between);
        Self::new(self.value - other.value, low - most, high - least)
    }

    /// The same in a unit of which so many make one.
    #[must_use]
    pub fn times(self, many: f64) -> Self {
        Self::new(self.value * many, self.between.0 * many, self.between.1 * many)
    }
}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self::new(value, value, value)
    }
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
    /// Nothing where one end of the interval would meet it, and the other not.
    fn is_met_by(self, measured: Measured) -> Option<bool> {
        let meets = |measured| match self {
            Self::AtLeast(least) => measured >= least,
            Self::AtMost(most) => measured <= most,
        };
        let [low, high] = <[f64; 2]>::from(measured.between).map(meets);
        (low == high).then_some(low)
    }
}

impl Headline {
    /// A ratio that is meant to be this.
    #[must_use]
    pub fn new(what: impl Into<String>, target: Target, measured: Option<impl Into<Measured>>) -> Self {
        let measured = measured.map(Into::into);
        let is_met = measured.and_then(|measured| target.is_met_by(measured));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(target: Target, measured: Measured) -> Option<bool> {
        Headline::new("a ratio", target, Some(measured)).is_met
    }

    #[test]
    fn an_interval_that_spans_the_target_has_no_verdict() {
        assert_eq!(verdict(Target::AtMost(2.0), Measured::new(1.5, 1.4, 1.6)), Some(true));
        assert_eq!(verdict(Target::AtMost(2.0), Measured::new(1.9, 1.7, 2.1)), None);
        assert_eq!(verdict(Target::AtLeast(2.0), Measured::new(2.1, 1.9, 2.3)), None);
        assert_eq!(verdict(Target::AtLeast(2.0), Measured::new(1.5, 1.4, 1.6)), Some(false));
        assert_eq!(verdict(Target::AtLeast(2.0), Measured::from(2.0)), Some(true));
        assert_eq!(Headline::new("a ratio", Target::AtLeast(2.0), None::<f64>).is_met, None);
    }

    #[test]
    fn a_ratio_is_as_uncertain_as_both_of_its_parts() {
        let (one, other) = (Measured::new(6.0, 4.0, 8.0), Measured::new(2.0, 1.0, 4.0));
        assert_eq!(one.over(other), Measured::new(3.0, 1.0, 8.0));
        assert_eq!(one.minus(other), Measured::new(4.0, 0.0, 7.0));
        assert_eq!(other.times(1000.0), Measured::new(2000.0, 1000.0, 4000.0));
    }
}
