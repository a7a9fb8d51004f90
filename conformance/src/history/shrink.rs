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
    checker::first_impossible,
    interval::Interval,
    register::{States, Step},
    search::Budget,
};

/// The smallest impossible part found within the limits, or all of it where they do not suffice.
pub(super) fn shrink(intervals: &[Interval], limits: Limits) -> Vec<Interval> {
    let whole = Whole::new(intervals, limits);
    let part = whole.last_observers().unwrap_or_else(|| whole.everything());
    whole.intervals(&whole.minimal(part))
}

/// A part of the whole: the indices of its operations, and whether each is kept as one that observes the key.
type Part = BTreeMap<usize, bool>;

struct Whole<'w> {
    intervals: &'w [Interval],
    steps: Vec<Option<Step>>,
    budget: Budget,
}

impl<'w> Whole<'w> {
    fn new(intervals: &'w [Interval], limits: Limits) -> Self {
        let mut states = States::default();
        let steps = intervals.iter().map(|interval| states.step(interval)).collect();
        Self { intervals, steps, budget: Budget::start(limits) }
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
    fn last_observers(&self) -> Option<Part> {
        let observers = (0..self.steps.len()).filter(|&index| self.can_observe(index) && self.has_returned(index));
        let mut observers: Vec<_> = observers.map(|index| (index, true)).collect();
        observers.sort_unstable_by_key(|&(index, _)| std::cmp::Reverse(self.intervals[index].deadline()));
        let doubled = std::iter::successors(Some(1), |count| (*count < observers.len()).then_some(count * 2));
        doubled
            .flat_map(|count| [Unknown::Writes, Unknown::Compares].map(|unknown| (count, unknown)))
            .map(|(count, unknown)| self.complete(observers.iter().take(count).copied().collect(), unknown))
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
            .map(|candidate| self.complete(candidate, Unknown::Writes))
            .find(|candidate| measure(candidate) < measure(part) && self.is_impossible(candidate))
    }

    fn is_impossible(&self, part: &Part) -> bool {
        matches!(first_impossible(&self.intervals(part), &self.budget), Ok(Some(_)))
    }

    fn intervals(&self, part: &Part) -> Vec<Interval> {
        let keep = |(&index, &observes): (&usize, &bool)| {
            let compares = observes || !self.can_observe(index);
            Interval { compares, ..self.intervals[index].clone() }
        };
        part.iter().map(keep).collect()
    }

    /// Adds the writes that what observes the key can have seen: those that the last certain change before it leaves, with
    /// that change.
    fn complete(&self, mut part: Part, unknown: Unknown) -> Part {
        let mut observers: Vec<_> = part.iter().filter(|(_, observes)| **observes).map(|(&index, _)| index).collect();
        while let Some(observer) = observers.pop() {
            if self.missing(&part, observer).is_empty() {
                continue;
            }
            let last_change = self.changes_before(observer).max_by_key(|&change| self.intervals[change].call);
            last_change.into_iter().for_each(|change| drop(part.entry(change).or_insert(false)));
            for write in self.missing(&part, observer) {
                let observes = unknown == Unknown::Compares && !self.has_returned(write) && self.can_observe(write);
                part.insert(write, observes);
                observers.extend(observes.then_some(write));
            }
        }
        part
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
