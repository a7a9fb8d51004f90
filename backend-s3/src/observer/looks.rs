//! What the poller looks at: what is due waits for its own last look to end, and what a listing shows to have changed
//! for a place of its kind.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use backend_kit::Scope;
use store_api::Key;
use tokio::sync::OwnedSemaphorePermit;

/// How many looks at what is due are under way at a time. Each is a small request that waits for its answer, most of
/// the time.
const MOST: usize = 64;

/// The looks that wait, and those that are under way: of each scope one.
///
/// What is due waits here, in turn. An entry that a listing showed comes with places, for which the listing has waited.
/// So however many entries there are of the one kind, or slow ones among them, the other has its places.
#[derive(Debug, Default)]
pub(super) struct Looks {
    waiting: VecDeque<Scope>,
    /// Those that have their places, and begin at once.
    placed: Vec<Look>,
    stages: HashMap<Scope, Stage>,
    /// How many are under way of those that waited.
    under_way: usize,
}

/// A look from its beginning to its end.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) scope: Scope,
    /// Of an entry that a listing showed.
    places: Option<OwnedSemaphorePermit>,
}

/// An entry that is to be read, since it seems to have changed.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) key: Key,
    /// What its look takes, where a listing showed it.
    pub(super) places: Option<OwnedSemaphorePermit>,
}

impl Hint {
    /// Of an entry that this instance wrote.
    pub(super) fn of_own(key: Key) -> Self {
        Self { key, places: None }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    UnderWay,
    /// Under way, and too early for what was heard since.
    TooEarly,
}

impl Looks {
    /// These scopes are to be looked at, and the entries of the paths among them, which lie beside what is below. What
    /// is still being looked at, or waits for it, is passed over.
    pub(super) fn are_due(&mut self, scopes: impl IntoIterator<Item = Scope>) {
        for scope in scopes {
            if let Scope::Under(path) = &scope
                && !path.is_root()
            {
                self.queue(Scope::Key(path.clone()));
            }
            self.queue(scope);
        }
    }

    fn queue(&mut self, scope: Scope) {
        if let Entry::Vacant(entry) = self.stages.entry(scope) {
            self.waiting.push_back(entry.key().clone());
            entry.insert(Stage::Waiting);
        }
    }

    /// These entries seem to have changed: they are to be looked at from here on.
    pub(super) fn are_unclear(&mut self, hints: impl IntoIterator<Item = Hint>) {
        for Hint { key, places } in hints {
            let scope = Scope::Key(key);
            match self.stages.get_mut(&scope) {
                Some(Stage::Waiting) => {}
                Some(stage) => *stage = Stage::TooEarly,
                None if places.is_none() => self.queue(scope),
                None => {
                    self.stages.insert(scope.clone(), Stage::UnderWay);
                    self.placed.push(Look { scope, places });
                }
            }
        }
    }

    /// The next look, if there is room for one.
    pub(super) fn begin(&mut self) -> Option<Look> {
        if let Some(look) = self.placed.pop() {
            return Some(look);
        }
        if self.under_way == MOST {
            return None;
        }
        let scope = self.waiting.pop_front()?;
        self.stages.insert(scope.clone(), Stage::UnderWay);
        self.under_way += 1;
        Some(Look { scope, places: None })
    }

    /// A look has ended.
    pub(super) fn end(&mut self, look: Look) {
        let Look { scope, places } = look;
        if places.is_none() {
            self.under_way -= 1;
        }
        if self.stages.remove(&scope) == Some(Stage::TooEarly) {
            self.queue(scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn key(path: &str) -> Key {
        Key::new(path).unwrap()
    }

    fn begun(looks: &mut Looks) -> Vec<Look> {
        std::iter::from_fn(|| looks.begin()).collect()
    }

    fn scopes(looks: &[Look]) -> Vec<Scope> {
        looks.iter().map(|look| look.scope.clone()).collect()
    }

    /// Ends the look at a scope.
    fn end(looks: &mut Looks, under_way: &mut Vec<Look>, scope: &Scope) {
        let at = under_way.iter().position(|look| look.scope == *scope).unwrap();
        looks.end(under_way.remove(at));
    }

    #[test]
    fn a_scope_that_is_being_looked_at_is_passed_over_and_holds_up_no_other() {
        let mut looks = Looks::default();
        let (slow, other) = (Scope::Key(key("slow")), Scope::Under(key("other")));
        looks.are_due([slow.clone(), other.clone()]);
        let mut under_way = begun(&mut looks);
        assert_eq!(scopes(&under_way), [slow.clone(), Scope::Key(key("other")), other.clone()]);
        end(&mut looks, &mut under_way, &other);
        looks.are_due([slow.clone(), other.clone()]);
        assert_eq!(scopes(&begun(&mut looks)), std::slice::from_ref(&other));
        end(&mut looks, &mut under_way, &slow);
        looks.are_due([slow.clone(), other]);
        assert_eq!(scopes(&begun(&mut looks)), [slow]);
    }

    #[test]
    fn what_is_heard_of_during_a_look_is_looked_at_again_once() {
        let mut looks = Looks::default();
        let unclear = Scope::Key(key("k"));
        let twice = || [key("k"), key("k")].map(Hint::of_own);
        looks.are_unclear(twice());
        let mut under_way = begun(&mut looks);
        assert_eq!(scopes(&under_way), std::slice::from_ref(&unclear));
        looks.are_unclear(twice());
        assert!(looks.begin().is_none());
        end(&mut looks, &mut under_way, &unclear);
        let mut under_way = begun(&mut looks);
        assert_eq!(scopes(&under_way), std::slice::from_ref(&unclear));
        end(&mut looks, &mut under_way, &unclear);
        assert!(looks.begin().is_none());
    }

    #[test]
    fn so_many_looks_at_what_is_due_are_under_way_and_the_others_wait() {
        let mut looks = Looks::default();
        let due: Vec<Scope> = (0..=MOST).map(|i| Scope::Key(key(&i.to_string()))).collect();
        looks.are_due(due.clone());
        let mut under_way = begun(&mut looks);
        assert_eq!(under_way.len(), MOST);
        end(&mut looks, &mut under_way, &due[7]);
        assert_eq!(scopes(&begun(&mut looks)), [due[MOST].clone()]);
    }

    #[test]
    fn what_is_due_and_what_a_listing_shows_have_places_of_their_own() {
        let (mut looks, places) = (Looks::default(), Arc::new(Semaphore::new(1)));
        let hint = |path: &str| Hint { key: key(path), places: Some(Arc::clone(&places).try_acquire_owned().unwrap()) };
        looks.are_due((0..=MOST).map(|i| Scope::Key(key(&i.to_string()))));
        let due = begun(&mut looks);
        assert_eq!(due.len(), MOST);
        looks.are_unclear([hint("shown")]);
        let mut shown = begun(&mut looks);
        assert_eq!(scopes(&shown), [Scope::Key(key("shown"))]);
        assert_eq!(places.available_permits(), 0);
        looks.end(shown.remove(0));
        assert_eq!(places.available_permits(), 1);
        // One that is looked at already takes no places, and none of those that are due.
        looks.are_unclear([hint("0")]);
        assert_eq!(places.available_permits(), 1);
        assert!(looks.begin().is_none());
    }
}
