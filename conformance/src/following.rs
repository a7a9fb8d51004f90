//! Following a watch: its events are folded over its baseline, each is judged against it (W1, W3, W12), and all are kept,
//! so that a failure shows what led to it. What must be told, and when, is left to the cases.

mod reading;
mod scope;
mod told;

use std::{collections::BTreeMap, fmt::Write, pin::pin, time::Duration};

use bytes::Bytes;
use store_api::{Diff, EntryRead, Error, ErrorKind, Event, Key, Watch, WatchId};
use tokio::task::yield_now;

use self::told::{Log, SHOWN, course_around, differences};
pub(crate) use self::{
    reading::Reading,
    scope::{Scope, State},
};
use crate::{
    context::Context,
    failure::{Failure, Kind, Outcome, demanded_here, ensure, ensure_eq},
    patience::soon,
    show::shown,
};

/// The next item of a watch, which must come. A passing fault of the store is passed over (W10).
#[track_caller]
pub(crate) fn next_item(
    context: &Context,
    what: &str,
    watch: &mut Watch,
) -> impl Future<Output = Outcome<Option<store_api::Result<Event>>>> {
    let patience = context.patience();
    demanded_here(async move {
        let mut fault = None;
        let next = async {
            loop {
                match watch.next().await {
                    Some(Err(error)) if error.is_retryable() => fault = Some(error),
                    item => return item,
                }
                yield_now().await;
            }
        };
        let waited = soon(patience, what, next).await;
        waited.map_err(|late| unless_faulty(late, fault.as_ref()))
    })
}

/// What is late, unless the last thing told instead is that the store cannot tell it at present (A6).
fn unless_faulty(late: Failure, last: Option<&Error>) -> Failure {
    match last {
        Some(error) if error.is_retryable() => {
            Failure::inconclusive(format_args!("{late}; the last thing told was a passing fault: {error}"))
        }
        _ => late,
    }
}

/// What is known of the state that a watch started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The watch was given it, values and all.
    Known,
    /// The case knows it; the watch may not know the values.
    Current,
    /// Nobody knows it: others were writing.
    Amid,
}

/// A watch and what it told.
pub(crate) struct Follower {
    watch: Watch,
    patience: Duration,
    scope: Scope,
    start: Start,
    state: State,
    /// The changes told of each key, in their order.
    told: BTreeMap<Key, Vec<Diff>>,
    caught_up: bool,
    log: Log,
}

impl Follower {
    fn new(context: &Context, watch: Watch, scope: &Scope, start: Start, state: State) -> Self {
        Self {
            watch,
            patience: context.patience(),
            scope: scope.clone(),
            start,
            state,
            told: BTreeMap::new(),
            caught_up: false,
            log: Log::default(),
        }
    }

    /// Of a watch that is started from a given state: as much of it as belongs to the scope.
    pub(crate) async fn known(
        context: &Context,
        entries: &dyn EntryRead,
        scope: &Scope,
        state: &State,
    ) -> Outcome<Self> {
        let watch = scope.watch_known(entries, state).await?;
        Ok(Self::new(context, watch, scope, Start::Known, scope.part_of(state)))
    }

    /// Of a watch that is started from nothing: all there is is told.
    pub(crate) async fn from_nothing(context: &Context, entries: &dyn EntryRead, scope: &Scope) -> Outcome<Self> {
        Ok(Self::try_from_nothing(context, entries, scope).await?)
    }

    /// The same, where the start may be refused.
    pub(crate) async fn try_from_nothing(
        context: &Context,
        entries: &dyn EntryRead,
        scope: &Scope,
    ) -> store_api::Result<Self> {
        let nothing = State::new();
        let watch = scope.watch_known(entries, &nothing).await?;
        Ok(Self::new(context, watch, scope, Start::Known, nothing))
    }

    /// Of a watch that is started from the current state, which is `state` and which nobody changes meanwhile.
    pub(crate) async fn current(
        context: &Context,
        entries: &dyn EntryRead,
        scope: &Scope,
        state: &State,
    ) -> Outcome<Self> {
        let watch = scope.watch_current(entries).await?;
        Ok(Self::new(context, watch, scope, Start::Current, scope.part_of(state)))
    }

    /// Of a watch that is started from the current state while others change it.
    pub(crate) async fn amid_writes(context: &Context, entries: &dyn EntryRead, scope: &Scope) -> Outcome<Self> {
        let watch = scope.watch_current(entries).await?;
        Ok(Self::new(context, watch, scope, Start::Amid, State::new()))
    }

