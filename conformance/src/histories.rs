//! Clients that do random things to a few keys, recorded, and the demand that some order explains what they were told.

use bytes::Bytes;
use store_api::{AtomicWrite, Key, Result};

use crate::{
    failure::{Failure, Outcome},
    history::{self, Client, History, Limits, Verdict},
    operations::value,
};

/// How many values there are: so few that a compare often finds what it tests for.
const VALUES: u32 = 4;

/// Does random things, so many; gives up on none that fails in a way that may pass by itself, and so has an outcome that
/// nobody knows.
pub(crate) async fn act(
    client: &mut Client,
    entries: &dyn AtomicWrite,
    keys: &[Key],
    mut random: fastrand::Rng,
    operations: usize,
) -> Outcome {
    for _ in 0..operations {
        match act_once(client, entries, keys, &mut random).await {
            Err(error) if !error.is_retryable() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

async fn act_once(
    client: &mut Client,
    entries: &dyn AtomicWrite,
    keys: &[Key],
    random: &mut fastrand::Rng,
) -> Result<()> {
    let key = &keys[random.usize(..keys.len())];
    match random.u32(..10) {
        0 => client.mem(entries, key).await.map(drop),
        1..3 => client.find(entries, key).await.map(drop),
        3..5 => client.set(entries, key, any_value(random)).await,
        5 => client.remove(entries, key).await,
        _ => {
            let (test, set) = (any_state(random), any_state(random));
            client.test_and_set(entries, key, test, set).await.map(drop)
        }
    }
}

fn any_value(random: &mut fastrand::Rng) -> Bytes {
    value(random.u32(..VALUES))
}

fn any_state(random: &mut fastrand::Rng) -> Option<Bytes> {
    let present = random.u32(..=VALUES) > 0;
    present.then(|| any_value(random))
}

/// Demands that some order of its operations explains a history (A1).
pub(crate) fn linearizable(history: &History) -> Outcome {
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
