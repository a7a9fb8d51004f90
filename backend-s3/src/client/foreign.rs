//! What lies below the prefix and is not the store's: it is passed over, and said so once.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// How many names are remembered. Of what comes behind them nobody is warned.
const REMEMBERED: usize = 1000;
/// No service has longer names, and one that lies may tell any.
const MAX_NAME_LEN: usize = 1024;

/// The names that somebody was warned of. Listings come back at each poll, and the names with them.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<HashSet<String>>);

impl Foreign {
    /// Warns of an object, unless it did so before.
    pub(crate) fn tell(&self, name: &str) {
        let name = &name[..name.floor_char_boundary(MAX_NAME_LEN)];
        if self.is_news(name) {
            tracing::warn!(object = name, "an object below the prefix is not the store's; it is passed over");
        } else {
            tracing::debug!(object = name, "an object below the prefix is not the store's");
        }
    }

    fn is_news(&self, name: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < REMEMBERED && !told.contains(name) && told.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_news_once_and_no_more_of_them_than_are_remembered() {
        let foreign = Foreign::default();
        for name in 0..2 * REMEMBERED {
            assert_eq!(foreign.is_news(&name.to_string()), name < REMEMBERED);
            assert!(!foreign.is_news(&name.to_string()));
        }
        assert_eq!(foreign.0.lock().unwrap().len(), REMEMBERED);
    }
}