    pub(crate) fn id(&self) -> WatchId {
        self.watch.id()
    }

    /// What the events fold to.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The changes told of a key, in their order.
    pub(crate) fn told(&self, key: &Key) -> &[Diff] {
        self.told.get(key).map_or(&[], Vec::as_slice)
    }

    /// How many changes were told.
    pub(crate) fn changes(&self) -> usize {
        self.told.values().map(Vec::len).sum()
    }

    /// The next event, however long it takes, judged and folded. A passing fault of the store is passed over (W10).
    pub(crate) async fn read(&mut self) -> Outcome<Event> {
        loop {
            let item = self.watch.next().await;
            self.log.keep(item.as_ref());
            match item {
                Some(Ok(event)) => {
                    let judged = self.judge(&event);
                    judged.map_err(|failure| failure.with_details(self.account(Some(&event))))?;
                    return Ok(event);
                }
                Some(Err(error)) if error.is_retryable() => yield_now().await,
                Some(Err(error)) if error.kind() == ErrorKind::Closed => {
                    return Err(self.blame("W10: a watch was ended by a `close` that was not its handle's"));
                }
                Some(Err(error)) => return Err(self.blame(format_args!("an error where none is due: {error}"))),
                None => return Err(self.blame("W9: a watch ended that nobody ended")),
            }
        }
    }

