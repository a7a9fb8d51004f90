//! Checks on generated inputs: one that fails is made smaller for as long as it goes on failing, and then shown.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    context::Context,
    failure::{Failure, Kind, Outcome},
    lock::lock,
    show::Show,
};

/// How many inputs are checked in a round.
const INPUTS: u32 = 8;

/// How long an input that fails is made smaller, in milliseconds.
const SHRINKING: u32 = 60_000;

/// Checks generated inputs, [`INPUTS`] in each of so many rounds or more. A failure is the smallest input's that was
/// found; the check is in a hurry once it has failed.
pub(crate) async fn for_any<T, S, F>(
    context: &Context,
    rounds: usize,
    inputs: impl Fn() -> S,
    check: impl Fn(Context, T) -> F + Clone + Send + 'static,
) -> Outcome
where
    T: Show + Clone + std::fmt::Debug + Send + 'static,
    S: Strategy<Value = T> + Send + 'static,
    F: Future<Output = Outcome> + Send,
{
    for round in context.rounds_for_a_moment(rounds, 1_000) {
        let seed = context.seed().wrapping_add(round as u64);
        let (of, inputs, check) = (context.clone(), inputs(), check.clone());
        let runtime = Handle::current();
        spawn_blocking(move || one_round(&of, seed, &inputs, |context, input| runtime.block_on(check(context, input))))
            .await??;
    }
    Ok(())
}

fn one_round<T: Show + Clone + std::fmt::Debug>(
    context: &Context,
    seed: u64,
    inputs: &impl Strategy<Value = T>,
    check: impl Fn(Context, T) -> Outcome,
) -> Outcome {
    let failures = Arc::new(Mutex::new(Vec::<(T, Failure)>::new()));
    let config = Config {
        cases: INPUTS,
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINKING,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng(seed));
    let run = runner.run(inputs, |input| {
        let first = lock(&failures).first().map(|(_, failure)| failure.kind());
        if first.is_some_and(|kind| kind != Kind::Broken) {
            // There is nothing to make smaller.
            return Ok(());
        }
        let context = if first.is_some() { context.hurried() } else { context.clone() };
        let checked = catch_unwind(AssertUnwindSafe(|| check(context, input.clone())));
        let checked = checked.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)));
        let Err(failure) = checked else { return Ok(()) };
        let reason = failure.to_string();
        lock(&failures).push((input, failure));
        Err(TestCaseError::fail(reason))
    });
    let mut failures = std::mem::take(&mut *lock(&failures));
    match run {
        Ok(()) => Ok(()),
        Err(TestError::Abort(reason)) => Err(Failure::harness(reason)),
        Err(TestError::Fail(..)) => {
            // In its hurry the smallest one may be wrong about a slow machine. The first is not.
            let first = failures.swap_remove(0);
            let smallest =
                failures.pop().and_then(|(input, _)| Some((input.clone(), check(context.clone(), input).err()?)));
            let (input, failure) = smallest.filter(|(_, failure)| failure.kind() == Kind::Broken).unwrap_or(first);
            Err(failure.preceded_by(format_args!("the shortest input found that fails:\n{}", input.show())))
        }
    }
}

/// The random choices of a seed.
fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}
