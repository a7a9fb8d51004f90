//! Clients that do random things to a few keys, recorded, and the demand that some order explains what they were told.

use bytes::Bytes;
use store_api::{AtomicWrite, Key, Result, TestAndSet};

use crate::{
    failure::{Failure, Outcome},
    history::{self, Client, History, Limits, Recorder, Verdict},
    operations::value,
};

/// How many values every other key has: so few that the same one comes back. The rest have a value of its own for each
/// write, so that what was read tells who wrote it.
const VALUES: u32 = 3;

/// Does random things, so many; gives up on none that fails in a way that may pass by itself, and so has an outcome that
/// nobody knows.
pub(crate) async fn act(
    client: &mut Client,
    entries: &dyn AtomicWrite,
    keys: &[Key],
    mut random: fastrand::Rng,
    operations: usize,
) -> Outcome {
    // What each key was last known to be, which a compare often tests for.
    let mut known = vec![None; keys.len()];
    for _ in 0..operations {
        let which = random.usize(..keys.len());
        let few = which.is_multiple_of(2);
        pass_over(act_once(client, entries, &keys[which], few, &mut known[which], &mut random).await)?;
    }
    Ok(())
}

/// Passes over an error that contention may be the reason of (A6); how it ended is in the history.
pub(crate) fn pass_over(result: Result<()>) -> Outcome {
    match result {
        Err(error) if !error.is_retryable() => Err(error.into()),
        _ => Ok(()),
    }
}

async fn act_once(
    client: &mut Client,
    entries: &dyn AtomicWrite,
    key: &Key,
    few: bool,
    known: &mut Option<Bytes>,
    random: &mut fastrand::Rng,
) -> Result<()> {
    match random.u32(..20) {
        0..2 => client.mem(entries, key).await.map(drop),
        2..7 => client.find(entries, key).await.map(|found| *known = found),
        7..11 => client.set(entries, key, any_value(few, random)).await,
        11..13 => client.remove(entries, key).await,
        _ => {
            let test = if random.bool() { known.clone() } else { any_state(few, random) };
            let set = any_state(few, random);
            *known = match client.test_and_set(entries, key, test, set.clone()).await? {
                TestAndSet::Applied => set,
                TestAndSet::Mismatch { current } => current,
            };
            Ok(())
        }
    }
}

fn any_value(few: bool, random: &mut fastrand::Rng) -> Bytes {
    value(random.u32(..if few { VALUES } else { u32::MAX }))
}

fn any_state(few: bool, random: &mut fastrand::Rng) -> Option<Bytes> {
    (random.u32(..=VALUES) > 0).then(|| any_value(few, random))
}

/// Of so many operations one is to be answered: what is refused shows nothing.
const ANSWERED: usize = 4;

/// Demands that some order explains what clients were told (A1), and that this is enough to show something.
pub(crate) fn linearizable(recorder: Recorder) -> Outcome {
    overlaps_of_linearizable(recorder).map(drop)
}

/// The same, and how many of the operations met another.
pub(crate) fn overlaps_of_linearizable(recorder: Recorder) -> Outcome<usize> {
    let called = recorder.called();
    let history = recorder.finish();
    explained(&history)?;
    let answered = history.answered();
    if answered * ANSWERED < called {
        let few = format_args!("the store answered {answered} of {called} operations: too few to show anything");
        return Err(Failure::inconclusive(few));
    }
    Ok(history.overlaps())
}

fn explained(history: &History) -> Outcome {
    match history::check(history, Limits::default()) {
        Verdict::Linearizable => Ok(()),
        Verdict::NotLinearizable(violation) => {
            let witness = violation.witness(Limits::default());
            let failure = Failure::broken(format_args!("A1: on {}: {}", violation.key(), witness.sentence));
            Err(failure.with_witness(witness))
        }
        Verdict::Inconclusive(limit) => Err(Failure::inconclusive(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backend_mem::MemOptions;
    use store_api::Backend;

    use super::*;
    use crate::{Faulty, context::key, failure::Kind};

    /// How a history is judged of a store that refuses such a share.
    async fn judged(refused: f64) -> Outcome {
        let store = Arc::new(MemOptions::new().open().await.expect("a store in memory"));
        let entries = Faulty::new(store, 1).refuse(refused).atomic_write().expect("it has entries");
        let recorder = Recorder::new();
        let random = fastrand::Rng::with_seed(1);
        act(&mut recorder.client(), &*entries, &[key("a"), key("b")], random, 200).await?;
        linearizable(recorder)
    }

    #[test]
    fn operations_meet_that_are_open_together_on_one_key() {
        let history = r#"
            {"process": 1, "event": "call", "op": "set", "key": "a", "value": "1"}
            {"process": 2, "event": "call", "op": "find", "key": "a"}
            {"process": 3, "event": "call", "op": "find", "key": "b"}
            {"process": 1, "event": "return"}
            {"process": 2, "event": "return", "value": "1"}
            {"process": 1, "event": "call", "op": "find", "key": "a"}
        "#;
        assert_eq!(History::read(history.as_bytes()).expect("a history").overlaps(), 1);
    }

    #[tokio::test]
    async fn a_store_that_answers_nothing_shows_nothing() {
        assert_eq!(judged(1.0).await.expect_err("it must not pass").kind(), Kind::Inconclusive);
    }

    #[tokio::test]
    async fn a_store_that_refuses_some_operations_passes() {
        judged(0.5).await.expect("a sound store");
    }
}
