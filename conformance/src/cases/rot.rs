//! A11, A12 and I6: a disk that cannot be read, and bytes that changed on it.
//!
//! What no checksum of an entry sees is an entry that is not found at all, since its key rotted, or a page of the engine
//! that leads to it. A12 speaks of the bytes of an entry. So where anything may have rotted, an entry may read as
//! absent; where the value's own bytes rotted it may not, and neither may it where the disk says that it cannot read
//! (A11).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use store_api::{AtomicWrite, ContentHash, EntryRead, ErrorKind, Indexable, Key};
use tokio::time::sleep;

use crate::{
    Settings,
    case::{Case, case},
    child::{hear, say},
    content::add_all,
    context::{Context, Instance, key},
    disk::Keep,
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    files::{Files, Position},
    following::State,
    luck::Hopes,
    operations::set_all,
    patience::TICK,
    roles::{Cue, Role, role},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A11-an-unreadable-disk-is-an-error", [Entries, Embedded, Reopens], unreadable_disk),
    case!("atomic/A12-rot-is-never-another-value", [Entries, Embedded, Reopens], rot_anywhere),
    case!("atomic/A12-a-value-that-rotted-is-corrupt", [Entries, Embedded, Reopens], rotten_value),
    case!("atomic/A12-a-key-that-rotted-has-no-value", [Entries, Embedded, Reopens], rotten_key),
    case!("index/I6-rot-is-never-other-content", [Content, Verified, Embedded, Reopens], rotten_content),
];

pub(super) const ROLES: &[Role] = &[role!("read", read)];

/// How long a part of a key or a value is that can be told from anything else in the files.
const TOLD_APART: usize = 16;

/// The longest value where bytes rot: as much of the files is the engine's own.
pub(super) const LONGEST: usize = 3_000;

/// The longest value where a disk cannot be read: so long that an engine does not read them all at once.
const READ_IN_PARTS: usize = 60_000;

/// Random letters, which are a step of a key.
fn letters(random: &mut fastrand::Rng) -> String {
    (0..TOLD_APART).map(|_| random.lowercase()).collect()
}

/// Entries whose keys and values can be told from anything else in the files.
pub(super) fn state(random: &mut fastrand::Rng, longest: usize) -> State {
    let entry = |number: usize| {
        let mut value = vec![0; [TOLD_APART, 100, longest][number % 3]];
        random.fill(&mut value);
        (key(format!("rot/{}", letters(random))), value.into())
    };
    (0..30).map(entry).collect()
}

/// What is written behind all else: a log that is cut short behind its last write is no rot, so that what is damaged is
/// not the last.
const LAST: &str = "last";
const LAST_VALUES: [&str; 5] = ["0", "1", "2", "3", "4"];

/// Sets the entries, each once.
pub(super) async fn fill(entries: &dyn AtomicWrite, state: &State) -> Outcome {
    set_all(entries, state.clone()).await?;
    for value in LAST_VALUES {
        entries.set(&key(LAST), value.into()).await?;
    }
    entries.remove(&key(LAST)).await?;
    Ok(())
}

/// Fills a store whose files lie in a directory, closes it, and keeps its files aside.
async fn files_with(context: &Context, state: &State) -> Outcome<Files> {
    let instance = context.open().await?;
    fill(&*instance.entries(), state).await?;
    instance.close().await?;
    Files::of(context.directory())
}

/// Opens a store that was damaged, if it can be opened, and reads it; an error is a good answer.
async fn read_damaged(context: &Context, read: impl AsyncFnOnce(&Instance) -> Outcome) -> Outcome {
    let reading = async {
        let Ok(instance) = context.try_open(&Settings::default()).await else { return Ok(()) };
        let ended = read(&instance).await;
        // What is damaged may be what a close writes.
        let _ = instance.close().await;
        ended
    };
    context.soon("an answer from a store that was damaged", reading).await?
}

async fn rot_anywhere(context: Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let mut random = context.random();
    let state = state(&mut random, LONGEST);
    let files = files_with(&context, &state).await?;
    for _ in 0..context.rounds(25) {
        let position = files.anywhere(&mut random);
        files.damaged(&[position], |bytes| rot(bytes, &mut random))?;
        let reading = read_damaged(&context, async |instance| {
            reads(&*instance.entries(), &state, Absent::Allowed).await.map(drop)
        });
        reading.await.map_err(|failure| failure.within(format_args!("{} rotted", files.shown(position))))?;
    }
    Ok(())
}

