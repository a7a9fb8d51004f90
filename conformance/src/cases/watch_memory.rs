//! W7 seen from outside: what a watch tells when it is read again says nothing of what it held until then.

use bytes::Bytes;
use store_api::{AtomicWrite, Init, Key};

use crate::{
    case::{Case, case},
    child::{Child, hear, say, say_step},
    context::{Context, key},
    failure::{Failure, Outcome},
    memory::{expect_told, resident_kib},
    operations::insist,
    roles::{Cue, Role, role},
};

pub(super) const CASES: &[Case] = &[case!(
    "watch/W7-a-watch-that-nobody-reads-takes-no-memory-for-each-change",
    [Entries, Embedded],
    takes_no_memory
)];

pub(super) const ROLES: &[Role] = &[role!("unread-watch", write_unread)];

/// What is written to one key in a round.
const CHANGES: usize = 256;
const LEN: usize = 128 * 1024;

/// By how much the memory may grow in a round: a quarter of what was written.
const ALLOWED_KIB: u64 = (CHANGES * LEN / 1024 / 4) as u64;

/// What an engine fills by and by is full at some time; only what grows in each of these rounds grows with the changes.
const ROUNDS: usize = 6;

async fn takes_no_memory(context: Context) -> Outcome {
    expect_told()?;
    let mut child = context.child("unread-watch", &[])?;
    let first = resident(&mut child)?;
    let mut last = first;
    for _ in 0..ROUNDS {
        child.go()?;
        let now = resident(&mut child)?;
        if now.saturating_sub(last) <= ALLOWED_KIB {
            return child.kill().map(drop);
        }
        last = now;
    }
    Err(Failure::broken(format_args!(
        "W7: a process with watches that nobody reads grew from {first} KiB to {last} KiB, and in each of {ROUNDS} rounds in \
         which one key was set {CHANGES} times to {LEN} bytes",
    )))
}

fn resident(child: &mut Child) -> Outcome<u64> {
    child.line()?.parse().map_err(Failure::harness)
}

/// Says how much memory it has behind each round of writes, the first of which nobody watches.
async fn write_unread(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let entries = instance.entries();
    let often = key("often");
    write(&*entries, &often).await?;
    let _unread = [
        entries.watch(&Key::root(), Init::Current).await?,
        entries.watch(&Key::root(), Init::Known(Vec::new())).await?,
        entries.watch_key(&often, Init::Current).await?,
    ];
    loop {
        say(resident_kib()?);
        hear();
        write(&*entries, &often).await?;
    }
}

async fn write(entries: &dyn AtomicWrite, key: &Key) -> Outcome {
    for change in 0..CHANGES {
        let value = Bytes::from(vec![change.to_le_bytes()[0]; LEN]);
        insist(|| entries.set(key, value.clone())).await?;
        say_step();
    }
    Ok(())
}
