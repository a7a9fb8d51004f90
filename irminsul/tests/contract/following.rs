//! A reader of a watch that folds its events over the baseline and checks each against it (W1, W3).

use std::collections::{BTreeMap, BTreeSet};

use irminsul::{Bytes, Diff, ErrorKind, Event, Init, Key, Watch};

use crate::store::soon;

/// Entries by key.
pub(crate) type State = BTreeMap<Key, Bytes>;

/// What is known of the state that a watch started from.
#[derive(PartialEq)]
enum Baseline {
    /// The watch was given it, values and all.
    Given,
    /// The test knows it, the watch may not know the values.
    Current,
    /// Nobody knows it.
    Unknown,
}

/// A watch and what it told.
pub(crate) struct Follower {
    watch: Watch,
    baseline: Baseline,
    pub(crate) state: State,
    told: BTreeSet<Key>,
    caught_up: bool,
    /// How many changes were told.
    pub(crate) changes: usize,
}

impl Follower {
    fn new(watch: Watch, baseline: Baseline, state: State) -> Self {
        Self { watch, baseline, state, told: BTreeSet::new(), caught_up: false, changes: 0 }
    }

    /// Of a watch that started from a given state.
    pub(crate) fn known(watch: Watch, state: State) -> Self {
        Self::new(watch, Baseline::Given, state)
    }

    /// Of a watch that started from the current state, which nobody changed meanwhile.
    pub(crate) fn current(watch: Watch, state: State) -> Self {
        Self::new(watch, Baseline::Current, state)
    }

    /// Of a watch that started from the current state while others changed it.
    pub(crate) fn current_amid_changes(watch: Watch) -> Self {
        Self::new(watch, Baseline::Unknown, State::new())
    }

    /// The next event, checked and folded.
    pub(crate) async fn next(&mut self) -> Event {
        let event = soon("another event", self.watch.next()).await.expect("the watch goes on").unwrap();
        match &event {
            Event::CaughtUp => {
                assert!(!self.caught_up, "W1: `CaughtUp` comes once");
                self.caught_up = true;
            }
            Event::Changed { key, diff } => self.fold(key, diff),
            other => panic!("an event that the contract does not know: {other:?}"),
        }
        event
    }

    /// The next event, which must be a change.
    pub(crate) async fn next_change(&mut self) -> (Key, Diff) {
        match self.next().await {
            Event::Changed { key, diff } => (key, diff),
            other => panic!("not a change: {other:?}"),
        }
    }

    /// Reads on until the state is as asked for.
    pub(crate) async fn until(&mut self, what: &str, mut condition: impl FnMut(&State) -> bool) {
        soon(what, async {
            while !condition(&self.state) {
                self.next().await;
            }
        })
        .await;
    }

    /// Reads on until the state equals `expected` (W5).
    pub(crate) async fn converge(&mut self, expected: &State) {
        self.until("W5: the folded state equals the store", |state| state == expected).await;
    }

    /// Reads on until `CaughtUp`.
    pub(crate) async fn catch_up(&mut self) {
        while !self.caught_up {
            self.next().await;
        }
    }

    /// Reads what is left of a watch whose handle was closed: it ends with one `Closed` (W10).
    pub(crate) async fn expect_closed(mut self) {
        loop {
            match soon("W10: the end of the watch", self.watch.next()).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                    break;
                }
                None => panic!("W10: `close` ends a watch with `Err(Closed)`"),
            }
        }
        assert!(soon("the end", self.watch.next()).await.is_none(), "W10: nothing follows `Closed`");
        assert!(soon("the end", self.watch.next()).await.is_none(), "an ended watch stays ended");
    }

    /// The watch ends at once, without another event (W9).
    pub(crate) async fn expect_end(mut self) {
        assert!(soon("W9: the end of the watch", self.watch.next()).await.is_none(), "W9: no event after `unwatch`");
        assert!(soon("the end", self.watch.next()).await.is_none(), "an ended watch stays ended");
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn fold(&mut self, key: &Key, diff: &Diff) {
        let before = self.state.get(key);
        let first = self.told.insert(key.clone());
        if !first || self.baseline != Baseline::Unknown {
            let was_there = !matches!(diff, Diff::Added(_));
            assert_eq!(before.is_some(), was_there, "W3: {diff:?} of {key:?} against its baseline");
        }
        let old_is_known = !first || self.baseline == Baseline::Given;
        match diff {
            Diff::Updated { old: Some(old), .. } | Diff::Removed { old: Some(old) } => {
                assert!(before.is_none_or(|told| told == old), "W3: `old` of {key:?} is what was told or given last");
            }
            Diff::Updated { old: None, .. } | Diff::Removed { old: None } => {
                assert!(!old_is_known, "W3: `old` of {key:?} is missing, though it was told or given");
            }
            Diff::Added(_) => {}
        }
        if old_is_known {
            assert_ne!(before, diff.new_value(), "W3: two values of {key:?} told in a row differ");
        }
        self.changes += 1;
        match diff.new_value() {
            Some(new) => self.state.insert(key.clone(), new.clone()),
            None => self.state.remove(key),
        };
    }
}

/// A known state, as a watch of a scope takes it.
pub(crate) fn known(state: &State) -> Init<Vec<(Key, Bytes)>> {
    Init::Known(state.clone().into_iter().collect())
}

/// Nothing, as a known state.
pub(crate) fn nothing() -> Init<Vec<(Key, Bytes)>> {
    Init::Known(Vec::new())
}