/// Changes the first bytes: a bit, or some bytes in a row, to zero or to anything.
pub(super) fn rot(bytes: &mut [u8], random: &mut fastrand::Rng) {
    let len = bytes.len().min(random.usize(1..64));
    match random.u32(..4) {
        0 => bytes[..len].fill(0),
        1 => random.fill(&mut bytes[..len]),
        _ => flip(bytes, random),
    }
}

pub(super) fn flip(bytes: &mut [u8], random: &mut fastrand::Rng) {
    bytes[0] ^= 1 << random.u32(..8);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Allowed,
    Broken,
}

/// Demands of every way to read that it gives what was written, or an error; and gives how many errors there were.
pub(super) async fn reads(entries: &dyn EntryRead, state: &State, absent: Absent) -> Outcome<usize> {
    let mut refused = 0;
    for (key, value) in state {
        match entries.find(key).await {
            Ok(Some(found)) => ensure!(found == value, "A12: {key} has {}, which was never set", shown(&found)),
            Ok(None) => ensure!(absent == Absent::Allowed, "A11: `find` of {key} says absent"),
            Err(_) => refused += 1,
        }
        if let Ok(there) = entries.mem(key).await {
            ensure!(there || absent == Absent::Allowed, "A11: `mem` of {key} says absent");
        }
    }
    let (mut streamed, mut errors) = (0, 0);
    let mut stream = entries.entries(&Key::root());
    while let Some(item) = stream.next().await {
        let Ok((key, value)) = item else {
            errors += 1;
            continue;
        };
        if key.as_str() == LAST {
            // The end of a log may be gone, and with it the last writes.
            ensure!(LAST_VALUES.iter().any(|last| value == last.as_bytes()), "A12: {key} has {}", shown(&value));
            continue;
        }
        ensure_eq!(Some(&value), state.get(&key), "A12: `entries` gives {key}");
        streamed += 1;
    }
    let complete = errors > 0 || streamed == state.len();
    ensure!(complete || absent == Absent::Allowed, "A11: `entries` ends after {streamed} of {}", state.len());
    if let Ok(listed) = entries.list(&Key::root()).try_collect::<Vec<Key>>().await {
        let complete = listed.len() == state.len();
        ensure!(complete || absent == Absent::Allowed, "A11: `list` ends after {} of {}", listed.len(), state.len());
    }
    Ok(refused + errors)
}

async fn rotten_value(context: Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let mut random = context.random();
    let state = state(&mut random, LONGEST);
    let files = files_with(&context, &state).await?;
    let mut shown_as_they_are: Vec<(&Key, usize, Vec<Position>)> = Vec::new();
    for (key, value) in &state {
        let from = random.usize(..=value.len() - TOLD_APART);
        let positions = files.find(&value[from..from + TOLD_APART]);
        if !positions.is_empty() {
            shown_as_they_are.push((key, from, positions));
        }
    }
    if shown_as_they_are.is_empty() {
        return Err(Failure::untested("the store's files do not show values as they are"));
    }
    random.shuffle(&mut shown_as_they_are);
    for (key, from, positions) in shown_as_they_are.iter().take(context.rounds(6)) {
        // Every copy of it, and alike, so that none is right and none is told from another.
        let bit = 1 << random.u32(..8);
        files.damaged(positions, |bytes| bytes[0] ^= bit)?;
        let reading = read_damaged(&context, async |instance| corrupt(instance, key, &state).await);
        reading.await.map_err(|failure| failure.within(format_args!("byte {from} of a value rotted")))?;
    }
    Ok(())
}

/// Demands of an entry whose value rotted that it is `Corrupt`, compared with nothing, and not absent.
async fn corrupt(instance: &Instance, rotten: &Key, state: &State) -> Outcome {
    let entries = instance.entries();
    expect_error!(entries.find(rotten).await, Corrupt, "A12: `find` of it");
    for test in [None, state.get(rotten).cloned()] {
        let asked = if test.is_none() { "absent" } else { "what was set" };
        let verdict = entries.test_and_set(rotten, test, Some(Bytes::from_static(b"set"))).await;
        expect_error!(verdict, Corrupt, "A12: `test_and_set` that tests it for {asked}");
    }
    if let Ok(there) = entries.mem(rotten).await {
        ensure!(there, "A12: `mem` says that it is absent");
    }
    reads(&*entries, state, Absent::Allowed).await.map(drop)
}

