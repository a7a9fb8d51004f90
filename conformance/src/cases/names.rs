//! X1: who reads a name finds the content behind it, however the name is read.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{AtomicWrite, ContentHash, ContentKey, Event, Indexable, Init, Key, TestAndSet};

use crate::{
    case::{Case, case},
    clients::all,
    content::{Way, ensure_indexed},
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    following::next_item,
    operations::value,
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("names/X1-who-finds-a-name-finds-its-content", [Entries, Content], found_names),
    case!(
        "names/X1-who-finds-a-name-in-another-instance-finds-its-content",
        [Entries, Content, SharedInstances],
        found_names_in_another_instance
    ),
    case!("names/X1-who-lists-a-name-or-is-mismatched-with-it-finds-its-content", [Entries, Content], listed_names),
    case!(
        "names/X1-who-lists-a-name-or-is-mismatched-in-another-instance-finds-its-content",
        [Entries, Content, SharedInstances],
        listed_names_in_another_instance
    ),
    case!("names/X1-who-is-told-a-name-finds-its-content", [Entries, Content], told_names),
    case!(
        "names/X1-who-is-told-a-name-by-another-instance-finds-its-content",
        [Entries, Content, SharedInstances],
        told_names_by_another_instance
    ),
    case!("names/X1-a-reopened-store-finds-the-content-of-its-names", [Entries, Content, Reopens], reopened_names),
];

/// How many clients set names, each its own.
const WRITERS: usize = 2;

/// What a name is set to at last.
const END: &str = "end";

fn name(writer: usize) -> Key {
    key(format!("names/{writer}"))
}

/// A value that names the one before it.
fn link(writer: usize, round: usize, before: Option<ContentKey>) -> Bytes {
    value(format_args!("{writer} {round} {}", before.map(|key| key.to_string()).unwrap_or_default()))
}

fn parse_key(text: &[u8]) -> Outcome<ContentKey> {
    let key = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    key.ok_or_else(|| Failure::broken(format_args!("W4, A1: a name has the value {}, which nobody set", shown(text))))
}

/// Adds content and moves a name to it, over and over. Each piece is acknowledged to the handle that adds it, and the name
/// is set by another handle.
async fn set_names(
    rounds: impl Iterator<Item = usize>,
    writer: usize,
    content: Arc<dyn Indexable>,
    entries: Arc<dyn AtomicWrite>,
    _at_work: Arc<()>,
) -> Outcome {
    let name = name(writer);
    let mut named: Option<ContentKey> = None;
    for round in rounds {
        let key = Way::nth(round).add(&*content, link(writer, round, named)).await?;
        let text = value(key);
        if round % 2 == 0 {
            entries.set(&name, text).await?;
        } else {
            let verdict = entries.test_and_set(&name, named.map(value), Some(text)).await?;
            ensure!(verdict.is_applied(), "A2: a mismatch of a name that nobody else sets");
        }
        named = Some(key);
    }
    Ok(entries.set(&name, value(END)).await?)
}

/// Who follows names to the content.
struct Follower {
    context: Context,
    entries: Arc<dyn AtomicWrite>,
    content: Arc<dyn Indexable>,
}

impl Follower {
    fn new(context: &Context, instance: &Instance) -> Self {
        Self { context: context.clone(), entries: instance.entries(), content: instance.content() }
    }

    /// Demands the content of a name, and of those that it was set to before.
    async fn follow(&self, named: &Bytes) -> Outcome {
        const BACK: usize = 3;
        if *named == END {
            return Ok(());
        }
        let mut key = parse_key(named)?;
        for back in 0..BACK {
            let hash: ContentHash = key.to_hash();
            let found = self.content.find(&key).await?;
            let Some(found) = found else {
                let what = if back == 0 { "the content" } else { "earlier content, acknowledged before that" };
                return Err(Failure::broken(format_args!(
                    "a name is set, and {what} that it names is not there: {key}"
                )));
            };
            ensure_eq!(self.content.hash_function().hash(&found), hash, "the hash of what a name finds");
            ensure_eq!(self.content.find(&hash.into()).await?.as_ref(), Some(&found), "`find` without a locator");
            // A best-effort index refreshes once before it says that there is nothing.
            ensure_indexed(&*self.content, &found, "who read a name").await?;
            let before = found.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            if before.is_empty() {
                break;
            }
            key = parse_key(before)?;
        }
        Ok(())
    }

    /// Reads names in some way and follows those that changed, as long as anyone sets them.
    async fn read(self, ways: &'static [Look], at_work: Weak<()>) -> Outcome {
        let mut seen: [Option<Bytes>; WRITERS] = [const { None }; WRITERS];
        for look in ways.iter().cycle() {
            // Read before the names are, so that the last look is at what they were set to at last.
            let over = at_work.strong_count() == 0;
            for (writer, seen) in seen.iter_mut().enumerate() {
                let named = look.at(&*self.entries, &name(writer)).await?;
                if let Some(named) = named.as_ref().filter(|named| seen.as_ref() != Some(*named)) {
                    self.follow(named).await?;
                }
                *seen = named;
            }
            if over {
                break;
            }
        }
        Ok(())
    }

