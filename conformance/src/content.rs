//! What cases do to indexable stores over and over, and what they demand of each value there.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentRead, IndexLevel, Indexable, Indexed, IndexedExt, Result,
};
use tokio::time::sleep;

use crate::{
    Context,
    failure::{Failure, Outcome, demanded_here, ensure, ensure_eq},
    patience::TICK,
};

/// The ways to add a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Add,
    UnsafeAdd,
    Batch,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Add, Self::UnsafeAdd, Self::Batch];

    /// One after the other.
    pub(crate) fn nth(n: usize) -> Self {
        Self::ALL[n % Self::ALL.len()]
    }

    /// Adds a value under its hash.
    pub(crate) async fn add(self, content: &dyn Indexable, value: Bytes) -> Result<ContentKey> {
        match self {
            Self::Add => content.add(value).await,
            Self::UnsafeAdd => content.unsafe_add(content.hash_function().hash(&value), value).await,
            Self::Batch => content.batch(|batch| async move { batch.add(value).await }).await,
        }
    }
}

/// Empty, small, at the edges of pages and of what an async worker hashes, and some megabytes; each begins like the next.
pub(crate) fn values_of_many_lengths() -> impl Iterator<Item = Bytes> {
    [0, 1, 31, 32, 33, 4095, 4096, 4097, 262_143, 262_145, 3_000_000]
        .into_iter()
        .map(|len| (0..=250).cycle().take(len).collect())
}

/// Adds values, several at a time, and gives each with its key.
pub(crate) async fn add_all(
    to: &dyn Append,
    values: impl IntoIterator<Item = Bytes>,
) -> Outcome<Vec<(ContentKey, Bytes)>> {
    let adds = stream::iter(values).map(|value| async move { Ok((to.add(value.clone()).await?, value)) });
    adds.buffered(64).try_collect().await
}

/// Begins a batch, which no open one holds up (I7).
#[track_caller]
pub(crate) fn begin(context: &Context, content: &dyn Indexed) -> impl Future<Output = Outcome<Box<dyn Batch>>> {
    let beginning = context.soon("the return of `begin`, also while another batch is open", content.begin());
    demanded_here(async move { Ok(beginning.await??) })
}

/// Adds a value while a batch is open, which does not hold it up (I7).
#[track_caller]
pub(crate) fn add_beside_a_batch(
    context: &Context,
    content: &dyn Indexable,
    way: Way,
    value: Bytes,
) -> impl Future<Output = Outcome<ContentKey>> {
    let adding = context.soon("the return of an add to the store while a batch is open", way.add(content, value));
    demanded_here(async move { Ok(adding.await??) })
}

/// Every key, each of which is listed once.
pub(crate) async fn listed(content: &dyn ContentRead) -> Outcome<BTreeSet<ContentKey>> {
    let mut all = BTreeSet::new();
    let mut keys = content.keys();
    while let Some(key) = keys.try_next().await? {
        ensure!(all.insert(key), "A7: `keys` lists {key} twice");
    }
    Ok(all)
}

/// Demands that `keys` lists these, each once, and no others.
pub(crate) async fn ensure_listed(
    content: &dyn ContentRead,
    due: impl IntoIterator<Item = ContentKey>,
    who: &str,
) -> Outcome {
    let (listed, due) = (listed(content).await?, due.into_iter().collect::<BTreeSet<_>>());
    if let Some(missing) = due.difference(&listed).next() {
        return Err(Failure::broken(format_args!("{who} lists by `keys` no {missing}, which is there")));
    }
    if let Some(more) = listed.difference(&due).next() {
        return Err(Failure::broken(format_args!("{who} lists by `keys` a {more}, which is not there")));
    }
    Ok(())
}

/// Demands that a value is found by its key, whatever its locator.
pub(crate) async fn ensure_found(content: &dyn ContentRead, key: &ContentKey, value: &Bytes, who: &str) -> Outcome {
    let found = content.find(key).await.map_err(|error| Failure::from(error).within(who))?;
    ensure_eq!(found.as_ref(), Some(value), "{who} gives by `find` of {key}");
    ensure!(content.mem(key).await?, "{who} has by `mem` no {key}, which `find` gives");
    Ok(())
}

/// [`ensure_found`] for many.
pub(crate) async fn ensure_all_found(content: &dyn ContentRead, all: &[(ContentKey, Bytes)], who: &str) -> Outcome {
    for (key, value) in all {
        ensure_found(content, key, value, who).await?;
    }
    Ok(())
}

/// Demands that `index` gives a key that finds the value.
pub(crate) async fn ensure_indexed(content: &dyn ContentRead, value: &Bytes, who: &str) -> Outcome {
    let hash = content.hash_function().hash(value);
    let indexed = content.index(&hash).await?;
    let Some(indexed) = indexed else {
        return Err(Failure::broken(format_args!("{who} has by `index` no {hash}, which was added")));
    };
    ensure_eq!(indexed.to_hash(), hash, "the hash of the key that `index` gives");
    ensure_found(content, &indexed, value, who).await
}

/// [`ensure_indexed`] where another instance added the value: a best-effort index may be late (I3).
pub(crate) async fn ensure_indexed_by_another(context: &Context, content: &dyn ContentRead, value: &Bytes) -> Outcome {
    const WHO: &str = "another instance";
    if context.guarantees().index == IndexLevel::BestEffort {
        let hash = content.hash_function().hash(value);
        let there = async {
            while content.index(&hash).await?.is_none() {
                sleep(TICK).await;
            }
            Outcome::Ok(())
        };
        context.within_the_lag("I3: `index` knows what another instance added", there).await??;
    }
    ensure_indexed(content, value, WHO).await
}

/// Demands that nothing has this hash, by any way to ask for one.
pub(crate) async fn ensure_absent(content: &dyn ContentRead, hash: &ContentHash, who: &str) -> Outcome {
    let key = ContentKey::from(*hash);
    ensure_eq!(content.find(&key).await?, None, "{who} gives by `find` of {hash}, which is not there");
    ensure!(!content.mem(&key).await?, "{who} has by `mem` a {hash}, which is not there");
    ensure_eq!(content.index(hash).await?, None, "{who} gives by `index` of {hash}, which is not there");
    Ok(())
}
