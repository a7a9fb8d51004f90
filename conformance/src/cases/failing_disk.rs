//! E3, E1, A5, A10 and W10 on a disk whose operations fail, and where files are removed underneath.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;
use store_api::{AtomicWrite, Durability, Effect, EntryReadExt, Error, ErrorKind, Indexable, Key};

use crate::{
    Settings,
    attempts::{Attempts, Told},
    case::{Case, case},
    cases::{killed::cut_off, power::stays},
    child::{Child, hear, say},
    context::{Context, Instance, key},
    disk::Keep,
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    files::{Files, empty, empty_but_for, unless_gone},
    following::{Follower, Scope, State},
    operations::value,
    roles::{Cue, Role, role},
    work::{Entries, Round, STEP, Synced, Work},
};

pub(super) const CASES: &[Case] = &[
    case!("error/E3-a-failed-sync-refuses-writes-until-a-reopen", [Entries, Embedded, Reopens], failed_sync),
    case!("error/E1-a-full-disk-is-no-space-until-there-is-room", [Entries, Embedded, Reopens], full_disk),
    case!("atomic/A5-errors-of-the-disk-tell-the-effect", [Entries, Embedded, SurvivesKill], failing_operations),
    case!("atomic/A5-a-disk-that-takes-no-changes-loses-nothing", [Entries, Embedded, Reopens], no_changes),
    case!("atomic/A10-a-store-that-was-removed-acknowledges-nothing", [Entries, Embedded, SurvivesKill], removed),
    case!("watch/W10-a-watch-goes-on-behind-a-full-disk", [Entries, Embedded, Reopens], watch_full_disk),
    case!("atomic/A10-short-writes-lose-nothing", [Entries, Embedded, Reopens], short_writes),
];

pub(super) const ROLES: &[Role] =
    &[role!("poison", poison), role!("attempt", attempt), role!("write-twice", write_twice)];

/// A sync that fails shows in so many writes.
const WRITES: usize = 400;

fn attempts_of(cue: &Cue) -> Outcome<Attempts> {
    let number = cue.number()?;
    Ok(Attempts::new(Round { number, seed: cue.seed }))
}

/// Writes until a write fails, and then demands what E3 says of the store.
async fn poison(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let mut attempts = attempts_of(&cue)?;
    write_and_sync(&mut attempts, &instance).await?;
    say(attempts.last_line());
    // Only behind the fault do the writes count.
    hear();
    while write_and_sync(&mut attempts, &instance).await.is_ok() {
        ensure!(attempts.len() < WRITES, "E3: {WRITES} writes were acknowledged, though a sync failed");
        say(attempts.last_line());
    }
    say(attempts.last_line());
    refused(&mut attempts, &instance).await?;
    say(POISONED);
    hear();
    // The disk works again, and the store does not trust it.
    refused(&mut attempts, &instance).await?;
    say(POISONED);
    hear();
    Ok(())
}

const POISONED: &str = "poisoned";

/// Writes, and syncs where the store leaves that to whoever uses it.
async fn write_and_sync(attempts: &mut Attempts, instance: &Instance) -> store_api::Result<()> {
    attempts.write(instance).await?;
    if instance.guarantees().durability == Durability::Power {
        return Ok(());
    }
    instance.sync().await.inspect_err(|_| attempts.doubt_the_last())
}

/// Demands that a store takes no write of any kind after a failed sync, and syncs nothing.
async fn refused(attempts: &mut Attempts, instance: &Instance) -> Outcome {
    let entries = instance.entries();
    let error = expect_error!(attempts.write(instance).await, Poisoned, "E3: a write after a failed sync");
    ensure_eq!(error.effect(), Effect::NotApplied, "E3: the effect of a write that a poisoned store refuses");
    say(attempts.last_line());
    // What each would change is as it says.
    let (absent, present) = (key("absent"), attempts.key(0));
    let compared = entries.test_and_set(&absent, None, Some(value("v"))).await;
    expect_error!(compared, Poisoned, "E3: a `test_and_set` after a failed sync");
    expect_error!(entries.remove(&present).await, Poisoned, "E3: a `remove` after a failed sync");
    expect_error!(entries.clear().await, Poisoned, "E3: a `clear` after a failed sync");
    if let Some(content) = instance.indexable() {
        expect_error!(content.add(value("content")).await, Poisoned, "E3: an `add` after a failed sync");
        expect_error!(commit(&*content).await, Poisoned, "E3: a batch after a failed sync");
    }
    ensure!(instance.sync().await.is_err(), "E3: a `sync` after a failed one is acknowledged");
    attempts.check_readable(instance).await
}