    /// The next event, which must come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = Outcome<Event>> {
        demanded_here(self.read_soon("another event"))
    }

    async fn read_soon(&mut self, what: &str) -> Outcome<Event> {
        let waited = soon(self.patience, what, self.read()).await;
        waited.unwrap_or_else(|late| Err(self.late(late)))
    }

    /// The next event, which must be a change.
    #[track_caller]
    pub(crate) fn next_change(&mut self) -> impl Future<Output = Outcome<(Key, Diff)>> {
        demanded_here(async {
            match self.next().await? {
                Event::Changed { key, diff } => Ok((key, diff)),
                other => Err(self.blame(format_args!("{} where a change is due", shown(&other)))),
            }
        })
    }

    /// The next event, which must tell that a key is in this state.
    #[track_caller]
    pub(crate) fn next_is(&mut self, key: &Key, state: Option<&Bytes>) -> impl Future<Output = Outcome> {
        demanded_here(async move {
            let (told, diff) = self.next_change().await?;
            if told != *key || diff.new_value() != state {
                let due = format!("that {} is {}", shown(key), shown(&state));
                return Err(self.blame(format_args!("the next thing told is not {due}")));
            }
            Ok(())
        })
    }

    /// Reads on until a condition holds, from one event to the next with the whole patience.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> impl Future<Output = Outcome> {
        demanded_here(async move {
            while !condition(self) {
                self.read_soon(what).await?;
            }
            Ok(())
        })
    }

    /// Reads on until what was told folds to the part of `store` that the watch covers (W5).
    #[track_caller]
    pub(crate) fn converge(&mut self, store: &State) -> impl Future<Output = Outcome> {
        demanded_here(async move {
            let due = self.scope.part_of(store);
            while self.state != due {
                let waited = soon(self.patience, "W5: what the watch told folds to the store", self.read()).await;
                waited.unwrap_or_else(|late| {
                    let differences = differences(&self.state, &due);
                    Err(self.late(late).with_details(format_args!("{}\n{differences}", self.account(None))))
                })?;
            }
            Ok(())
        })
    }

    /// Reads on until `CaughtUp`, unless it was read.
    #[track_caller]
    pub(crate) fn catch_up(&mut self) -> impl Future<Output = Outcome> {
        self.until("W1: `CaughtUp`", |follower| follower.caught_up)
    }

    /// The same once the faults of the store have passed: a watch that tells of one is given the patience again, and then it
    /// must have told something.
    #[track_caller]
    pub(crate) fn converge_behind_faults(&mut self, store: &State) -> impl Future<Output = Outcome> {
        demanded_here(async move {
            let Err(late) = self.converge(store).await else { return Ok(()) };
            if late.kind() != Kind::Inconclusive {
                return Err(late);
            }
            let told = self.log.count();
            let converged = self.converge(store).await;
            if converged.is_err() && self.log.count() == told {
                return Err(self.blame("W10: a watch told of a passing fault, and of nothing when it had passed"));
            }
            converged
        })
    }

    /// Reads what comes until `end`, and says so each time; nothing has to come.
    pub(crate) async fn read_until(&mut self, end: impl Future<Output = ()>, says: impl Fn()) -> Outcome {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                event = self.read() => {
                    event?;
                    says();
                }
            }
        }
    }

    /// Reads what is left of a watch whose handle was closed: it ends with one `Closed` (W10).
    #[track_caller]
    pub(crate) fn expect_closed(mut self) -> impl Future<Output = Outcome> {
        demanded_here(async move {
            loop {
                match self.last_item("W10: the end of a watch whose handle was closed").await? {
                    Some(Ok(event)) => self.judge(&event)?,
                    Some(Err(error)) if error.is_retryable() => yield_now().await,
                    Some(Err(error)) if error.kind() == ErrorKind::Closed => break,
                    Some(Err(error)) => {
                        let wrong = format_args!("W10: `close` ends a watch with `Closed`, not with: {error}");
                        return Err(self.blame(wrong));
                    }
                    None => return Err(self.blame("W10: `close` ends a watch without an `Err(Closed)`")),
                }
            }
            self.expect_nothing_more("W10: an item after `Err(Closed)`").await
        })
    }

    /// The watch was ended by `unwatch`: nothing comes (W9).
    #[track_caller]
    pub(crate) fn expect_end(mut self) -> impl Future<Output = Outcome> {
        demanded_here(async move { self.expect_nothing_more("W9: an item after `unwatch` returned").await })
    }

    async fn expect_nothing_more(&mut self, wrong: &str) -> Outcome {
        match self.last_item("the end of an ended watch").await? {
            Some(_) => Err(self.blame(wrong)),
            None => Ok(()),
        }
    }

    async fn last_item(&mut self, what: &str) -> Outcome<Option<store_api::Result<Event>>> {
        let waited = soon(self.patience, what, self.watch.next()).await;
        let item = waited.map_err(|late| self.late(late))?;
        self.log.keep(item.as_ref());
        Ok(item)
    }

    /// What was told of a key is, in its order, a part of what it was, change by change: each value was there, and none
    /// is older than the one told before (W4).
    #[track_caller]
    pub(crate) fn expect_course(&self, key: &Key, course: &[Option<Bytes>]) -> Outcome {
        let told = self.told(key);
        let mut rest = course.iter();
        for (at, diff) in told.iter().enumerate() {
            if rest.any(|was| was.as_ref() == diff.new_value()) {
                continue;
            }
            let state = diff.new_value().cloned();
            let wrong = if course.contains(&state) { "after something newer" } else { "which it never was" };
            let last = &told[at.saturating_sub(SHOWN)..=at];
            let details = format!(
                "a watch of {} told of {}, last: {}\n{}",
                shown(&self.scope),
                shown(key),
                shown(last),
                course_around(course, state.as_ref()),
            );
            let wrong = format_args!("W4: told {} of {}, {wrong}", shown(&state), shown(key));
            return Err(Failure::broken(wrong).with_details(details));
        }
        Ok(())
    }

    /// What was told of a key starts from one of these states, at an instant during the call that started the watch
    /// (W1, W3), and leads to its `last` one (W2).
    #[track_caller]
    pub(crate) fn expect_start(&self, key: &Key, possible: &[Option<Bytes>], last: Option<&Bytes>) -> Outcome {
        let told = self.told(key);
        let was_there = || possible.iter().flatten();
        let (possible_start, fault) = match told.first() {
            Some(Diff::Added { .. }) => (possible.contains(&None), "W3: first `Added`"),
            Some(Diff::Updated { old: None, .. } | Diff::Removed { old: None }) => {
                (was_there().next().is_some(), "W3: first `Updated` or `Removed`")
            }
            Some(diff) => (was_there().any(|was| Some(was) == diff.old_value()), "W3: a first `old`"),
            None => (possible.iter().any(|was| was.as_ref() == last), "W2: nothing told"),
        };
        if !possible_start || told.last().is_some_and(|diff| diff.new_value() != last) {
            let fault = if possible_start { "W2: not told of the last change" } else { fault };
            let due = format!("when the watch started it was one of {}, at last {}", shown(possible), shown(&last));
            return Err(self.blame(format_args!("{fault}: {} of {}; {due}", shown(told), shown(key))));
        }
        Ok(())
    }

    fn judge(&mut self, event: &Event) -> Outcome {
        match event {
            Event::CaughtUp => {
                ensure!(!self.caught_up, "W1: `CaughtUp` twice");
                self.caught_up = true;
                Ok(())
            }
            Event::Changed { key, diff } => self.fold(key, diff),
            other => Err(Failure::harness(format_args!("an event that the suite does not know: {other:?}"))),
        }
    }

    fn fold(&mut self, key: &Key, diff: &Diff) -> Outcome {
        ensure!(self.scope.covers(key), "W12: told of {}, which the watch does not cover", shown(key));
        let early = self.start != Start::Known && !self.caught_up;
        ensure!(!early, "W1: a change before the `CaughtUp` of a watch that started at the current state");
        let first = !self.told.contains_key(key);
        let before = self.state.get(key);
        if !first || self.start != Start::Amid {
            chain(before, diff)?;
        }
        if !first || self.start == Start::Known {
            chain_of_values(before, diff)?;
        } else if let (Some(before), Some(old)) = (before, diff.old_value()) {
            ensure_eq!(*old, *before, "W3: `old` where the watch started from another value");
        }
        match diff.new_value() {
            Some(new) => self.state.insert(key.clone(), new.clone()),
            None => self.state.remove(key),
        };
        self.told.entry(key.clone()).or_default().push(diff.clone());
        Ok(())
    }

    /// A failure of this watch, with what it told.
    #[track_caller]
    pub(crate) fn blame(&self, wrong: impl std::fmt::Display) -> Failure {
        Failure::broken(wrong).with_details(self.account(None))
    }

    /// The failure of a wait for what the watch is to tell.
    pub(crate) fn late(&self, late: Failure) -> Failure {
        unless_faulty(late, self.log.last_error()).with_details(self.account(None))
    }

    /// What the watch is and told last; of a `wrong` event, also what came before it.
    fn account(&self, wrong: Option<&Event>) -> String {
        let start = match self.start {
            Start::Known => "a given state",
            Start::Current => "the current state",
            Start::Amid => "the current state, while others wrote",
        };
        let mut account = format!("a watch of {}, started from {start}; {}", shown(&self.scope), self.log);
        if let Some(Event::Changed { key, .. }) = wrong {
            let before = shown(&self.state.get(key));
            let _ = write!(account, "\n  ^ what it told of {} before: {before}", shown(key));
        }
        account
    }
}

