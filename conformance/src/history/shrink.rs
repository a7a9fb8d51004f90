//! Making a violation small: leaving out what it does not need, as long as the rest is impossible by itself.
//!
//! That the rest is impossible must mean that the whole is, or the witness would accuse a store of what it did not do. So
//! whatever order explained the whole has to explain the rest as well, once what is missing is struck out:
//!
//! - **A read** may be left out: it changed nothing.
//! - **A compare that applied** may stay as the plain write that it implies: it is no longer said what it saw.
//! - **A write**, or a compare that applied, may be left out if nothing in the rest can have seen its value: what accepts
//!   the value returned before it was called, or was called after an operation of the rest returned that certainly
//!   changed the key and was called after the write returned. In an order of both, what follows the write up to the next
//!   change then does not look at the key, and that change is a plain write (a compare would have accepted the value):
//!   without the write the order holds as well. Several can go at once, compares among them as plain writes first, since
//!   nothing but the rest is asked.
//!
//! So what observes the key is chosen, and [`Whole::complete`] adds the writes that it can have seen.

use std::collections::BTreeMap;

use super::{
    Limits,
    checker::timed,
    interval::Interval,
    register::{States, Step},
    search::{Budget, impossible_return},
};

/// The smallest impossible part found within the limits, or all of it where they do not suffice.
pub(super) fn shrink(intervals: &[Interval], limits: Limits) -> Vec<Interval> {
    let whole = Whole::new(intervals, Budget::start(limits));
    let part = whole.last_observers(usize::MAX).unwrap_or_else(|| whole.everything());
    whole.intervals(&whole.minimal(part))
}

/// Whether what was observed last is impossible by itself, found with a share of the budget.
///
/// It settles what a search through the whole cannot where many unknown outcomes allow too much.
pub(super) fn has_impossible_part(intervals: &[Interval], budget: &Budget) -> bool {
    Whole::new(intervals, budget.share()).last_observers(FEW).is_some()
}

/// How many observations a search through a part is quick for.
const FEW: usize = 64;

/// A part of the whole: the indices of its operations, and whether each is kept as one that observes the key.
type Part = BTreeMap<usize, bool>;

struct Whole<'w> {
    intervals: &'w [Interval],
    steps: Vec<Option<Step>>,
    budget: Budget,
}

impl<'w> Whole<'w> {
    fn new(intervals: &'w [Interval], budget: Budget) -> Self {
        let mut states = States::default();
        let steps = intervals.iter().map(|interval| states.step(interval)).collect();
        Self { intervals, steps, budget }
    }

    fn everything(&self) -> Part {
        (0..self.steps.len()).map(|index| (index, self.can_observe(index))).collect()
    }

    fn can_observe(&self, index: usize) -> bool {
        matches!(self.steps[index], Some(Step::Read(_) | Step::Swap { .. }))
    }

    fn has_returned(&self, index: usize) -> bool {
        self.intervals[index].end.is_some()
    }

    /// Of the operations that observe the key, as many of those that returned last as it takes. Compares with an unknown
    /// outcome are plain writes beside them, or observe as well where that is not enough.
    fn last_observers(&self, most: usize) -> Option<Part> {
        let observers = (0..self.steps.len()).filter(|&index| self.can_observe(index) && self.has_returned(index));
        let mut observers: Vec<_> = observers.map(|index| (index, true)).collect();
        observers.sort_unstable_by_key(|&(index, _)| std::cmp::Reverse(self.intervals[index].deadline()));
        observers.truncate(most);
        let doubled = std::iter::successors(Some(1), |count| (*count < observers.len()).then_some(count * 2));
        doubled
            .flat_map(|count| [Unknown::Writes, Unknown::Compares].map(|unknown| (count, unknown)))
            .filter_map(|(count, unknown)| self.complete(observers.iter().take(count).copied().collect(), unknown))
            .find(|part| self.is_impossible(part))
    }

    /// Leaves out operations, many and then few at a time, until none can go by itself.
    fn minimal(&self, mut part: Part) -> Part {
        let mut size = part.len().div_ceil(2);
        loop {
            let (mut changed, mut at) = (false, 0);
            while at < part.len() {
                match self.smaller(&part, at, size) {
                    Some(smaller) => (part, changed) = (smaller, true),
                    None => at += size,
                }
            }
            match size {
                0 | 1 if !changed => return part,
                0 | 1 => {}
                _ => size = size.div_ceil(2),
            }
        }
    }

    /// The part without some of its operations, or else with compares among them as plain writes, where it stays impossible.
    fn smaller(&self, part: &Part, at: usize, size: usize) -> Option<Part> {
        let (mut without, mut weaker) = (part.clone(), part.clone());
        for &index in part.keys().skip(at).take(size) {
            without.remove(&index);
            if matches!(self.steps[index], Some(Step::Swap { .. })) {
                weaker.insert(index, false);
            }
        }
        let measure = |part: &Part| (part.len(), part.values().filter(|&&observes| observes).count());
        [without, weaker]
            .into_iter()
            .filter_map(|candidate| self.complete(candidate, Unknown::Writes))
            .find(|candidate| measure(candidate) < measure(part) && self.is_impossible(candidate))
    }