/// A batch, which may be refused at each of its steps.
async fn commit(content: &dyn Indexable) -> store_api::Result<()> {
    let batch = content.begin().await?;
    batch.add(value("in a batch")).await?;
    batch.commit().await
}

/// After a sync failed the system takes what it should have written for clean, though it is not on the disk. So what a
/// reopened store shows or acknowledges is looked at after a power loss.
async fn failed_sync(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    for number in 0..context.rounds(6) {
        let attempts = poisoned(&context, number, &mut random)?;
        let syncs_itself = context.guarantees().durability == Durability::Power;
        let checked = match number % 3 {
            // What a process shows that finds what the failed sync left.
            1 if syncs_itself => stays(&context, Keep::None).await,
            // What it acknowledges, or syncs: it may rest on what the failed sync left.
            2 if syncs_itself => acknowledges::<Entries>(&context, number, &mut random).await,
            2 => acknowledges::<Synced>(&context, number, &mut random).await,
            _ => context.disk().lose_power(Keep::Random { seed: random.u64(..) }),
        };
        checked.map_err(|failure| failure.within(format_args!("E3: opened again after failed sync {number}")))?;
        let instance = context.open_when_free("E3: an open behind a failed sync").await?;
        let checked = attempts.check(&instance).await;
        checked.map_err(|failure| failure.within(format_args!("E3: failed sync {number}")))?;
        instance.entries().set(&key("works"), value(number)).await?;
        instance.close().await?;
    }
    Ok(())
}

/// What a child wrote until a sync failed, and then not any more. It is killed, since a close could repair something.
fn poisoned(context: &Context, number: usize, random: &mut fastrand::Rng) -> Outcome<Attempts> {
    let mut attempts = Attempts::new(Round { number, seed: context.seed() });
    let mut child = context.child("poison", &[&number.to_string()])?;
    attempts.hear(&child.line()?);
    let times = if random.bool() { " times=1" } else { "" };
    context.disk().fail(format_args!("fsync EIO after={}{times}", random.usize(..60)))?;
    child.go()?;
    until_poisoned(&mut child, &mut attempts)?;
    context.disk().mend()?;
    child.go()?;
    until_poisoned(&mut child, &mut attempts)?;
    child.kill()?;
    Ok(attempts)
}

fn until_poisoned(child: &mut Child, attempts: &mut Attempts) -> Outcome {
    loop {
        let line = child.line()?;
        if line == POISONED {
            return Ok(());
        }
        attempts.hear(&line);
    }
}

async fn acknowledges<W: Work>(context: &Context, number: usize, random: &mut fastrand::Rng) -> Outcome {
    let said = [cut_off::<W>(context, number, random)?];
    context.disk().lose_power(Keep::None)?;
    let instance = context.open_when_free("E3: an open behind a failed sync, and a power loss").await?;
    W::check(&instance, &said).await?;
    instance.close().await?;
    Ok(())
}

/// Writes on, whatever it is told.
async fn attempt(cue: Cue) -> Outcome {
    let mut attempts = attempts_of(&cue)?;
    say(OPENING);
    hear();
    // A disk that fails may not let it open.
    let Ok(instance) = cue.try_open().await else { return Ok(()) };
    while attempts.len() < WRITES {
        let written = attempts.write(&instance).await;
        say(attempts.last_line());
        if written.is_err_and(|error| error.kind() == ErrorKind::Poisoned) {
            break;
        }
    }
    Ok(())
}

const OPENING: &str = "opening";