    /// Follows names as a watch tells them, until it told the last of each.
    async fn watch(self) -> Outcome {
        let mut watch = self.entries.watch(&key("names"), Init::Known(Vec::new())).await?;
        let mut ended = 0;
        while ended < WRITERS {
            let next = next_item(&self.context, "the next event of a watch on names", &mut watch);
            let Some(event) = next.await? else {
                return Err(Failure::broken("W9: a watch ended by itself"));
            };
            let Event::Changed { diff, .. } = event? else { continue };
            let Some(named) = diff.new_value() else {
                return Err(Failure::broken("W4: a watch tells that a name was removed, and nobody did"));
            };
            ended += usize::from(*named == END);
            self.follow(named).await?;
        }
        Ok(())
    }
}

/// A way to read a name.
#[derive(Clone, Copy)]
enum Look {
    Find,
    List,
    Mismatch,
}

impl Look {
    async fn at(self, entries: &dyn AtomicWrite, name: &Key) -> Outcome<Option<Bytes>> {
        Ok(match self {
            Self::Find => entries.find(name).await?,
            Self::List => entries.entries(name).try_next().await?.map(|(_, value)| value),
            Self::Mismatch => match entries.test_and_set(name, Some(value("no name is this")), None).await? {
                TestAndSet::Mismatch { current } => current,
                TestAndSet::Applied => return Err(Failure::broken("A2: applied, where `test` was never there")),
            },
        })
    }
}

/// Sets names through two instances, which may be the same, while others read them through a third. A store whose content
/// comes later than its name is caught where a read falls between: the reader does nothing but look, so that with a core
/// for each it does in most rounds, however short the gap.
async fn names_beside_readers(
    context: &Context,
    [adding, naming]: [&Instance; 2],
    read: impl Future<Output = Outcome> + Send + 'static,
    at_work: Arc<()>,
) -> Outcome {
    let mut clients: Vec<std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>> = Vec::new();
    for writer in 0..WRITERS {
        let rounds = context.rounds_for_a_while(25, 3_000);
        let (content, entries) = (adding.content(), naming.entries());
        clients.push(Box::pin(set_names(rounds, writer, content, entries, Arc::clone(&at_work))));
    }
    drop(at_work);
    clients.push(Box::pin(read));
    all(clients).await.map(drop)
}

async fn read_names(context: Context, ways: &'static [Look], instances: [Instance; 3]) -> Outcome {
    let [adding, naming, reading] = &instances;
    let at_work = Arc::new(());
    let reader = Follower::new(&context, reading).read(ways, Arc::downgrade(&at_work));
    names_beside_readers(&context, [adding, naming], reader, at_work).await
}

async fn watch_names(context: Context, instances: [Instance; 3]) -> Outcome {
    let [adding, naming, reading] = &instances;
    let watcher = Follower::new(&context, reading).watch();
    names_beside_readers(&context, [adding, naming], watcher, Arc::new(())).await
}

async fn one_instance(context: &Context) -> Outcome<[Instance; 3]> {
    let instance = context.open().await?;
    Ok([instance.clone(), instance.clone(), instance])
}

async fn three_instances(context: &Context) -> Outcome<[Instance; 3]> {
    Ok([context.open().await?, context.open().await?, context.open().await?])
}

async fn found_names(context: Context) -> Outcome {
    let instances = one_instance(&context).await?;
    read_names(context, &[Look::Find], instances).await
}

async fn found_names_in_another_instance(context: Context) -> Outcome {
    let instances = three_instances(&context).await?;
    read_names(context, &[Look::Find], instances).await
}

async fn listed_names(context: Context) -> Outcome {
    let instances = one_instance(&context).await?;
    read_names(context, &[Look::List, Look::Mismatch], instances).await
}

async fn listed_names_in_another_instance(context: Context) -> Outcome {
    let instances = three_instances(&context).await?;
    read_names(context, &[Look::List, Look::Mismatch], instances).await
}

async fn told_names(context: Context) -> Outcome {
    let instances = one_instance(&context).await?;
    watch_names(context, instances).await
}

async fn told_names_by_another_instance(context: Context) -> Outcome {
    let instances = three_instances(&context).await?;
    watch_names(context, instances).await
}

async fn reopened_names(context: Context) -> Outcome {
    for round in 0..context.rounds(5) {
        let instance = context.open().await?;
        let (content, entries) = (instance.content(), instance.entries());
        let key = Way::nth(round).add(&*content, link(0, round, None)).await?;
        entries.set(&name(0), value(key)).await?;
        instance.close().await?;
        let instance = context.open().await?;
        let follower = Follower::new(&context, &instance);
        let named = follower.entries.find(&name(0)).await?;
        ensure_eq!(named, Some(value(key)), "A10: a name in a reopened store");
        follower.follow(&value(key)).await?;
        instance.close().await?;
    }
    Ok(())
}
