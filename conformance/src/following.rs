//! Following a watch: its events are folded over its baseline, each is judged against it (W1, W3, W12), and all are kept,
//! so that a failure shows what led to it. What must be told, and when, is left to the cases.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use store_api::{Diff, EntryRead, Error, ErrorKind, Event, Init, Key, Watch, WatchId};
use tokio::task::yield_now;

use crate::{
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    patience::soon,
    show::{Show, shown},
};

/// Entries by key.
pub(crate) type State = BTreeMap<Key, Bytes>;

/// How many of the last items a failure shows.
const SHOWN: usize = 12;

/// What a watch covers.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// One entry.
    Key(Key),
    /// The entries at and below a path.
    Under(Key),
}

impl Scope {
    pub(crate) fn everything() -> Self {
        Self::Under(Key::root())
    }

    pub(crate) fn key(path: &str) -> Self {
        Self::Key(key(path))
    }

    pub(crate) fn under(path: &str) -> Self {
        Self::Under(key(path))
    }

    /// Whether an entry belongs to it, by the steps of both (W12).
    pub(crate) fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Under(path) if path.is_root() => true,
            Self::Under(path) => {
                let mut steps = key.as_str().split('/');
                path.as_str().split('/').all(|step| steps.next() == Some(step))
            }
        }
    }

    /// The entries of a state that belong to it.
    pub(crate) fn part_of(&self, state: &State) -> State {
        let covered = state.iter().filter(|(key, _)| self.covers(key));
        covered.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Starts a watch from what is there.
    pub(crate) async fn watch_current(&self, entries: &dyn EntryRead) -> store_api::Result<Watch> {
        match self {
            Self::Key(key) => entries.watch_key(key, Init::Current).await,
            Self::Under(path) => entries.watch(path, Init::Current).await,
        }
    }

    /// Starts a watch from a known state: as much of it as belongs to the scope.
    pub(crate) async fn watch_known(&self, entries: &dyn EntryRead, state: &State) -> store_api::Result<Watch> {
        match self {
            Self::Key(key) => entries.watch_key(key, Init::Known(state.get(key).cloned())).await,
            Self::Under(path) => {
                let known = self.part_of(state).into_iter().collect();
                entries.watch(path, Init::Known(known)).await
            }
        }
    }
}

impl Show for Scope {
    fn show(&self) -> String {
        match self {
            Self::Key(key) => format!("the entry {}", key.show()),
            Self::Under(path) if path.is_root() => "every entry".into(),
            Self::Under(path) => format!("the entries under {}", path.show()),
        }
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
    pub(crate) async fn next(&mut self) -> Outcome<Event> {
        let waited = soon(self.patience, "another event", self.read()).await;
        waited.unwrap_or_else(|late| Err(late.with_details(self.account(None))))
    }

    /// The next event, which must be a change.
    pub(crate) async fn next_change(&mut self) -> Outcome<(Key, Diff)> {
        match self.next().await? {
            Event::Changed { key, diff } => Ok((key, diff)),
            other => Err(self.blame(format_args!("{} where a change is due", shown(&other)))),
        }
    }

    /// The next event, which must tell that a key is in this state.
    pub(crate) async fn next_is(&mut self, key: &Key, state: Option<&Bytes>) -> Outcome {
        let (told, diff) = self.next_change().await?;
        if told != *key || diff.new_value() != state {
            let due = format!("that {} is {}", shown(key), shown(&state));
            return Err(self.blame(format_args!("the next thing told is not {due}")));
        }
        Ok(())
    }

    /// Reads on until a condition holds.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> Outcome {
        let waited = soon(self.patience, what, async {
            while !condition(self) {
                self.read().await?;
            }
            Ok(())
        });
        let waited = waited.await;
        waited.unwrap_or_else(|late| Err(late.with_details(self.account(None))))
    }

    /// Reads on until what was told folds to the part of `store` that the watch covers (W5).
    pub(crate) async fn converge(&mut self, store: &State) -> Outcome {
        let due = self.scope.part_of(store);
        let waited = soon(self.patience, "W5: what the watch told folds to the store", async {
            while self.state != due {
                self.read().await?;
            }
            Ok(())
        });
        let waited = waited.await;
        waited.unwrap_or_else(|late| {
            let differences = differences(&self.state, &due);
            Err(late.with_details(format_args!("{}\n{differences}", self.account(None))))
        })
    }

    /// Reads on until `CaughtUp`, unless it was read.
    pub(crate) async fn catch_up(&mut self) -> Outcome {
        self.until("W1: `CaughtUp`", |follower| follower.caught_up).await
    }

