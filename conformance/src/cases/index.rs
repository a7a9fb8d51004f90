//! I1 to I3 and I8: content under the hash of it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use store_api::{ContentHash, ContentKey, ContentRead, ContentReadExt, HashFunction, Indexable};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    Settings,
    case::{Case, case},
    clients::{all, as_many_as_cores, both, table},
    content::{
        Way, add_all, ensure_absent, ensure_all_found, ensure_found, ensure_indexed, ensure_indexed_by_another,
        ensure_listed, values_of_many_lengths,
    },
    context::Context,
    failure::{Outcome, ensure_eq},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I1-a-key-has-the-hash-of-its-value", [Content], hash_of_the_value),
    case!("index/I1-equal-values-are-one-value", [Content], equal_values),
    case!("index/I1-the-hash-function-is-the-one-that-was-asked-for", [Content], hash_function_by_choice),
    case!("index/I2-every-handle-finds-what-was-added", [Content], found_by_handles),
    case!("index/I2-every-instance-finds-what-was-added", [Content, SharedInstances], found_by_instances),
    case!("index/I2-a-reopened-store-finds-what-was-added", [Content, Reopens], found_after_a_reopen),
    case!("index/I2-an-earlier-absence-is-not-remembered", [Content], earlier_absence),
    case!(
        "index/I2-an-earlier-absence-is-not-remembered-by-another-instance",
        [Content, SharedInstances],
        earlier_absence_in_another_instance
    ),
    case!("index/I2-what-is-acknowledged-is-found-at-once", [Content], found_at_once),
    case!(
        "index/I2-what-is-acknowledged-is-found-at-once-by-another-instance",
        [Content, SharedInstances],
        found_at_once_by_another_instance
    ),
    case!("index/I3-index-knows-the-whole-hash-and-nothing-near-it", [Content], nothing_near),
    case!("index/I3-index-knows-at-once-what-this-instance-added", [Content], indexed_at_once),
    case!("index/I3-index-knows-what-another-instance-added", [Content, SharedInstances], indexed_by_another_instance),
    case!("index/I8-equal-values-added-at-once-give-readable-keys", [Content], equal_adds_at_once),
    case!(
        "index/I8-equal-values-added-at-once-by-instances-give-readable-keys",
        [Content, SharedInstances],
        equal_adds_by_instances
    ),
];

const ANOTHER_HANDLE: &str = "another handle";
const ANOTHER_INSTANCE: &str = "another instance";

async fn hash_of_the_value(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for value in values_of_many_lengths() {
        let hash = content.hash_function().hash(&value);
        for way in Way::ALL {
            let key = way.add(&*content, value.clone()).await?;
            ensure_eq!(key.to_hash(), hash, "the hash of the key that {way:?} gives for {} bytes", value.len());
        }
    }
    Ok(())
}

async fn equal_values(context: Context) -> Outcome {
    let instance = context.open().await?;
    let values: Vec<Bytes> = ["", "a", "a\0", "A", "ab", "b"].into_iter().map(value).collect();
    let mut keys = BTreeSet::new();
    for round in 0..4 {
        let content = instance.content();
        for (i, value) in values.iter().enumerate() {
            keys.insert(Way::nth(round + i).add(&*content, value.clone()).await?);
        }
        ensure_eq!(keys.len(), values.len(), "keys of {} values, each added {} times", values.len(), round + 1);
        ensure_listed(&*content, keys.iter().copied(), "a handle").await?;
    }
    Ok(())
}

async fn hash_function_by_choice(context: Context) -> Outcome {
    for &function in HashFunction::ALL {
        let settings = Settings { hash: Some(function), ..Settings::default() };
        let content = context.another_store().await?.open_with(&settings).await?.content();
        ensure_eq!(content.hash_function(), function, "the hash function of a store created with it");
        for way in Way::ALL {
            let added = value(format_args!("{way:?}"));
            let key = way.add(&*content, added.clone()).await?;
            ensure_eq!(key.to_hash(), function.hash(&added), "the {function} hash that {way:?} gives");
            ensure_indexed(&*content, &added, "a handle").await?;
        }
    }
    Ok(())
}

