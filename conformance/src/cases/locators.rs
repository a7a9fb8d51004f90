//! I5: keys with no locator, one of another store, a stale or a forged one.

use bytes::Bytes;
use fastrand::Rng;
use store_api::{ContentHash, ContentKey, Indexable};

use crate::{
    Settings,
    case::{Case, case},
    content::{Way, add_all, ensure_all_found, ensure_found, values_of_many_lengths},
    context::Context,
    failure::{Failure, Outcome, ensure, ensure_eq},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I5-a-key-without-a-locator-is-found", [Content], without_a_locator),
    case!("index/I5-a-key-of-another-store-gives-its-value-or-none", [Content], of_another_store),
    case!("index/I5-a-forged-locator-gives-no-other-value", [Content], forged),
    case!(
        "index/I5-a-forged-locator-gives-no-other-value-without-verification",
        [Content],
        forged_without_verification
    ),
    case!("index/I5-a-key-of-before-a-repair-and-a-reopen-is-found", [Content, Reopens], stale),
];

async fn without_a_locator(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for (key, value) in add_all(&*content, values_of_many_lengths()).await? {
        ensure_found(&*content, &ContentKey::from(key.to_hash()), &value, "a handle, asked without a locator,").await?;
    }
    Ok(())
}

/// Both stores give out locators of the same form, for values that lie in other places.
async fn of_another_store(context: Context) -> Outcome {
    let (here, there) = (context.open().await?, context.another_store().await?.open().await?);
    let (content, foreign) = (here.content(), there.content());
    add_all(&*foreign, (0..7).map(|i| value(format_args!("moves the others {i}")))).await?;
    for i in 0..20 {
        let [only_here, only_there, both] =
            ["only here", "only there", "both"].map(|text| value(format_args!("{text} {i}")));
        content.add(only_here.clone()).await?;
        let foreign_key = Way::nth(i).add(&*foreign, only_there).await?;
        ensure_eq!(content.find(&foreign_key).await?, None, "`find` of a value that only another store holds");
        ensure!(!content.mem(&foreign_key).await?, "`mem` knows a value that only another store holds");
        content.add(both.clone()).await?;
        let foreign_key = Way::nth(i).add(&*foreign, both.clone()).await?;
        ensure_found(&*content, &foreign_key, &both, "a handle, asked with the key of another store,").await?;
    }
    Ok(())
}

/// Bytes near to a locator, so that those with a form are met where they are read.
fn mutated(random: &mut Rng, locator: &[u8]) -> Vec<u8> {
    let mut bytes = locator.to_vec();
    match random.u8(..5) {
        0 => bytes.truncate(random.usize(..=locator.len())),
        1 => bytes.extend((0..random.usize(1..9)).map(|_| random.u8(..))),
        2 => bytes.reverse(),
        3 => bytes.iter_mut().for_each(|byte| *byte = !*byte),
        _ => {
            if let Some(at) = (0..bytes.len()).nth(random.usize(..bytes.len().max(1))) {
                bytes[at] ^= 1 << random.u8(..8);
            }
        }
    }
    bytes
}

/// Locators that the store never gave out for what they are asked with.
fn locators(random: &mut Rng, real: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
    let filled = [0, 1, 0x7f, 0x80, 0xff].into_iter().flat_map(|byte| [1, 4, 8, 16, 47].map(|len| vec![byte; len]));
    let more = (0..count).map(|_| match random.choice(real) {
        Some(locator) if random.bool() => mutated(random, locator),
        _ => (0..random.usize(..=ContentKey::MAX_LOCATOR_LEN)).map(|_| random.u8(..)).collect(),
    });
    let fits = |locator: &Vec<u8>| locator.len() <= ContentKey::MAX_LOCATOR_LEN;
    real.iter().cloned().chain(filled).chain(more.collect::<Vec<_>>()).filter(fits).collect()
}

fn with_locator(hash: ContentHash, locator: &[u8]) -> Outcome<ContentKey> {
    Ok(ContentKey::from_bytes(&[hash.as_ref(), locator].concat())?)
}

async fn ensure_locator_harmless(
    content: &dyn Indexable,
    locator: &[u8],
    held: &[&(ContentKey, Bytes)],
    absent: ContentHash,
) -> Outcome {
    for (key, value) in held {
        let forged = with_locator(key.to_hash(), locator)?;
        ensure_found(content, &forged, value, "a handle, asked with a locator that is not the value's,").await?;
    }
    let forged = with_locator(absent, locator)?;
    ensure_eq!(content.find(&forged).await?, None, "`find` of an absent hash with a forged locator");
    ensure!(!content.mem(&forged).await?, "`mem` knows an absent hash with a forged locator");
    Ok(())
}

/// Asks with every forged locator for values that are there, and for one that is not.
async fn forged_locators(context: &Context, content: &dyn Indexable) -> Outcome {
    let mut random = context.random();
    // Some are the beginning of others, and of the same length.
    let values = (0..20).map(|i| value("v".repeat(i / 4 * 100) + &i.to_string()));
    let mut held = Vec::new();
    for (i, value) in values.enumerate() {
        held.push((Way::nth(i).add(content, value.clone()).await?, value));
    }
    let absent = content.hash_function().hash(b"absent");
    let real: Vec<Vec<u8>> = held.iter().map(|(key, _)| key.locator().to_vec()).collect();
    for locator in locators(&mut random, &real, context.rounds(60)) {
        let asked = random.choose_multiple(&held, 2);
        let harmless = ensure_locator_harmless(content, &locator, &asked, absent).await;
        harmless.map_err(|failure: Failure| failure.within(format_args!("the locator {}", locator.escape_ascii())))?;
    }
    ensure_all_found(content, &held, "a handle, afterwards,").await
}

async fn forged(context: Context) -> Outcome {
    let content = context.open().await?.content();
    forged_locators(&context, &*content).await
}

async fn forged_without_verification(context: Context) -> Outcome {
    let settings = Settings { verify: Some(false), ..Settings::default() };
    let content = context.open_with(&settings).await?.content();
    forged_locators(&context, &*content).await
}

async fn stale(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let mut held = add_all(&*content, (0..10).map(value)).await?;
    for (i, truth) in (10..20).map(value).enumerate() {
        let falsehood = value("false".repeat(i * 100));
        let stale = content.unsafe_add(content.hash_function().hash(&truth), falsehood).await?;
        content.add(truth.clone()).await?;
        held.push((stale, truth));
    }
    instance.close().await?;
    for round in 0..2 {
        let instance = context.open().await?;
        let content = instance.content();
        ensure_all_found(&*content, &held, "a reopened store, asked with earlier keys,").await?;
        add_all(&*content, (0..10).map(|i| value(format_args!("{round} between the others {i}")))).await?;
        ensure_all_found(&*content, &held, "a reopened store, asked with earlier keys,").await?;
        instance.close().await?;
    }
    Ok(())
}
