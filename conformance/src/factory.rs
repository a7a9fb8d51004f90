//! How the suite gets the stores that it tests: what a backend author writes.

use std::{
    any::Any,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use store_api::{Backend, Error, ErrorKind, HashFunction, Key, Result};
use tempfile::TempDir;

/// Makes the stores that the suite tests.
///
/// A store is known by its token: what [`create`](Self::create) hands out, [`open`](Self::open) opens, as often as it is
/// asked to, in this process and, where the backend is visible there or survives a kill, in another one.
///
/// ```
/// use std::sync::Arc;
///
/// use conformance::{Factory, Place, Settings, Site};
/// use store_api::{Backend, Result};
///
/// # async fn open_my_engine(_: &str) -> Result<Arc<dyn Backend>> { unimplemented!() }
/// struct MyFactory;
///
/// #[async_trait::async_trait]
/// impl Factory for MyFactory {
///     fn name(&self) -> String {
///         "my-engine".into()
///     }
///
///     async fn create(&self, place: Place<'_>) -> Result<Site> {
///         Site::with_files(place, "store")
///     }
///
///     async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
///         settings.expect_none()?;
///         open_my_engine(token).await
///     }
/// }
/// ```
#[async_trait]
pub trait Factory: Send + Sync {
    /// What reports call the backend, with the options that it is opened with; unique among the factories of a program.
    fn name(&self) -> String;

    /// An empty store that nobody else sees; it is made here, or when it is first opened.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a [`Place::Directory`] where the backend keeps no files, and for a place that it does not know;
    /// anything else is reported as a fault of the harness.
    async fn create(&self, place: Place<'_>) -> Result<Site>;

    /// Opens the store of a token: a new instance.
    ///
    /// # Errors
    ///
    /// What the backend answers; `Unsupported` for a setting that it does not have.
    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>>;

    /// Removes a store, all instances of which are closed or were dropped. By default it goes with what the site keeps.
    async fn destroy(&self, site: Site) -> Result<()> {
        drop(site);
        Ok(())
    }

    /// Settings that [`open`](Self::open) always uses, even where it is asked for none: for example those in the options of
    /// an address. Cases that need another value are not run, or do not ask for it. By default none.
    fn insists_on(&self) -> Settings {
        Settings::default()
    }

    /// Whether the store notices neither while it is open nor at its next open that its file of this name was deleted, so
    /// that acknowledged writes may be lost. The suite then leaves the file alone; tell your users. By default false for
    /// every file.
    fn overlooks(&self, file: &str) -> bool {
        let _ = file;
        false
    }

    /// A directory on the disk that its stores are on where it may choose their [place](Place::Anywhere): by default, that of
    /// temporary files. When a store is late, the suite looks there whether it is the disk that is slow.
    fn disk(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// How many bytes the longest key has: fewer than [`Key::MAX_LEN`] for a wrapper that takes a part of them, and 64 at
    /// least, which the suite needs for its own.
    fn max_key_len(&self) -> usize {
        Key::MAX_LEN
    }
}

/// Where a store's files have to be.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Place<'p> {
    /// Wherever the factory likes.
    Anywhere,
    /// All of them in this directory, which exists and is empty: its files are damaged between two opens, or it lies on a
    /// disk that forgets and fails on command.
    Directory(&'p Path),
}

/// A store that a factory made: its token, and what must outlive it, such as a temporary directory or a server.
pub struct Site {
    token: String,
    kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Site {
    /// A store that is opened by `token`.
    #[must_use]
    pub fn new(token: impl fmt::Display) -> Self {
        Self { token: token.to_string(), kept: None }
    }

    /// The same, dropping `kept` when the store is no longer needed.
    #[must_use]
    pub fn keeping(self, kept: impl Any + Send + Sync) -> Self {
        Self { kept: Some(Box::new(kept)), ..self }
    }

    /// A store whose files are at `name` in the place's directory, or in a temporary one that the site keeps. Its token
    /// is that path.
    ///
    /// # Errors
    ///
    /// `Other` when there is no temporary directory.
    pub fn with_files(place: Place<'_>, name: &str) -> Result<Self> {
        match place {
            Place::Directory(directory) => Ok(Self::new(directory.join(name).display())),
            Place::Anywhere => {
                let directory = TempDir::with_prefix("irminsul-conformance-")
                    .map_err(|e| Error::new(ErrorKind::Other, "there is no temporary directory").with_source(e))?;
                Ok(Self::new(directory.path().join(name).display()).keeping(directory))
            }
        }
    }

    /// A store without files. Its token is a name that no other store of this process has.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a [`Place::Directory`].
    pub fn without_files(place: Place<'_>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match place {
            Place::Anywhere => Ok(Self::new(format_args!("conformance-{}", NEXT.fetch_add(1, Ordering::Relaxed)))),
            Place::Directory(_) => Err(Error::new(ErrorKind::Unsupported, "this store keeps no files")),
        }
    }

    /// What [`Factory::open`] opens this store by.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("keeps", &self.kept.is_some()).finish_non_exhaustive()
    }
}

/// How a store is opened where a case asks for more than the backend's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The hash function to create the store with, or to insist on.
    pub hash: Option<HashFunction>,
    /// Whether content is verified when it is read (I6).
    pub verify: Option<bool>,
    /// How many bytes a batch may hold (I7).
    pub batch_limit: Option<usize>,
}

impl Settings {
    /// Refuses every setting, for a backend that has none.
    ///
    /// # Errors
    ///
    /// `Unsupported` when any is asked for.
    pub fn expect_none(&self) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "this factory has no such setting"))
    }

    /// Whether content is verified when it is read: it is, unless that is switched off.
    pub(crate) fn verifies(&self) -> bool {
        self.verify != Some(false)
    }

    /// Passes each setting that is asked for to the setter of a backend's options, and gives the options back.
    ///
    /// ```
    /// # use conformance::Settings;
    /// # use store_api::HashFunction;
    /// # #[derive(Debug, PartialEq)]
    /// # struct MyOptions(bool);
    /// # impl MyOptions {
    /// #     fn new() -> Self { Self(true) }
    /// #     fn hash(self, _: HashFunction) -> Self { self }
    /// #     fn verify(self, on: bool) -> Self { Self(on) }
    /// #     fn batch_limit(self, _: usize) -> Self { self }
    /// # }
    /// # let mut settings = Settings::default();
    /// # settings.verify = Some(false);
    /// let options = settings.apply(MyOptions::new(), MyOptions::hash, MyOptions::verify, MyOptions::batch_limit);
    /// # assert_eq!(options, MyOptions(false));
    /// ```
    pub fn apply<O>(
        &self,
        options: O,
        hash: impl FnOnce(O, HashFunction) -> O,
        verify: impl FnOnce(O, bool) -> O,
        batch_limit: impl FnOnce(O, usize) -> O,
    ) -> O {
        let options = with(options, self.hash, hash);
        let options = with(options, self.verify, verify);
        with(options, self.batch_limit, batch_limit)
    }
}

fn with<O, T>(options: O, setting: Option<T>, set: impl FnOnce(O, T) -> O) -> O {
    match setting {
        Some(value) => set(options, value),
        None => options,
    }
}

/// A factory that several parts of a run share.
pub type SharedFactory = Arc<dyn Factory>;