/// An event says `Added` if and only if the baseline lacks the key (W3).
fn chain(before: Option<&Bytes>, diff: &Diff) -> Outcome {
    match (before, diff) {
        (None, Diff::Added { .. }) | (Some(_), Diff::Updated { .. } | Diff::Removed { .. }) => Ok(()),
        (Some(_), Diff::Added { .. }) => {
            Err(Failure::broken("W3: `Added`, but the watch had told or been given the key"))
        }
        (None, _) => {
            Err(Failure::broken("W3: `Updated` or `Removed`, but the watch had not told or been given the key"))
        }
    }
}

/// `old` is what was told or given last, and the new value differs from it (W3).
fn chain_of_values(before: Option<&Bytes>, diff: &Diff) -> Outcome {
    if !matches!(diff, Diff::Added { .. }) {
        ensure_eq!(diff.old_value(), before, "W3: `old`");
    }
    ensure!(before != diff.new_value(), "W3: two values told in a row do not differ");
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use store_api::Result;

    use super::*;
    use crate::{context::key, failure::Kind};

    /// How a wait ends for an event of a watch that tells this and no more.
    async fn waited_for(items: impl IntoIterator<Item = Result<Event>, IntoIter: Send + 'static>) -> Failure {
        let items = stream::StreamExt::chain(stream::iter(items), stream::pending());
        let mut follower = Follower {
            watch: Watch::new(WatchId::unique(), items),
            patience: Duration::from_millis(100),
            scope: Scope::everything(),
            start: Start::Known,
            state: State::new(),
            told: BTreeMap::new(),
            caught_up: false,
            log: Log::default(),
        };
        let waited = follower.until("what never comes", |_| false).await;
        waited.expect_err("it never comes")
    }

    fn change() -> Event {
        Event::Changed { key: key("k"), diff: Diff::Added { new: "v".into() } }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_tells_of_a_passing_fault_instead_is_not_accused() {
        let fault = Error::new(ErrorKind::Unavailable, "no answer");
        assert_eq!(waited_for([Ok(change()), Err(fault)]).await.kind(), Kind::Inconclusive);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_silent_is_accused() {
        let fault = Error::new(ErrorKind::Unavailable, "no answer");
        assert_eq!(waited_for([Err(fault), Ok(change())]).await.kind(), Kind::Broken);
        assert_eq!(waited_for([]).await.kind(), Kind::Broken);
    }
}