/// What a disk is asked for on the way of a write, and before how many of them at most one fails: what an engine does now
/// and then only is to fail at once.
const OPERATIONS: [(&str, usize); 7] =
    [("write", 20), ("fsync", 20), ("create", 3), ("rename", 2), ("truncate", 3), ("syncdir", 3), ("unlink", 3)];

/// What it answers: most of the time that it is broken or full.
const ERRORS: [&str; 7] = ["EIO", "EIO", "ENOSPC", "ENOSPC", "EDQUOT", "EROFS", "EACCES"];

/// Whatever operation of the disk fails, and when: an error tells the truth about its write, also after a crash.
async fn failing_operations(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    context.open().await?.close().await?;
    let loses_power = context.guarantees().durability == Durability::Power;
    for number in 0..context.rounds(OPERATIONS.len()) {
        let (operation, before) = OPERATIONS[number % OPERATIONS.len()];
        let error = ERRORS[random.usize(..ERRORS.len())];
        let fault = format!("{operation} {error} after={} times={}", random.usize(..before), random.usize(1..4));
        let mut attempts = Attempts::new(Round { number, seed: context.seed() });
        let mut child = context.child("attempt", &[&number.to_string()])?;
        child.until(OPENING)?;
        context.disk().fail(&fault)?;
        child.go()?;
        let lines = child.kill_after(random.usize(20..150), &mut random, STEP)?;
        for line in &lines {
            attempts.hear(line);
        }
        context.disk().mend()?;
        if loses_power && random.bool() {
            context.disk().lose_power(Keep::Random { seed: random.u64(..) })?;
        }
        let instance = context.open_when_free("an open behind a kill").await;
        let instance = instance.map_err(|failure| failure.within(format_args!("after `{fault}`")))?;
        let checked = attempts.check(&instance).await;
        checked.map_err(|failure| failure.within(format_args!("after `{fault}`")))?;
        instance.close().await?;
    }
    ensure_struck(&context)
}

/// Where the disk never did what it was told to do wrong, nothing was shown.
fn ensure_struck(context: &Context) -> Outcome {
    if context.disk().faults()? == 0 {
        return Err(Failure::inconclusive("the store asked the disk for nothing that was to go wrong"));
    }
    Ok(())
}

/// A full disk is `NoSpace`; what was acknowledged can be read; and when there is room, the same store writes on.
async fn full_disk(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    for number in 0..context.rounds(3) {
        let mut attempts = Attempts::new(Round { number, seed: context.seed() });
        let instance = context.open().await?;
        attempts.write(&instance).await?;
        context.disk().leave_room(random.u64(..300_000))?;
        write_until_full(&mut attempts, &instance, context.directory()).await?;
        let closes_full = random.bool();
        if !closes_full {
            context.disk().mend()?;
            write_with_room(&mut attempts, &instance).await?;
        }
        // It may have something to write, and no room for it.
        let closed = instance.close().await;
        ensure!(closes_full || closed.is_ok(), "L4: a close fails, though there is room again");
        context.disk().mend()?;
        let instance = context.open().await?;
        attempts.check(&instance).await.map_err(|failure| failure.within("after a full disk"))?;
        instance.close().await?;
    }
    Ok(())
}

/// Writes until the disk that a directory lies on is full, which is to be told, and demands what was acknowledged.
pub(super) async fn write_until_full(attempts: &mut Attempts, instance: &Instance, directory: &Path) -> Outcome {
    let error = fill(attempts, instance, directory).await?;
    expect_error!(Err::<(), _>(error), NoSpace, "E1: the error of a write on a full disk");
    attempts.check(instance).await.map_err(|failure| failure.within("on a full disk"))
}

/// Writes until the disk refuses one; gives that error.
async fn fill(attempts: &mut Attempts, instance: &Instance, directory: &Path) -> Outcome<Error> {
    while attempts.len() < WRITES {
        if let Err(error) = attempts.write(instance).await {
            return Ok(error);
        }
    }
    // What it acknowledged it must have, wherever that is.
    attempts.check(instance).await.map_err(|failure| failure.within("on a full disk"))?;
    let disk = statvfs(directory).map_err(Failure::harness)?;
    ensure!(disk.f_bavail > 0, "E1: {WRITES} writes were acknowledged on a full disk");
    Err(Failure::unsupported(format_args!("{WRITES} writes did not fill the disk: the store had room from before")))
}

