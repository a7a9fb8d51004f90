//! What the poller looks at: what is due waits for its own last look to end, and for no other's.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use backend_kit::Scope;
use store_api::Key;

/// How many looks are under way at a time. Each is a small request that waits for its answer, most of the time.
const MOST: usize = 64;

/// The looks that wait, and those that are under way: of each scope one.
#[derive(Debug, Default)]
pub(super) struct Looks {
    waiting: VecDeque<Scope>,
    stages: HashMap<Scope, Stage>,
    under_way: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    UnderWay,
    /// Under way, and too early for what was heard since.
    TooEarly,
}

impl Looks {
    /// These scopes are to be looked at, but for those whose last look has not ended: a path below them, and its own entry.
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

    /// These entries seem to have changed: they are to be looked at from here on.
    pub(super) fn are_hinted(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if let Some(stage) = self.queue(Scope::Key(key))
                && *stage == Stage::UnderWay
            {
                *stage = Stage::TooEarly;
            }
        }
    }

    /// Puts a scope into the queue; gives how far it is where it is in it, or being looked at.
    fn queue(&mut self, scope: Scope) -> Option<&mut Stage> {
        match self.stages.entry(scope) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                self.waiting.push_back(entry.key().clone());
                entry.insert(Stage::Waiting);
                None
            }
        }
    }

    /// The next look, if there is room for one.
    pub(super) fn begin(&mut self) -> Option<Scope> {
        if self.under_way == MOST {
            return None;
        }
        let scope = self.waiting.pop_front()?;
        self.stages.insert(scope.clone(), Stage::UnderWay);
        self.under_way += 1;
        Some(scope)
    }

    /// A look has ended.
    pub(super) fn end(&mut self, scope: &Scope) {
        self.under_way -= 1;
        if self.stages.remove(scope) == Some(Stage::TooEarly) {
            self.queue(scope.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        Key::new(path).unwrap()
    }

    fn begun(looks: &mut Looks) -> Vec<Scope> {
        std::iter::from_fn(|| looks.begin()).collect()
    }

    #[test]
    fn a_scope_that_is_being_looked_at_is_passed_over_and_holds_up_no_other() {
        let mut looks = Looks::default();
        let (slow, other) = (Scope::Key(key("slow")), Scope::Under(key("other")));
        looks.are_due([slow.clone(), other.clone()]);
        assert_eq!(begun(&mut looks), [slow.clone(), Scope::Key(key("other")), other.clone()]);
        looks.end(&other);
        looks.are_due([slow.clone(), other.clone()]);
        assert_eq!(begun(&mut looks), std::slice::from_ref(&other));
        looks.end(&slow);
        looks.are_due([slow.clone(), other]);
        assert_eq!(begun(&mut looks), [slow]);
    }

    #[test]
    fn what_is_heard_of_during_a_look_is_looked_at_again_once() {
        let mut looks = Looks::default();
        let hinted = Scope::Key(key("k"));
        looks.are_hinted([key("k"), key("k")]);
        assert_eq!(begun(&mut looks), std::slice::from_ref(&hinted));
        looks.are_hinted([key("k"), key("k")]);
        assert_eq!(begun(&mut looks), []);
        looks.end(&hinted);
        assert_eq!(begun(&mut looks), std::slice::from_ref(&hinted));
        looks.end(&hinted);
        assert_eq!(begun(&mut looks), []);
    }

    #[test]
    fn so_many_looks_are_under_way_and_the_others_wait() {
        let mut looks = Looks::default();
        let keys: Vec<Key> = (0..MOST + 1).map(|i| key(&i.to_string())).collect();
        looks.are_hinted(keys.clone());
        assert_eq!(begun(&mut looks).len(), MOST);
        looks.end(&Scope::Key(keys[7].clone()));
        assert_eq!(begun(&mut looks), [Scope::Key(keys[MOST].clone())]);
    }
}
