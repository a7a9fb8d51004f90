//! Generated sequences of operations, each of which is done by one of a few handles.
//!
//! Every operation is possible in every state, so plain sequences are generated: a part of one is a sequence as well, and
//! shrinking needs no model of what may follow what.

use std::fmt::Debug;

use proptest::{collection::vec, prelude::*};

use crate::{
    failure::{Failure, Outcome},
    show::Show,
};

/// How many handles do the steps, the first half of them of one instance, the rest of the other where there are two.
pub(crate) const HANDLES: usize = 4;

/// An operation and the handle that does it.
#[derive(Clone, Debug)]
pub(crate) struct Step<O> {
    pub handle: usize,
    pub operation: O,
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

    /// Does the steps in their order. A failure says at which.
    pub(crate) async fn follow(&self, mut step: impl AsyncFnMut(&Step<O>) -> Outcome) -> Outcome {
        for (i, next) in self.0.iter().enumerate() {
            let done = step(next).await;
            done.map_err(|failure: Failure| failure.within(format_args!("step {i}, {}", next.show())))?;
        }
        Ok(())
    }
}

impl<O: Show> Show for Script<O> {
    fn show(&self) -> String {
        self.0.iter().enumerate().map(|(i, step)| format!("  {i}. {}", step.show())).collect::<Vec<_>>().join("\n")
    }
}