    fn is_impossible(&self, part: &Part) -> bool {
        let (_, operations) = timed(&self.intervals(part));
        matches!(impossible_return(&operations, &self.budget.share(), |_| false), Ok(Some(_)))
    }

    fn intervals(&self, part: &Part) -> Vec<Interval> {
        let keep = |(&index, &observes): (&usize, &bool)| {
            let compares = observes || !self.can_observe(index);
            Interval { compares, ..self.intervals[index].clone() }
        };
        part.iter().map(keep).collect()
    }

    /// Adds the writes that what observes the key can have seen: those that the last certain change before it leaves, with
    /// that change. `None` when the time is over.
    fn complete(&self, mut part: Part, unknown: Unknown) -> Option<Part> {
        let mut observers: Vec<_> = part.iter().filter(|(_, observes)| **observes).map(|(&index, _)| index).collect();
        while let Some(observer) = observers.pop() {
            self.budget.check_time().ok()?;
            if self.missing(&part, observer).is_empty() {
                continue;
            }
            let last_change = self.changes_before(observer).max_by_key(|&change| self.intervals[change].call);
            part.extend(last_change.filter(|change| !part.contains_key(change)).map(|change| (change, false)));
            for write in self.missing(&part, observer) {
                let observing = unknown == Unknown::Compares && !self.has_returned(write) && self.can_observe(write);
                part.insert(write, observing);
                observers.extend(observing.then_some(write));
            }
        }
        Some(part)
    }

    /// The writes that an operation can have seen and that are not in the part, by what is in it.
    fn missing(&self, part: &Part, observer: usize) -> Vec<usize> {
        let changes = self.changes_before(observer).filter(|change| part.contains_key(change));
        let last_change = changes.map(|change| self.intervals[change].call).max().unwrap_or(0);
        let seen = |write: &usize| {
            self.sees(observer, *write) && self.intervals[*write].deadline() >= last_change && !part.contains_key(write)
        };
        (0..self.steps.len()).filter(seen).collect()
    }

    /// What certainly changed the key, and returned before the operation was called.
    fn changes_before(&self, observer: usize) -> impl Iterator<Item = usize> {
        let call = self.intervals[observer].call;
        (0..self.steps.len()).filter(move |&index| {
            self.intervals[index].deadline() < call && self.steps[index].is_some_and(|step| step.becomes().is_some())
        })
    }

    fn sees(&self, observer: usize, write: usize) -> bool {
        let written = self.steps[write].and_then(Step::becomes);
        observer != write
            && self.intervals[write].call < self.intervals[observer].deadline()
            && self.steps[observer].zip(written).is_some_and(|(step, value)| step.observes(value))
    }
}

/// What a compare with an unknown outcome is added as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Writes,
    Compares,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::history::{Operation, Outcome};

    /// What an operation does, how long before and after its instant it is pending, whether its outcome is known, and
    /// whether the part begins with it.
    type Plan = (u8, u8, u8, usize, usize, bool, bool);

    /// Intervals of a real register: operations in an order, each pending around its place in it.
    fn linearizable(plans: &[Plan]) -> Vec<Interval> {
        let value = |number: u8| (number % 3 != 2).then(|| vec![b'0' + number % 3].into());
        let mut current = None;
        let mut intervals = Vec::new();
        for (place, &(kind, first, second, before, after, known, _)) in plans.iter().enumerate() {
            let (test, set) = (value(first), value(second));
            let (operation, outcome) = match kind % 4 {
                0 => (Operation::Find, Outcome::Found(current.clone())),
                1 => (set.clone().map_or(Operation::Remove, Operation::Set), Outcome::Done),
                _ if test == current => (Operation::TestAndSet { test, set: set.clone() }, Outcome::Applied),
                _ => (Operation::TestAndSet { test, set: set.clone() }, Outcome::Mismatch { current: None }),
            };
            if matches!(outcome, Outcome::Done | Outcome::Applied) {
                current = set;
            }
            // Three instants for each place, and so far apart that all events differ.
            let at = |instant: usize| instant * plans.len() + place;
            let end = known.then(|| (at(3 * plans.len() + 3 * place + 2 + after), outcome));
            let call = at((3 * plans.len() + 3 * place).saturating_sub(before));
            intervals.push(Interval { process: place as u64, operation, call, end, compares: true });
        }
        intervals.sort_by_key(|interval| interval.call);
        intervals
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn no_part_of_a_history_that_has_an_order_is_impossible(
            plans in vec((any::<u8>(), any::<u8>(), any::<u8>(), 0usize..30, 0usize..30, prop::bool::weighted(0.8), any::<bool>()), 1..25),
        ) {
            let intervals = linearizable(&plans);
            let whole = Whole::new(&intervals, Budget::start(Limits::default()));
            prop_assert!(!whole.is_impossible(&whole.everything()));
            let chosen = |&index: &usize| {
                whole.can_observe(index) && whole.has_returned(index) && plans[index].6
            };
            let observers: Part = (0..intervals.len()).filter(chosen).map(|index| (index, true)).collect();
            for unknown in [Unknown::Writes, Unknown::Compares] {
                let part = whole.complete(observers.clone(), unknown).unwrap();
                prop_assert!(!whole.is_impossible(&part));
            }
            prop_assert_eq!(whole.last_observers(usize::MAX), None);
        }
    }
}
