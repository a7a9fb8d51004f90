//! A10, by the system calls of a process: between the write of some bytes and the answer that they are kept lies a sync of
//! the file that they are in. A disk that loses power shows the same of whole stores; this shows it of each write.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::{AtomicWrite, Indexable, IndexedExt, TestAndSet};

use crate::{
    case::{Case, case},
    child::say,
    context::{Context, key},
    failure::{Failure, Outcome, ensure},
    roles::{Cue, Role, role},
    syscalls::{Fate, Trace},
};

pub(super) const CASES: &[Case] = &[case!(
    "atomic/A10-a-sync-lies-between-each-write-and-its-answer",
    [Entries, SurvivesPowerLoss],
    synced_before_answered
)];

pub(super) const ROLES: &[Role] = &[role!("answer", answer)];

/// How many writes come at once behind those that come one after the other: an engine may write and sync them together.
const GROUP: usize = 6;

/// Begins the value of a write, and is nowhere else.
fn mark(number: usize) -> String {
    format!("bytes of write {number}.")
}

fn answer_to(number: usize) -> String {
    format!("answer to write {number}.")
}

/// So short that an engine keeps it in one piece, and so often marked that it may be cut once.
fn value_of(number: usize) -> Bytes {
    mark(number).repeat(3).into()
}

async fn write(entries: &dyn AtomicWrite, content: Option<&Arc<dyn Indexable>>, number: usize) -> Outcome {
    let (key, value) = (key(format!("k/{number}")), value_of(number));
    match (number % 4, content) {
        (1, Some(content)) => content.add(value).await.map(drop)?,
        (2, Some(content)) => content.batch(|batch| async move { batch.add(value).await }).await.map(drop)?,
        (3, _) => {
            let applied = entries.test_and_set(&key, None, Some(value)).await?;
            ensure!(matches!(applied, TestAndSet::Applied), "A2: a mismatch on a key that nobody set");
        }
        _ => entries.set(&key, value).await?,
    }
    say(answer_to(number));
    Ok(())
}

/// Writes so many times one after the other, and some times at once.
async fn answer(cue: Cue) -> Outcome {
    let singles: usize = cue.number()?;
    let instance = cue.open().await?;
    let (entries, content) = (instance.entries(), instance.indexable());
    for number in 0..singles {
        write(&*entries, content.as_ref(), number).await?;
    }
    try_join_all((singles..singles + GROUP).map(|number| write(&*entries, content.as_ref(), number))).await?;
    instance.close().await?;
    Ok(())
}

async fn synced_before_answered(context: Context) -> Outcome {
    let singles = context.rounds(24);
    let trace = Trace::new()?;
    context.child_below(trace.command(), "answer", &[&singles.to_string()])?.finish()?;
    let calls = trace.calls()?;
    // As strace shows the end of a line.
    let fate_of = |number| calls.fate(&mark(number), &format!(r"{}\n", answer_to(number)));
    judge(singles, &(0..singles + GROUP).map(fate_of).collect::<Vec<_>>(), calls.other_sync())
}

/// Of writes one after the other, so many, and some at once; beside them a call that may have synced them, where there was
/// one.
fn judge(singles: usize, fates: &[Fate], other_sync: Option<&str>) -> Outcome {
    let seems_unkept = |fate: &Fate| matches!(fate, Fate::Written | Fate::Late);
    if let Some(call) = other_sync.filter(|_| fates.iter().any(seems_unkept)) {
        // The bytes may be kept in another place than where a write is seen, or is seen later.
        return Err(Failure::untested(format_args!("the store calls {call}, which does not tell what it keeps")));
    }
    for (number, fate) in fates.iter().enumerate() {
        let who = if number < singles { "a write" } else { "a write beside others" };
        ensure!(*fate != Fate::Written, "A10: {who} was acknowledged before the file that has its bytes was synced");
        ensure!(*fate != Fate::Late, "A10: {who} was acknowledged before its bytes were written");
    }
    match fates.iter().filter(|fate| **fate == Fate::Unseen).count() {
        0 => Ok(()),
        all if all == fates.len() => Err(Failure::untested("the store's system calls do not show bytes as they are")),
        some => {
            Err(Failure::inconclusive(format_args!("the system calls do not show {some} of {} writes", fates.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn kind_of(fates: &[Fate]) -> Option<Kind> {
        judge(1, fates, None).err().map(|failure| failure.kind())
    }

    #[test]
    fn a_store_whose_bytes_no_call_shows_is_untested_for_good() {
        assert_eq!(kind_of(&[Fate::Synced, Fate::Synced]), None);
        assert_eq!(kind_of(&[Fate::Unseen, Fate::Unseen]), Some(Kind::Untested));
        assert_eq!(kind_of(&[Fate::Synced, Fate::Unseen]), Some(Kind::Inconclusive));
        assert_eq!(kind_of(&[Fate::Unseen, Fate::Written]), Some(Kind::Broken));
        assert_eq!(kind_of(&[Fate::Late, Fate::Synced]), Some(Kind::Broken));
    }

    #[test]
    fn a_store_that_may_keep_bytes_in_another_way_is_not_accused() {
        let kind_of = |fates: &[Fate]| judge(1, fates, Some("msync")).err().map(|failure| failure.kind());
        assert_eq!(kind_of(&[Fate::Written, Fate::Synced]), Some(Kind::Untested));
        assert_eq!(kind_of(&[Fate::Synced, Fate::Synced]), None);
        assert_eq!(kind_of(&[Fate::Late, Fate::Synced]), Some(Kind::Untested));
    }
}