async fn found_by_handles(context: Context) -> Outcome {
    let instance = context.open().await?;
    let earlier = instance.content();
    let added = add_all(&*instance.content(), values_of_many_lengths()).await?;
    ensure_all_found(&*earlier, &added, "an earlier handle").await?;
    ensure_all_found(&*instance.content(), &added, "a later handle").await
}

async fn found_by_instances(context: Context) -> Outcome {
    let (adding, earlier) = (context.open().await?, context.open().await?);
    let added = add_all(&*adding.content(), values_of_many_lengths()).await?;
    ensure_all_found(&*earlier.content(), &added, "an earlier instance").await?;
    ensure_all_found(&*context.open().await?.content(), &added, "a later instance").await
}

async fn found_after_a_reopen(context: Context) -> Outcome {
    let mut added = Vec::new();
    for (round, way) in Way::ALL.into_iter().enumerate() {
        let instance = context.open().await?;
        let content = instance.content();
        for more in values_of_many_lengths().chain([value(round)]) {
            added.push((way.add(&*content, more.clone()).await?, more));
        }
        instance.close().await?;
    }
    let content = context.open().await?.content();
    for (key, value) in &added {
        ensure_found(&*content, key, value, "a reopened store").await?;
        let written = ContentKey::from_bytes(&key.to_bytes())?;
        ensure_found(&*content, &written, value, "a reopened store, asked with the key's bytes,").await?;
        ensure_indexed_by_another(&context, &*content, value).await?;
    }
    ensure_listed(&*content, added.iter().map(|(key, _)| *key), "a reopened store").await
}

/// Asks one handle for what is not there, lets the other one add it, and asks again.
async fn added_after_asking(
    context: &Context,
    adding: &dyn Indexable,
    asking: &dyn Indexable,
    who: &'static str,
) -> Outcome {
    for round in 0..context.rounds(15) {
        let (way, added) = (Way::nth(round), value(round));
        let hash = asking.hash_function().hash(&added);
        ensure_absent(asking, &hash, who).await?;
        let key = way.add(adding, added.clone()).await?;
        for key in [key, hash.into()] {
            ensure_found(asking, &key, &added, who).await?;
        }
    }
    Ok(())
}

async fn earlier_absence(context: Context) -> Outcome {
    let instance = context.open().await?;
    added_after_asking(&context, &*instance.content(), &*instance.content(), ANOTHER_HANDLE).await
}

async fn earlier_absence_in_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?, context.open().await?);
    added_after_asking(&context, &*one.content(), &*other.content(), ANOTHER_INSTANCE).await
}

/// Asks for each value that was acknowledged, or tells another client of it, which finds it there.
async fn acknowledged_then_asked(
    context: &Context,
    adding: Arc<dyn Indexable>,
    asking: Arc<dyn Indexable>,
    who: &'static str,
) -> Outcome {
    let (acknowledged, mut told) = unbounded_channel();
    let rounds = context.rounds_for_a_moment(60, 2000);
    let at_once = Arc::clone(&asking);
    let add = async move {
        for round in rounds {
            let added = value(round);
            let key = Way::nth(round).add(&*adding, added.clone()).await?;
            // By turns at once, and by a client that runs beside.
            if (round / Way::ALL.len()).is_multiple_of(2) {
                ensure_found(&*at_once, &key, &added, who).await?;
            } else if acknowledged.send((key, added)).is_err() {
                // The other client has found a fault.
                break;
            }
        }
        Ok(())
    };
    let ask = async move {
        while let Some((key, value)) = told.recv().await {
            ensure_found(&*asking, &key, &value, who).await?;
            ensure_found(&*asking, &key.to_hash().into(), &value, who).await?;
        }
        Ok(())
    };
    both(ask, add).await.map(drop)
}

async fn found_at_once(context: Context) -> Outcome {
    let instance = context.open().await?;
    acknowledged_then_asked(&context, instance.content(), instance.content(), ANOTHER_HANDLE).await
}