/// Writes when there is room again.
pub(super) async fn write_with_room(attempts: &mut Attempts, instance: &Instance) -> Outcome {
    attempts.write(instance).await.map_err(|error| Failure::from(error).within("E1: there is room again"))?;
    attempts.check(instance).await
}

/// What a disk answers that was mounted read-only underneath, whose permissions were lost, or whose quota is used up.
const NO_CHANGES: [&str; 3] = ["EROFS", "EACCES", "EDQUOT"];

/// All that changes a disk.
const CHANGES: [&str; 8] = ["write", "truncate", "allocate", "create", "link", "mkdir", "rename", "unlink"];

/// A disk that takes no changes any more refuses writes, with their effect, and what was acknowledged is read or told to be
/// out of reach. It is all there when the store is opened on a disk that takes changes, and the store goes on.
async fn no_changes(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    for number in 0..context.rounds(3) {
        let mut attempts = Attempts::new(Round { number, seed: context.seed() });
        let instance = context.open().await?;
        for _ in 0..random.usize(1..10) {
            attempts.write(&instance).await?;
        }
        let answer = NO_CHANGES[number % NO_CHANGES.len()];
        for change in CHANGES {
            context.disk().fail(format_args!("{change} {answer}"))?;
        }
        let refused = loop {
            if let Err(error) = attempts.write(&instance).await {
                break error;
            }
            ensure!(attempts.len() < WRITES, "A10: {WRITES} writes were acknowledged on a disk that takes no changes");
        };
        if answer == "EDQUOT" {
            expect_error!(Err::<(), _>(refused), NoSpace, "E1: the error of a write beyond a quota");
        }
        for _ in 0..3 {
            // Whatever it is told, it is to be true.
            let _ = attempts.write(&instance).await;
        }
        attempts.check_readable(&instance).await.map_err(|failure| failure.within(answer))?;
        // It may have something to write.
        let _ = instance.close().await;
        context.disk().mend()?;
        let instance = context.open().await.map_err(|failure| failure.within(format_args!("after {answer}")))?;
        let checked = attempts.check(&instance).await;
        checked.map_err(|failure| failure.within(format_args!("opened again after {answer}")))?;
        attempts.write(&instance).await?;
        instance.close().await?;
    }
    Ok(())
}

/// Who removes the files of a store that is open is told, whether all of them or one; but for those of which the store
/// declares that it overlooks it.
async fn removed(context: Context) -> Outcome {
    all_removed(&context).await?;
    let mut files = 1;
    let mut number = 0;
    while number < files {
        let context = context.store_in_directory().await?;
        files = one_removed(&context, number).await?;
        number += 1;
    }
    Ok(())
}

/// The next write tells; and in their place another store can be made.
async fn all_removed(context: &Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let instance = context.open().await?;
    let mut attempts = Attempts::new(Round { number: 0, seed: context.seed() });
    for _ in 0..5 {
        attempts.write(&instance).await?;
    }
    if Files::of(context.directory())?.file_names().iter().all(|name| context.overlooks(name)) {
        return Err(Failure::unsupported("the store overlooks the removal of each of its files"));
    }
    empty_but_for(context.directory(), &|name| context.overlooks(name)).map_err(Failure::harness)?;
    for _ in 0..5 {
        let written = attempts.write(&instance).await;
        ensure!(written.is_err(), "A10: a write was acknowledged, though the files of the store had been removed");
    }
    attempts.check_readable(&instance).await?;
    // There is nothing left that it could write to.
    let _ = instance.close().await;
    empty(context.directory()).map_err(Failure::harness)?;
    let instance = context.open().await.map_err(|failure| failure.within("where the files had been removed"))?;
    let (k, v) = (key("k"), value("v"));
    instance.entries().set(&k, v.clone()).await?;
    ensure_eq!(instance.entries().find(&k).await?, Some(v), "A1: an entry of a store that was made in another's place");
    Ok(instance.close().await?)
}