    /// Reads what comes until `end`; nothing has to come.
    pub(crate) async fn read_until(&mut self, end: impl Future<Output = ()>) -> Outcome {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                event = self.read() => drop(event?),
            }
        }
    }

    /// Reads what is left of a watch whose handle was closed: it ends with one `Closed` (W10).
    pub(crate) async fn expect_closed(mut self) -> Outcome {
        loop {
            match self.last_items("W10: the end of a watch whose handle was closed").await? {
                Some(Ok(event)) => self.judge(&event)?,
                Some(Err(error)) if error.is_retryable() => yield_now().await,
                Some(Err(error)) if error.kind() == ErrorKind::Closed => break,
                Some(Err(error)) => {
                    return Err(self.blame(format_args!("W10: `close` ends a watch with `Closed`, not with: {error}")));
                }
                None => return Err(self.blame("W10: `close` ends a watch without an `Err(Closed)`")),
            }
        }
        self.expect_nothing_more("W10: an item after `Err(Closed)`").await
    }

    /// The watch was ended by `unwatch`: nothing comes (W9).
    pub(crate) async fn expect_end(mut self) -> Outcome {
        self.expect_nothing_more("W9: an item after `unwatch` returned").await
    }

    async fn expect_nothing_more(&mut self, wrong: &str) -> Outcome {
        // An ended watch stays ended, however often it is asked.
        for _ in 0..2 {
            if self.last_items("the end of an ended watch").await?.is_some() {
                return Err(self.blame(wrong));
            }
        }
        Ok(())
    }

    async fn last_items(&mut self, what: &str) -> Outcome<Option<store_api::Result<Event>>> {
        let waited = soon(self.patience, what, self.watch.next()).await;
        let item = waited.map_err(|late| late.with_details(self.account(None)))?;
        self.log.keep(item.as_ref());
        Ok(item)
    }

    /// What was told of a key is, in its order, a part of what it was, change by change: each value was there, and none
    /// is older than the one told before (W4).
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
    pub(crate) fn expect_start(&self, key: &Key, possible: &[Option<Bytes>], last: Option<&Bytes>) -> Outcome {
        let told = self.told(key);
        let was_there = || possible.iter().flatten();
        let (possible_start, fault) = match told.first() {
            Some(Diff::Added(_)) => (possible.contains(&None), "W3: first `Added`"),
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
    pub(crate) fn blame(&self, wrong: impl std::fmt::Display) -> Failure {
        Failure::broken(wrong).with_details(self.account(None))
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
        (None, Diff::Added(_)) | (Some(_), Diff::Updated { .. } | Diff::Removed { .. }) => Ok(()),
        (Some(_), Diff::Added(_)) => Err(Failure::broken("W3: `Added`, but the watch had told or been given the key")),
        (None, _) => {
            Err(Failure::broken("W3: `Updated` or `Removed`, but the watch had not told or been given the key"))
        }
    }
}

/// `old` is what was told or given last, and the new value differs from it (W3).
fn chain_of_values(before: Option<&Bytes>, diff: &Diff) -> Outcome {
    if !matches!(diff, Diff::Added(_)) {
        ensure_eq!(diff.old_value(), before, "W3: `old`");
    }
    ensure!(before != diff.new_value(), "W3: two values told in a row do not differ");
    Ok(())
}

/// The part of a key's course around a state, for a message.
fn course_around(course: &[Option<Bytes>], state: Option<&Bytes>) -> String {
    let at = course.iter().position(|was| was.as_ref() == state).unwrap_or(course.len());
    let (from, to) = (at.saturating_sub(SHOWN / 2), (at + SHOWN / 2).min(course.len()));
    let part = course[from..to].iter().map(Show::show).collect::<Vec<_>>().join(", ");
    format!("in truth it was, from change {from} of {} on: {part}", course.len())
}

/// Where what was told and what is due differ, for a message.
fn differences(told: &State, due: &State) -> String {
    let keys = told.keys().chain(due.keys().filter(|key| !told.contains_key(*key)));
    let differing: Vec<&Key> = keys.filter(|key| told.get(*key) != due.get(*key)).collect();
    let mut text = format!("  {} keys differ from the store:", differing.len());
    for key in differing.into_iter().take(SHOWN) {
        let (told, due) = (shown(&told.get(key)), shown(&due.get(key)));
        let _ = write!(text, "\n    {}: told {told}, in the store {due}", shown(key));
    }
    text
}

/// The last items of a watch.
#[derive(Default)]
struct Log {
    count: usize,
    last: VecDeque<Option<Result<Event, Error>>>,
}

impl Log {
    fn keep(&mut self, item: Option<&Result<Event, Error>>) {
        self.count += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(item.cloned());
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.count - self.last.len();
        match (self.count, first) {
            (0, _) => return f.write_str("it told nothing"),
            (_, 0) => f.write_str("all that it told:")?,
            (count, _) => write!(f, "of {count} things that it told, the last:")?,
        }
        for (number, item) in (first + 1..).zip(&self.last) {
            let text = match item {
                Some(Ok(event)) => shown(event),
                Some(Err(error)) => format!("error: {error}"),
                None => "the end".into(),
            };
            write!(f, "\n  {number}. {text}")?;
        }
        Ok(())
    }
}