async fn rotten_key(context: Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let mut random = context.random();
    let state = state(&mut random, LONGEST);
    let files = files_with(&context, &state).await?;
    let mut tested = false;
    let keys: Vec<&Key> = random.choose_multiple(state.keys(), context.rounds(4));
    for sound in keys {
        let letters = sound.as_str().rsplit('/').next().unwrap_or_default().as_bytes();
        let all = files.find(letters);
        // Each copy alone, such as an index of keys; then all of them.
        let alone = all.iter().map(std::slice::from_ref);
        for positions in alone.chain([&all[..]]) {
            let (at, letter) = (random.usize(..TOLD_APART), random.lowercase() as u8);
            files.damaged(positions, |bytes| bytes[at] = letter)?;
            let mut rotten = letters.to_vec();
            rotten[at] = letter;
            let rotten = key(format!("rot/{}", String::from_utf8_lossy(&rotten)));
            let reading = read_damaged(&context, async |instance| {
                let entries = instance.entries();
                if let Ok(Some(_)) = entries.find(&rotten).await {
                    ensure!(rotten == *sound, "A12: {rotten} has a value, and only {sound} was set");
                }
                reads(&*entries, &state, Absent::Allowed).await.map(drop)
            });
            reading.await.map_err(|failure| failure.within("a letter of a key rotted into another"))?;
            tested |= !positions.is_empty();
        }
    }
    if tested { Ok(()) } else { Err(Failure::untested("the store's files do not show keys as they are")) }
}

async fn rotten_content(context: Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let mut random = context.random();
    let instance = context.open().await?;
    let mut values: BTreeMap<ContentHash, Bytes> = BTreeMap::new();
    for (_, value) in state(&mut random, LONGEST) {
        values.insert(instance.content().add(value.clone()).await?.to_hash(), value);
    }
    instance.close().await?;
    let files = Files::of(context.directory())?;
    for round in 0..context.rounds(15) {
        // By turns anywhere, and in every copy of a value.
        let (rotten, value) = random.choice(&values).expect("there are some");
        let copies = files.find(&value[..TOLD_APART]);
        let rotten = (round % 2 == 0 && !copies.is_empty()).then_some(rotten);
        if rotten.is_some() {
            files.damaged(&copies, |bytes| bytes[0] ^= 1)?;
        } else {
            files.damaged(&[files.anywhere(&mut random)], |bytes| rot(bytes, &mut random))?;
        }
        let reading =
            read_damaged(&context, async |instance| reads_content(&*instance.content(), &values, rotten, true).await);
        reading.await?;
    }
    Ok(())
}

/// Demands of content that it is what was added, or an error, and of a value that rotted that it is `Corrupt`. Where it
/// is not verified when it is read, only that there is an answer.
pub(super) async fn reads_content(
    content: &dyn Indexable,
    values: &BTreeMap<ContentHash, Bytes>,
    rotten: Option<&ContentHash>,
    verified: bool,
) -> Outcome {
    for (hash, value) in values {
        let found = content.find(&(*hash).into()).await;
        if rotten == Some(hash) {
            expect_error!(found, Corrupt, "I6: `find` of a value that rotted");
        } else if let Ok(Some(found)) = found {
            ensure!(!verified || found == value, "I6: `find` gives other bytes than were added");
        }
        if let Ok(Some(key)) = content.index(hash).await {
            ensure_eq!(key.to_hash(), *hash, "I3: the hash of a key that `index` gives");
        }
    }
    // What is listed may be the key of nothing, where its own bytes rotted.
    let mut keys = content.keys();
    while let Some(key) = keys.next().await {
        let Ok(key) = key else { continue };
        if let Ok(Some(found)) = content.find(&key).await
            && verified
        {
            let hash = key.to_hash();
            ensure_eq!(Some(&found), values.get(&hash), "I6: `find` of a key that `keys` gives");
        }
    }
    Ok(())
}

/// In how many processes a read is to be refused of those that follow an `open` at random; an engine that reads all in its
/// `open` has none. That the disk cannot be read from the `open` on needs no luck, and comes every other round.
const REFUSED: Hopes = Hopes { floor: 0, enough: 12, rounds: [12, 60] };

/// So many reads are let pass at most.
const READS: usize = 1_000;

/// Said of an `open` that succeeded.
const OPENED: &str = "opened";

/// How often an `open` is tried.
const ONCE: &str = "once";
const UNTIL_FREE: &str = "until it is free";

/// What is read when the disk cannot be.
fn to_read(seed: u64) -> State {
    state(&mut fastrand::Rng::with_seed(seed), READ_IN_PARTS)
}