async fn found_at_once_by_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?, context.open().await?);
    acknowledged_then_asked(&context, one.content(), other.content(), ANOTHER_INSTANCE).await
}

/// Hashes that differ from this one in a bit of each byte.
fn near(hash: &ContentHash) -> impl Iterator<Item = ContentHash> {
    (0..ContentHash::LEN).map(|at| {
        let mut bytes = *hash.as_bytes();
        bytes[at] ^= 1 << (at % 8);
        ContentHash::new(bytes)
    })
}

async fn nothing_near(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let values: Vec<Bytes> = ["", "a", "ab"].into_iter().map(value).collect();
    add_all(&*content, values.clone()).await?;
    let absent = content.hash_function().hash(b"absent");
    ensure_absent(&*content, &absent, "a handle").await?;
    ensure_eq!(content.resolve(&absent).await?, None, "`resolve` of what is absent");
    for added in &values {
        for near in near(&content.hash_function().hash(added)) {
            ensure_absent(&*content, &near, "a handle, asked for a hash near one that is there,").await?;
        }
        ensure_indexed(&*content, added, "a handle").await?;
    }
    Ok(())
}

async fn indexed_at_once(context: Context) -> Outcome {
    let instance = context.open().await?;
    let asking = instance.content();
    for round in 0..context.rounds(15) {
        let (added, adding) = (value(round), instance.content());
        let hash = asking.hash_function().hash(&added);
        ensure_eq!(asking.index(&hash).await?, None, "`index` of what nobody added");
        Way::nth(round).add(&*adding, added.clone()).await?;
        ensure_indexed(&*adding, &added, "the handle that added").await?;
        ensure_indexed(&*asking, &added, ANOTHER_HANDLE).await?;
    }
    Ok(())
}

async fn indexed_by_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?.content(), context.open().await?.content());
    for round in 0..context.rounds(15) {
        let added = value(round);
        let hash = other.hash_function().hash(&added);
        ensure_eq!(other.index(&hash).await?, None, "`index` of what nobody added");
        Way::nth(round).add(&*one, added.clone()).await?;
        ensure_indexed_by_another(&context, &*other, &added).await?;
    }
    Ok(())
}

/// Adds one value from several threads at the same moment, in the same way or in any, short ones and long; each key is
/// readable at once, and stays so everywhere. Where an `add` is answered too early in one of a hundred such meetings, it
/// is missed with a chance of 0.0006 % on a fast store, and of 0.7 % where there is time for the fewest only.
async fn equal_adds(context: &Context, contents: &[Arc<dyn Indexable>]) -> Outcome {
    let seats = table(as_many_as_cores());
    let adding = contents.iter().cycle().cloned().zip(seats).enumerate().map(|(client, (content, mut seat))| {
        let context = context.clone();
        async move {
            let mut added = Vec::new();
            for round in context.rounds_for_a_while(500, 1_200) {
                let same = Bytes::from(format!("{round} ").repeat(if round % 10 == 0 { 5_000 } else { 5 }));
                if !seat.meet() {
                    break;
                }
                let other_way = if round % 2 == 0 { 0 } else { client };
                let key = Way::nth(round / 2 + other_way).add(&*content, same.clone()).await?;
                ensure_found(&*content, &key, &same, "one of the clients that add").await?;
                added.push((key, same));
            }
            Ok(added)
        }
    });
    let added = all(adding).await?.concat();
    for content in contents {
        ensure_all_found(&**content, &added, "a client, later,").await?;
        ensure_listed(&**content, added.iter().map(|(key, _)| *key), "a client, later,").await?;
    }
    Ok(())
}

async fn equal_adds_at_once(context: Context) -> Outcome {
    let instance = context.open().await?;
    equal_adds(&context, &[instance.content(), instance.content()]).await
}

async fn equal_adds_by_instances(context: Context) -> Outcome {
    let (one, other) = (context.open().await?, context.open().await?);
    equal_adds(&context, &[one.content(), other.content()]).await
}
