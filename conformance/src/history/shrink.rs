//! Making a violation small: leaving out what it does not need, as long as the rest is impossible by itself.
//!
//! A smaller history that is impossible must mean that the whole one is, or the witness would accuse a store of what it did
//! not do. So each step only takes constraints away: whenever what was there had an order, what is left has one too.
//!
//! - **A read** goes: an order without it is an order of the rest.
//! - **A write** goes, or a compare that applied, when nothing that is left can have seen what it wrote. What could have
//!   (accepts the value) has to have returned before the call of the write, or to have been called after a third operation,
//!   one that certainly changed the key, began after the write returned and ended. Then, in any order, what follows the
//!   write up to the next change does not look, and that change does not depend on it: the order holds without the write.
//! - **A compare that applied** becomes a plain write: the order still holds if it does not compare.

use std::ops::Range;

use super::{
    Limits, Outcome,
    checker::{first_impossible, until},
    interval::Interval,
    register::{State, States, Step},
    search::Budget,
};

/// The smallest impossible part found within the limits, the impossible return last.
pub(super) fn shrink(mut intervals: Vec<Interval>, limits: Limits) -> Vec<Interval> {
    let budget = Budget::start(limits);
    let mut size = intervals.len().div_ceil(2);
    loop {
        let before = intervals.clone();
        let mut at = 0;
        while at < intervals.len() {
            match smaller(&intervals, at, size, &budget) {
                Some(smaller) => intervals = smaller,
                None => at += size,
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if intervals == before {
            return intervals;
        }
    }
}

/// The intervals without the ones from `at` that can go, if what is left is impossible: comparing no more, or as they are.
fn smaller(intervals: &[Interval], at: usize, size: usize, budget: &Budget) -> Option<Vec<Interval>> {
    let window = at..intervals.len().min(at + size);
    let mut weaker = intervals.to_vec();
    weaker[window.clone()].iter_mut().for_each(stop_comparing);
    [weaker, intervals.to_vec()].into_iter().find_map(|candidate| {
        let rest = leave_out(candidate, window.clone());
        let changed = rest.len() < intervals.len() || rest != intervals;
        let impossible = changed.then(|| first_impossible(&rest, budget).ok().flatten()).flatten()?;
        Some(until(&rest, impossible))
    })
}

fn stop_comparing(interval: &mut Interval) {
    interval.compares &= interval.outcome() != Some(&Outcome::Applied);
}

/// What is left when the intervals of a window go that can, the last first: each is judged by those that are left then.
fn leave_out(mut intervals: Vec<Interval>, window: Range<usize>) -> Vec<Interval> {
    let mut states = States::default();
    let mut left: Vec<_> =
        intervals.iter().map(|interval| states.step(interval).map(|step| (step, interval))).collect();
    let impossible = intervals.iter().filter_map(|interval| interval.end.as_ref()).map(|(end, _)| *end).max();
    for index in window.rev() {
        let can_go = match left[index] {
            Some((_, interval)) if Some(interval.deadline()) == impossible => false,
            None | Some((Step::Read(_), _)) => true,
            Some((Step::Write(set) | Step::Swap { set, .. }, write)) => !may_be_seen(set, write, &left),
        };
        if can_go {
            left[index] = None;
        }
    }
    let mut left = left.into_iter().map(|step| step.is_some()).collect::<Vec<_>>().into_iter();
    intervals.retain(|_| left.next().unwrap_or_default());
    intervals
}

/// Whether an operation that is left can have seen what a write wrote.
fn may_be_seen(value: State, write: &Interval, left: &[Option<(Step, &Interval)>]) -> bool {
    let others = || left.iter().flatten().filter(|(_, interval)| interval.call != write.call);
    let overwritten = others()
        .filter(|(step, interval)| step.becomes().is_some() && interval.call > write.deadline())
        .map(|(_, interval)| interval.deadline())
        .min()
        .unwrap_or(usize::MAX);
    others().any(|(step, interval)| {
        step.observes(value) && interval.deadline() > write.call && interval.call <= overwritten
    })
}
