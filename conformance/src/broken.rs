//! Broken stores: a sound one with one bug each, to test the suite with.
//!
//! A suite that passes every store proves nothing. Each [`Bug`] names the clauses that it breaks and the cases that catch
//! it; the suite's own tests run those cases on it, and they must fail.

mod trials;
mod twist;

pub use trials::{ended, main, seeds_from_env, trials, untested};

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use store_api::{Backend, Result};

use crate::{Factory, Place, Settings, SharedFactory, Site, lock::lock};

use self::{
    logged::{AllCare, Logged, Thrifty},
    twist::{Twist, Twisted},
};

/// Something that a backend's author could get wrong.
#[derive(Clone, Copy)]
pub struct Bug {
    /// Its name, such as `lost-update`.
    pub name: &'static str,
    /// What the store does, in one sentence.
    pub what: &'static str,
    /// The cases that catch it, each named for a clause that it breaks.
    pub caught_by: &'static [&'static str],
    /// What the sound store below must be like.
    pub on: Sound,
    /// Whether it keeps somebody waiting. To be late is no sign of another bug: a busy machine is late, too.
    waits: bool,
    twist: fn() -> Arc<dyn Twist>,
}

/// What a bug is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sound {
    /// A store whose instances share it, inside a process at least.
    Shared,
    /// A store that survives a killed process, and a power loss where it has a disk of its own.
    Durable,
    /// A store that survives a killed process and syncs nothing.
    Unsynced,
    /// A store in memory that one instance has to itself, with a place for the files in which the bug keeps its entries.
    Filed,
}

/// `bug!("lost-update", "what it does", [caught by], Type)`, on a store whose instances share it; with `on Durable`
/// before the type on one that survives a kill; with `waits` right before the type, it keeps somebody waiting.
macro_rules! bug {
    ($name:literal, $what:literal, $cases:tt, on $sound:ident waits $twist:ty) => {
        bug!(@ $name, $what, $cases, $sound, true, $twist)
    };
    ($name:literal, $what:literal, $cases:tt, on $sound:ident $twist:ty) => {
        bug!(@ $name, $what, $cases, $sound, false, $twist)
    };
    ($name:literal, $what:literal, $cases:tt, waits $twist:ty) => {
        bug!(@ $name, $what, $cases, Shared, true, $twist)
    };
    ($name:literal, $what:literal, $cases:tt, $twist:ty) => {
        bug!(@ $name, $what, $cases, Shared, false, $twist)
    };
    (@ $name:literal, $what:literal, [$($case:literal),+ $(,)?], $sound:ident, $waits:literal, $twist:ty) => {
        $crate::broken::Bug {
            name: $name,
            what: $what,
            caught_by: &[$($case),+],
            on: $crate::broken::Sound::$sound,
            waits: $waits,
            twist: || ::std::sync::Arc::new(<$twist>::default()),
        }
    };
}

mod batches;
mod clearing;
mod content;
mod dropped;
mod handles;
mod kept;
mod keys;
mod logged;
mod watches;
mod writes;

/// Every bug.
pub fn all() -> impl Iterator<Item = &'static Bug> {
    [
        writes::BUGS,
        dropped::BUGS,
        kept::BUGS,
        clearing::BUGS,
        keys::BUGS,
        watches::BUGS,
        content::BUGS,
        batches::BUGS,
        handles::BUGS,
        logged::BUGS,
    ]
    .into_iter()
    .flatten()
}

/// A store of each kind with nothing wrong: what the suite says of a bug is not to be said of what it is put on.
pub fn sound() -> impl Iterator<Item = &'static Bug> {
    const fn nothing_wrong(name: &'static str, on: Sound, twist: fn() -> Arc<dyn Twist>) -> Bug {
        Bug { name, what: "Nothing is wrong with it.", caught_by: &[], on, waits: false, twist }
    }
    static SOUND: [Bug; 5] = [
        nothing_wrong("sound-shared", Sound::Shared, || Arc::new(NothingWrong)),
        nothing_wrong("sound-durable", Sound::Durable, || Arc::new(NothingWrong)),
        nothing_wrong("sound-unsynced", Sound::Unsynced, || Arc::new(NothingWrong)),
        nothing_wrong("sound-filed", Sound::Filed, || Arc::new(Logged::<AllCare>::default())),
        nothing_wrong("sound-thrifty", Sound::Filed, || Arc::new(Logged::<Thrifty>::default())),
    ];
    SOUND.iter()
}

