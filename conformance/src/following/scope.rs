//! What a watch covers, and how it is started.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{EntryRead, Init, Key, Watch};

use crate::{context::key, show::Show};

/// Entries by key.
pub(crate) type State = BTreeMap<Key, Bytes>;

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