/// How many writes come before a file is removed, and how many behind that.
const BESIDE: usize = 5;

/// Writes some, and some more when it is told to, whatever each is told.
async fn write_twice(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let mut attempts = attempts_of(&cue)?;
    loop {
        for _ in 0..BESIDE {
            // The line says how it ended.
            let _ = attempts.write(&instance).await;
            say(attempts.last_line());
        }
        hear();
    }
}

fn hear_some(child: &mut Child, attempts: &mut Attempts) -> Outcome {
    (0..BESIDE).try_for_each(|_| {
        attempts.hear(&child.line()?);
        Ok(())
    })
}

/// Where one of the files is removed, the next writes tell, or the next open, or everything that was acknowledged is there:
/// the file was not needed. Gives how many files there are.
async fn one_removed(context: &Context, number: usize) -> Outcome<usize> {
    let mut attempts = Attempts::new(Round { number, seed: context.seed() });
    let mut child = context.child("write-twice", &[&number.to_string()])?;
    hear_some(&mut child, &mut attempts)?;
    let acknowledged = attempts.told_behind(0).iter().all(|told| *told == Told::Applied);
    ensure!(acknowledged, "E1: a write to an empty store is refused");
    let files: Vec<PathBuf> = Files::of(context.directory())?.paths().map(PathBuf::from).collect();
    let Some(file) = files.get(number) else { return Ok(files.len()) };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if context.overlooks(&name) {
        return Ok(files.len());
    }
    unless_gone(fs::remove_file(context.directory().join(file))).map_err(Failure::harness)?;
    child.go()?;
    hear_some(&mut child, &mut attempts)?;
    child.kill()?;
    if attempts.told_behind(BESIDE).iter().any(|told| *told != Told::Applied) {
        return Ok(files.len());
    }
    if let Ok(instance) = context.try_open(&Settings::default()).await {
        let checked = attempts.check(&instance).await;
        checked.map_err(|failure| failure.within(format_args!("{name} was removed while the store was open")))?;
        instance.close().await?;
    }
    Ok(files.len())
}

/// A watch that has told of a fault goes on when that has passed, and folds to the store.
async fn watch_full_disk(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    for number in 0..context.rounds(2) {
        let mut attempts = Attempts::new(Round { number, seed: context.seed() });
        let instance = context.open().await?;
        let entries = instance.entries();
        let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
        attempts.write(&instance).await?;
        follower.converge(&all(&*entries).await?).await?;
        context.disk().leave_room(random.u64(..100_000))?;
        fill(&mut attempts, &instance, context.directory()).await?;
        context.disk().mend()?;
        write_with_room(&mut attempts, &instance).await?;
        follower.converge_behind_faults(&all(&*entries).await?).await?;
        instance.close().await?;
    }
    Ok(())
}

async fn all(entries: &dyn AtomicWrite) -> Outcome<State> {
    Ok(entries.entries_sorted(&Key::root()).await?.into_iter().collect())
}

/// A write to a file may take only a part of its bytes; that is no error.
async fn short_writes(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    for number in 0..context.rounds(2) {
        let mut attempts = Attempts::new(Round { number, seed: context.seed() });
        let instance = context.open().await?;
        for _ in 0..20 {
            context.disk().shorten_writes(random.usize(1..4))?;
            // An engine that takes it for an error says so.
            let _ = attempts.write(&instance).await;
        }
        attempts.check(&instance).await.map_err(|failure| failure.within("after short writes"))?;
        context.disk().mend()?;
        attempts.write(&instance).await?;
        instance.sync().await?;
        instance.close().await?;
        context.disk().lose_power(Keep::None)?;
        let instance = context.open().await?;
        let checked = attempts.check(&instance).await;
        checked.map_err(|failure| failure.within("after short writes, a `sync`, and a power loss"))?;
        instance.close().await?;
    }
    ensure_struck(&context)
}