struct NothingWrong;

impl Twist for NothingWrong {}

impl fmt::Debug for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bug").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes stores with a bug, of those that another factory makes.
pub struct Broken {
    bug: &'static Bug,
    sound: SharedFactory,
    /// Of each store that was opened: its instances share what the bug remembers.
    twists: Mutex<HashMap<String, Arc<dyn Twist>>>,
}

impl Broken {
    /// Puts a bug on the stores of `sound`.
    #[must_use]
    pub fn new(bug: &'static Bug, sound: SharedFactory) -> Self {
        Self { bug, sound, twists: Mutex::default() }
    }

    fn twists(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn Twist>>> {
        lock(&self.twists)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broken").field("bug", &self.bug).finish_non_exhaustive()
    }
}

#[async_trait]
impl Factory for Broken {
    fn name(&self) -> String {
        self.bug.name.into()
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        self.sound.create(place).await
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let twist = Arc::clone(self.twists().entry(token.to_owned()).or_insert_with(|| (self.bug.twist)()));
        let inner = twist.open(&*self.sound, token, settings).await?;
        Ok(Twisted::backend(inner, twist))
    }

    async fn destroy(&self, site: Site) -> Result<()> {
        self.twists().remove(site.token());
        self.sound.destroy(site).await
    }

    fn insists_on(&self) -> Settings {
        self.sound.insists_on()
    }

    fn overlooks(&self, file: &str) -> bool {
        (self.bug.twist)().overlooks(self.sound.overlooks(file))
    }

    fn max_key_len(&self) -> usize {
        (self.bug.twist)().max_key_len(self.sound.max_key_len())
    }
}

/// The table of the bugs and the cases that catch each, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table = String::from(
        "# Broken stores\n\n\
         The suite is tested with stores that have one bug each. Each is caught by the cases beside it, whose names begin with\n\
         the clause that it breaks; the sound stores below them are caught by none of these. Each case of the suite is here. The\n\
         tests of the suite run every pair of this table.\n\n\
         This page is generated: `cargo run -p irminsul-conformance --features broken-stores --example broken_stores > docs/broken-stores.md`.\n\n\
         | store | what it does | caught by |\n|---|---|---|\n",
    );
    for bug in all() {
        let cases: Vec<String> = bug.caught_by.iter().map(|case| format!("`{case}`")).collect();
        let row = ["| `", bug.name, "` | ", bug.what, " | ", &cases.join("<br>"), " |\n"];
        table.extend(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Clause, cases};

    #[test]
    fn every_bug_is_named_once_and_caught_by_cases_that_there_are() {
        let cases: BTreeSet<&str> = cases::all().map(|case| case.id).collect();
        let mut names = BTreeSet::new();
        for bug in all() {
            assert!(names.insert(bug.name), "{} is there twice", bug.name);
            for case in bug.caught_by {
                assert!(cases.contains(case), "{}: there is no case {case}", bug.name);
            }
        }
    }

    #[test]
    fn every_case_catches_a_bug() {
        let caught: BTreeSet<&str> = all().flat_map(|bug| bug.caught_by).copied().collect();
        let idle: Vec<&str> = cases::all().map(|case| case.id).filter(|id| !caught.contains(id)).collect();
        assert!(idle.is_empty(), "no bug is caught by {idle:#?}");
    }

    #[test]
    fn every_clause_is_broken_by_a_bug() {
        let broken: BTreeSet<&str> = all()
            .flat_map(|bug| bug.caught_by)
            .filter_map(|id| cases::all().find(|case| case.id == *id))
            .map(crate::case::Case::clause)
            .collect();
        let missing: Vec<&str> =
            Clause::all().iter().map(|clause| clause.id).filter(|id| !broken.contains(id)).collect();
        assert!(missing.is_empty(), "no bug breaks {missing:?}");
    }
}
