//! Broken stores: a sound one with one bug each, to test the suite with.
//!
//! A suite that passes every store proves nothing. Each [`Bug`] names the clauses that it breaks and the cases that catch
//! it; the suite's own tests run those cases on it, and they must fail.

mod twist;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use store_api::{Backend, Result};

use crate::{Factory, Place, Settings, SharedFactory, Site};

use self::twist::{Twist, Twisted};

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
    twist: fn() -> Arc<dyn Twist>,
}

/// What a bug is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sound {
    /// A store whose instances share it, inside a process at least.
    Shared,
    /// A store that survives a killed process.
    Durable,
}

/// `bug!("lost-update", "what it does", [caught by], Type)`, on a store whose instances share it; with `on Durable`
/// before the type on one that survives a kill.
macro_rules! bug {
    ($name:literal, $what:literal, [$($case:literal),+ $(,)?], $twist:ty) => {
        bug!($name, $what, [$($case),+], on Shared $twist)
    };
    ($name:literal, $what:literal, [$($case:literal),+ $(,)?], on $sound:ident $twist:ty) => {
        $crate::broken::Bug {
            name: $name,
            what: $what,
            caught_by: &[$($case),+],
            on: $crate::broken::Sound::$sound,
            twist: || ::std::sync::Arc::new(<$twist>::default()),
        }
    };
}

use bug;

mod writes;

/// Every bug.
pub fn all() -> impl Iterator<Item = &'static Bug> {
    [writes::BUGS].into_iter().flatten()
}

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
        self.twists.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn max_key_len(&self) -> usize {
        self.sound.max_key_len()
    }
}
