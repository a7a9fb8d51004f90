//! W7 seen from outside: what a watch tells when it is read again says nothing of what it held until then.

use bytes::Bytes;
use store_api::{AtomicWrite, Init, Key};

use crate::{
    case::{Case, case},
    child::{Child, hear, say, say_step},
    context::{Context, key},
    failure::{Failure, Outcome, ensure},
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

/// What an engine fills by and by is full at some time, but for large buffers; only what grows in each of these rounds, and
/// by so much less where nobody watches, grows with the changes.
const ROUNDS: usize = 6;

async fn takes_no_memory(context: Context) -> Outcome {
    expect_told()?;
    let watched = grown(&context, WATCHED, grows)?;
    if !grows(&watched) {
        return Ok(());
    }
    let unwatched = grown(&context, UNWATCHED, |_| true)?;
    ensure!(
        !accuses(&watched, &unwatched),
        "W7: one key was set {CHANGES} times to {LEN} bytes in each of {ROUNDS} rounds, and a process with watches that \
         nobody reads grew by {watched:?} KiB, one without watches by {unwatched:?} KiB"
    );
    Ok(())
}

/// Whether a process grew in each round.
fn grows(rounds: &[u64]) -> bool {
    rounds.iter().all(|kib| *kib > ALLOWED_KIB)
}

/// Whether a process with watches grew by so much more than one without that this is not the engine's own.
fn accuses(watched: &[u64], unwatched: &[u64]) -> bool {
    let [watched_kib, unwatched_kib] = [watched, unwatched].map(|rounds| rounds.iter().sum::<u64>());
    grows(watched) && watched_kib.saturating_sub(unwatched_kib) > ALLOWED_KIB * watched.len() as u64
}

/// By how many KiB another process grew in each round, as long as it goes on.
fn grown(context: &Context, watched: &str, goes_on: fn(&[u64]) -> bool) -> Outcome<Vec<u64>> {
    let mut child = context.child("unread-watch", &[watched])?;
    let mut last = resident(&mut child)?;
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS && goes_on(&rounds) {
        child.go()?;
        let now = resident(&mut child)?;
        rounds.push(now.saturating_sub(last));
        last = now;
    }
    child.kill()?;
    Ok(rounds)
}

/// Whether the role watches what it writes.
const WATCHED: &str = "1";
const UNWATCHED: &str = "0";

fn resident(child: &mut Child) -> Outcome<u64> {
    child.line()?.parse().map_err(Failure::harness)
}

/// Says how much memory it has behind each round of writes, the first of which nobody watches.
async fn write_unread(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let entries = instance.entries();
    let often = key("often");
    write(&*entries, &often).await?;
    let mut unread = Vec::new();
    if cue.number::<u8>()? > 0 {
        unread.push(entries.watch(&Key::root(), Init::Current).await?);
        unread.push(entries.watch(&Key::root(), Init::Known(Vec::new())).await?);
        unread.push(entries.watch_key(&often, Init::Current).await?);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_fills_a_large_buffer_is_not_accused() {
        let (grows, stays) = ([4 * ALLOWED_KIB; ROUNDS], [0; ROUNDS]);
        assert!(accuses(&grows, &stays));
        assert!(!accuses(&grows, &grows), "it grows without watches, too");
        assert!(!accuses(&[4 * ALLOWED_KIB, 0], &stays), "it is full at some time");
    }
}
