//! Values in messages: the suite's own, so they may be shown, and short, since some have 64 MiB.

use std::{collections::BTreeMap, fmt::Debug};

use bytes::Bytes;
use store_api::{ContentHash, ContentKey, Diff, Event, Key, TestAndSet};

/// How many items or bytes are shown before the rest is only counted.
const SHOWN: usize = 24;

/// Something that a message shows.
pub(crate) trait Show {
    fn show(&self) -> String;
}

pub(crate) fn shown(value: &(impl Show + ?Sized)) -> String {
    value.show()
}

impl Show for [u8] {
    fn show(&self) -> String {
        let head = self[..self.len().min(SHOWN)].escape_ascii();
        if self.len() > SHOWN { format!("\"{head}..\" ({} bytes)", self.len()) } else { format!("\"{head}\"") }
    }
}

impl Show for Bytes {
    fn show(&self) -> String {
        self[..].show()
    }
}

impl Show for Key {
    fn show(&self) -> String {
        debug(self.as_str())
    }
}

impl Show for TestAndSet {
    fn show(&self) -> String {
        match self {
            Self::Applied => "applied".into(),
            Self::Mismatch { current } => format!("mismatch with {}", current.show()),
        }
    }
}

impl Show for Diff {
    fn show(&self) -> String {
        match self {
            Self::Added { new } => format!("added {}", new.show()),
            Self::Updated { old, new } => format!("updated {} to {}", old_shown(old.as_ref()), new.show()),
            Self::Removed { old } => format!("removed {}", old_shown(old.as_ref())),
        }
    }
}

fn old_shown(old: Option<&Bytes>) -> String {
    old.map_or_else(|| "(old not told)".into(), Show::show)
}

impl Show for Event {
    fn show(&self) -> String {
        match self {
            Self::Changed { key, diff } => format!("{}: {}", key.show(), diff.show()),
            Self::CaughtUp => "caught up".into(),
            other => format!("{other:?}"),
        }
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "nothing".into(), Show::show)
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        self[..].show()
    }
}

impl<T: Show, const N: usize> Show for [T; N] {
    fn show(&self) -> String {
        self[..].show()
    }
}

impl<T: Show> Show for [T] {
    fn show(&self) -> String {
        let head: Vec<String> = self.iter().take(SHOWN).map(Show::show).collect();
        let more = if self.len() > SHOWN { format!(", .. ({} in all)", self.len()) } else { String::new() };
        format!("[{}{more}]", head.join(", "))
    }
}

impl<K: Show, V: Show> Show for BTreeMap<K, V> {
    fn show(&self) -> String {
        self.iter().collect::<Vec<_>>().show()
    }
}

impl<T: Show> Show for std::collections::BTreeSet<T> {
    fn show(&self) -> String {
        self.iter().collect::<Vec<_>>().show()
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self) -> String {
        format!("({}, {})", self.0.show(), self.1.show())
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self) -> String {
        (**self).show()
    }
}

macro_rules! show_as_debug {
    ($($type:ty),*) => {$(
        impl Show for $type {
            fn show(&self) -> String {
                debug(self)
            }
        }
    )*};
}

show_as_debug!(
    bool,
    u32,
    u64,
    usize,
    str,
    String,
    ContentHash,
    ContentKey,
    store_api::ErrorKind,
    store_api::Effect,
    store_api::Guarantees,
    store_api::HashFunction,
    std::time::Duration
);

fn debug(value: &(impl Debug + ?Sized)) -> String {
    format!("{value:?}")
}
