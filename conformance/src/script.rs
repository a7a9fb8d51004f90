//! Generated sequences of operations, each of which is done by one of a few handles.
//!
//! Every operation is possible in every state, so plain sequences are generated: a part of one is a sequence as well, and
//! shrinking needs no model of what may follow what.

use std::fmt::Debug;

use proptest::{collection::vec, prelude::*};

use crate::{failure::Failure, show::Show};

/// How many handles do the steps, the first half of them of one instance, the rest of the other where there are two.
pub(crate) const HANDLES: usize = 4;

/// An operation and the handle that does it.
#[derive(Clone, Debug)]
pub(crate) struct Step<O> {
    pub handle: usize,
    pub operation: O,
}

impl<O: Show> Step<O> {
    /// Says of a failure that it came in this step, of this number.
    pub(crate) fn failed(&self, number: usize, failure: Failure) -> Failure {
        failure.within(format_args!("step {number}, {}", self.show()))
    }
}

impl<O: Show> Show for Step<O> {
    fn show(&self) -> String {
        format!("handle {}: {}", self.handle, self.operation.show())
    }
}

/// Steps, shown one a line.
#[derive(Clone, Debug)]
pub(crate) struct Script<O>(Vec<Step<O>>);

impl<O: Show> Script<O> {
    /// Fewer steps than `below`, and one at least.
    pub(crate) fn any(operation: impl Strategy<Value = O>, below: usize) -> impl Strategy<Value = Self>
    where
        O: Debug,
    {
        let step = (0..HANDLES, operation).prop_map(|(handle, operation)| Step { handle, operation });
        vec(step, 1..below).prop_map(Self)
    }

    /// The steps in their order, with their numbers.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (usize, &Step<O>)> {
        self.0.iter().enumerate()
    }
}

impl<O: Show> Show for Script<O> {
    fn show(&self) -> String {
        self.0.iter().enumerate().map(|(i, step)| format!("  {i}. {}", step.show())).collect::<Vec<_>>().join("\n")
    }
}