async fn unreadable_disk(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    let state = to_read(context.seed());
    let instance = context.open().await?;
    set_all(&*instance.entries(), state.clone()).await?;
    if let Some(content) = instance.indexable() {
        add_all(&*content, state.values().cloned()).await?;
    }
    instance.sync().await?;
    instance.close().await?;
    let files = Files::of(context.directory())?;
    let mut refused = 0;
    let mut within = 40;
    let luck = context.luck(REFUSED);
    for round in luck.rounds() {
        // What was read before is in no cache afterwards.
        context.disk().lose_power(Keep::None)?;
        let opens_first = round % 2 == 1;
        // At first the very first read: an engine may read all of it at once.
        let readable = if opens_first || round == 0 { 0 } else { random.usize(..within) };
        let read = read_unreadable(&context, &files, opens_first, readable);
        context.disk().mend()?;
        let when = if opens_first { "behind the `open`" } else { "from some time on" };
        let read = read.map_err(|failure| {
            failure.within(format_args!("the disk cannot be read {when}, after {readable} reads"))
        })?;
        let Some(refusals) = read else {
            refused += 1;
            within = (within * 3 / 2).min(READS);
            continue;
        };
        refused += refusals;
        if refusals > 0 {
            luck.meet();
        } else if !opens_first {
            within = (within * 2 / 3).max(2);
        }
    }
    luck.judge("processes were refused a read behind their open")?;
    let instance = context.open().await?;
    for (key, value) in &state {
        ensure_eq!(instance.entries().find(key).await?.as_ref(), Some(value), "A11: {key}, when it can be read again");
    }
    instance.close().await?;
    if refused > 0 {
        Ok(())
    } else {
        Err(Failure::inconclusive("the store read nothing where the disk could not be read"))
    }
}

/// Lets another process read all of a store whose disk cannot be read behind so many reads, before its `open` or behind
/// it; how often it was refused a read, nothing where that was the `open`. It is another process, since this one must go
/// on if it is ended by a page that cannot be read.
fn read_unreadable(context: &Context, files: &Files, opens_first: bool, readable: usize) -> Outcome<Option<usize>> {
    let fail = || {
        // The files that hold the data, and none that an engine makes while it is open, to share memory.
        let fault = |file| context.disk().fail(format_args!("read EIO after={readable} file=store/{file}"));
        files.names().try_for_each(fault)
    };
    if !opens_first {
        fail()?;
    }
    // The process of the last round has closed nothing, and a store may need a moment to let go of it.
    let attempts = if opens_first { UNTIL_FREE } else { ONCE };
    let mut child = context.child("read", &[attempts])?;
    let opened = child.line()?;
    if opened != OPENED {
        ensure!(!opens_first, "A11: an `open` is refused, though the disk can be read: {opened}");
        child.finish()?;
        return Ok(None);
    }
    if opens_first {
        fail()?;
    }
    child.go()?;
    let refusals = child.finish()?;
    refusals.iter().find_map(|line| line.parse().ok()).map(Some).ok_or_else(|| Failure::harness("no count of refusals"))
}

/// Reads all of a store whose disk may not be read, and says how often it was refused.
async fn read(cue: Cue) -> Outcome {
    let state = to_read(cue.seed);
    let until_free = cue.arguments.iter().any(|attempts| attempts == UNTIL_FREE);
    let instance = loop {
        match cue.try_open().await {
            Ok(instance) => break instance,
            Err(error) if until_free && (error.kind() == ErrorKind::InUse || error.is_retryable()) => {
                sleep(TICK).await;
            }
            Err(error) => {
                say(error);
                return Ok(());
            }
        }
    };
    say(OPENED);
    hear();
    let mut refused = 0;
    if let Some(content) = instance.indexable() {
        refused += refused_content(&*content, &state).await?;
    }
    say(refused + reads(&*instance.entries(), &state, Absent::Broken).await?);
    Ok(())
}

/// Demands of each value that it is what was added, or an error; and gives how many errors there were.
async fn refused_content(content: &dyn Indexable, state: &State) -> Outcome<usize> {
    let mut refused = 0;
    for value in state.values() {
        match content.find(&content.hash_function().hash(value).into()).await {
            Ok(Some(found)) => ensure!(found == value, "I6: `find` gives other bytes than were added"),
            Ok(None) => return Err(Failure::broken("A11: `find` of content says absent")),
            Err(_) => refused += 1,
        }
    }
    Ok(refused)
}
