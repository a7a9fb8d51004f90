//! Random interleavings of changes, of reads of the store by a watch that begins, and of reads of the watch.

use proptest::prelude::*;

use super::*;

const PATHS: [&str; 4] = ["a", "a/b", "ab", "b"];
const VALUES: [&str; 3] = ["1", "2", "3"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The store changes; the hub hears of it later.
    Change(usize, Option<&'static str>),
    /// The hub hears of the oldest change that it has not heard of.
    Publish,
    /// The state of a key is read for the watch that begins. It happens once per key.
    Visit(usize),
    /// The watch that begins is offered the oldest state that was read for it.
    Offer,
    /// The watch tells one event.
    Read,
}

type State = BTreeMap<Key, Bytes>;

/// A store, a watch of it, and what the watch may tell.
struct Run {
    store: Store,
    unpublished: Vec<Change>,
    visited: Vec<(Key, u64, Bytes)>,
    /// Per key, all its states in order.
    history: BTreeMap<Key, Vec<Option<Bytes>>>,
    /// Per key, how far in its history the events have come.
    reached: BTreeMap<Key, usize>,
    folded: State,
    caught_up: usize,
    keeps_order: bool,
}

impl Run {
    fn new(before: &[(usize, &'static str)]) -> Self {
        let mut run = Self {
            store: Store::holding(&[]),
            unpublished: Vec::new(),
            visited: Vec::new(),
            history: PATHS.map(|path| (key(path), vec![None])).into(),
            reached: BTreeMap::new(),
            folded: State::new(),
            caught_up: 0,
            keeps_order: true,
        };
        for (path, value) in before {
            run.change(*path, Some(value));
        }
        run
    }

    /// Only what differs is a change.
    fn change(&mut self, path: usize, new: Option<&'static str>) {
        let history = self.history.get_mut(&key(PATHS[path])).unwrap();
        let new_value = new.map(Bytes::from);
        if history.last() != Some(&new_value) {
            history.push(new_value);
            self.unpublished.push(self.store.apply(PATHS[path], new));
        }
    }

    fn publish(&mut self) {
        if !self.unpublished.is_empty() {
            let change = self.unpublished.remove(0);
            self.store.hub.publish(&change).wake();
        }
    }

    fn publish_all(&mut self) {
        while !self.unpublished.is_empty() {
            self.publish();
        }
    }

    /// What the hub has heard of: where a watch at the current state begins.
    fn published(&self) -> State {
        let mut state: State =
            self.store.entries.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect();
        for change in self.unpublished.iter().rev() {
            match &change.old {
                Old::Present(Some(value)) => state.insert(change.key.clone(), value.clone()),
                _ => state.remove(&change.key),
            };
        }
        state
    }

    fn visit(&mut self, path: usize) {
        let key = key(PATHS[path]);
        if let Some((seq, value)) = self.store.entries.get(&key).cloned() {
            self.visited.push((key, seq, value));
        }
    }

    fn offer(&mut self, priming: &Priming) {
        if !self.visited.is_empty() {
            let (key, seq, value) = self.visited.remove(0);
            priming.offer(&key, seq, value);
        }
    }

    /// Folds an event, and says why it is not legal, where it is not.
    fn fold(&mut self, event: Event) -> Result<(), TestCaseError> {
        let Event::Changed { key, diff } = event else {
            self.caught_up += 1;
            return Ok(());
        };
        let (old, new) = match diff {
            Diff::Added { new } => (None, Some(new)),
            Diff::Updated { old, new } => (Some(old.expect("the baseline has every value")), Some(new)),
            Diff::Removed { old } => (Some(old.expect("the baseline has every value")), None),
        };
        prop_assert_eq!(self.folded.get(&key), old.as_ref(), "W3: {} follows what was told", key);
        prop_assert_ne!(&old, &new, "W6: {} is silent where nothing changed", &key);
        if self.keeps_order {
            let reached = self.reached.entry(key.clone()).or_default();
            let later = self.history[&key][*reached..].iter().position(|state| *state == new);
            prop_assert!(later.is_some(), "W4: {} is told in its order", key);
            *reached += later.unwrap_or_default();
        }
        match new {
            Some(value) => self.folded.insert(key, value),
            None => self.folded.remove(&key),
        };
        Ok(())
    }

    fn read(&mut self, watch: &mut Watch) -> Result<bool, TestCaseError> {
        let Some(item) = watch.next().now_or_never() else { return Ok(false) };
        self.fold(item.expect("it goes on").expect("there is no fault"))?;
        let sizes = self.store.sizes(watch);
        prop_assert!(sizes.tracked <= PATHS.len() && sizes.queued <= PATHS.len() + 1, "W7: {:?}", sizes);
        Ok(true)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = proptest::option::weighted(0.7, proptest::sample::select(&VALUES[..]));
    let step = prop_oneof![
        4 => (0..PATHS.len(), value).prop_map(|(path, new)| Step::Change(path, new)),
        4 => Just(Step::Publish),
        2 => (0..PATHS.len()).prop_map(Step::Visit),
        2 => Just(Step::Offer),
        3 => Just(Step::Read),
    ];
    proptest::collection::vec(step, 0..40)
}

fn entries() -> impl Strategy<Value = Vec<(usize, &'static str)>> {
    proptest::collection::btree_map(0..PATHS.len(), proptest::sample::select(&VALUES[..]), 0..=PATHS.len())
        .prop_map(|entries| entries.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn events_are_legal_and_fold_to_the_state_of_the_store(
        before in entries(),
        known in proptest::option::of(entries()),
        published_first in 0..4_usize,
        beginning in steps(),
        running in steps(),
        // Whether what the visits saw is published before the watch begins to tell.
        settles in any::<bool>(),
    ) {
        let mut run = Run::new(&before);
        (0..published_first).for_each(|_| run.publish());
        run.keeps_order = settles;
        let init: Init<Vec<(Key, Bytes)>> = known.map_or(Init::Current, |known| {
            Init::Known(known.iter().map(|(path, value)| (key(PATHS[*path]), Bytes::from(*value))).collect())
        });
        run.folded = match &init {
            Init::Current => run.published(),
            Init::Known(known) => known.iter().cloned().collect(),
        };

        let priming = run.store.register("", init);
        let mut unvisited: Vec<usize> = if priming.wants_current_state() { (0..PATHS.len()).collect() } else { Vec::new() };
        for step in beginning {
            match step {
                Step::Change(path, new) => run.change(path, new),
                Step::Publish => run.publish(),
                Step::Visit(path) if unvisited.contains(&path) => {
                    unvisited.retain(|other| *other != path);
                    run.visit(path);
                }
                Step::Offer => run.offer(&priming),
                Step::Visit(_) | Step::Read => {}
            }
        }
        for path in unvisited {
            run.visit(path);
        }
        while !run.visited.is_empty() {
            run.offer(&priming);
        }
        if settles {
            run.publish_all();
        }
        let mut watch = priming.finish(Arc::new(()));
        for step in running {
            match step {
                Step::Change(path, new) => run.change(path, new),
                Step::Publish => run.publish(),
                Step::Read => drop(run.read(&mut watch)?),
                Step::Visit(_) | Step::Offer => {}
            }
        }
        run.publish_all();
        while run.read(&mut watch)? {}

        prop_assert_eq!(&run.folded, &run.published(), "W5: it converges");
        prop_assert_eq!(run.caught_up, 1, "W1: caught up is told once");
        let sizes = run.store.sizes(&watch);
        prop_assert!(sizes.queued == 0 && sizes.tracked <= run.folded.len(), "W7: {:?}", sizes);
    }
}
