//! Which engine opens which scheme, as a value. How a store is opened is left to the [`Opener`] of each.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    Address, AddressOptions, Backend, Error, ErrorKind, IntoAddress, OptionSpec, Result,
    address::{checked_scheme, quoted},
    openers,
};

/// Opens the stores of one scheme: with this, an engine of one's own has addresses.
///
/// It is added with [`Registry::register`]; the command takes such a registry, too (`irminsul_cli::run`). Only trials need
/// [`scratch`](Self::scratch) and [`destroy`](Self::destroy): the command's `conform` and `bench`.
///
/// ```
/// use std::{
///     process,
///     sync::{
///         Arc,
///         atomic::{AtomicU64, Ordering},
///     },
/// };
///
/// use irminsul::{
///     Address, AddressOptions, Backend, Error, ErrorKind, Key, Opener, OptionSpec, OptionValues, Registry, Result,
///     prelude::*,
/// };
/// # use irminsul::mem::MemOptions as MyOptions;
///
/// struct MyOpener;
///
/// /// What the names of stores to try begin with, and no other store's.
/// const TRIAL: &str = "my-trial-";
///
/// #[async_trait::async_trait]
/// impl Opener for MyOpener {
///     fn options(&self) -> &'static [OptionSpec] {
///         const {
///             &[
///                 OptionSpec::HASH,
///                 OptionSpec::VERIFY,
///                 OptionSpec::BATCH,
///                 OptionSpec::POLL.unused(),
///                 OptionSpec::BUSY.unused(),
///                 OptionSpec::new("shelf", OptionValues::Text, "top", "which shelf it stands on"),
///             ]
///         }
///     }
///
///     async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
///         let shelf = options.text("shelf").unwrap_or("top");
///         let mut store = MyOptions::named(format!("{shelf}/{}", address.location()));
///         if let Some(name) = options.choice("hash") {
///             store = store.hash(name.parse()?);
///         }
///         if let Some(on) = options.switch("verify") {
///             store = store.verify(on);
///         }
///         if let Some(bytes) = options.bytes("batch") {
///             store = store.batch_limit(bytes);
///         }
///         Ok(Arc::new(store.open().await?))
///     }
///
///     async fn scratch(&self, address: &Address) -> Result<Address> {
///         static TRIALS: AtomicU64 = AtomicU64::new(0);
///         let number = TRIALS.fetch_add(1, Ordering::Relaxed);
///         Ok(address.clone().with_location(format!("{TRIAL}{}-{number}", process::id())))
///     }
///
///     async fn destroy(&self, address: &Address) -> Result<()> {
///         if !address.location().starts_with(TRIAL) {
///             return Err(Error::new(ErrorKind::InvalidInput, "no store to try: remove it by hand"));
///         }
///         // Then its files are removed; these stores have none.
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> irminsul::Result<()> {
/// let mut registry = Registry::default();
/// registry.register("mine", MyOpener)?;
/// let store = registry.open("mine:books?shelf=lower").await?;
/// let entries = store.atomic_write().expect("it has entries");
/// entries.set(&Key::new("greeting")?, "hello".into()).await?;
///
/// let trial = registry.scratch("mine:books?shelf=lower").await?;
/// assert_eq!(trial.option("shelf"), Some("lower"));
/// registry.destroy(&trial).await?;
/// # assert_eq!(registry.destroy("mine:books").await.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Opener: Send + Sync {
    /// The options that an address of this scheme may have. Those common to all schemes are [`OptionSpec::HASH`],
    /// [`VERIFY`](OptionSpec::VERIFY), [`BATCH`](OptionSpec::BATCH), [`POLL`](OptionSpec::POLL) and
    /// [`BUSY`](OptionSpec::BUSY): list them all, as [`unused`](OptionSpec::unused) where they are, so that a
    /// configuration can switch engines.
    fn options(&self) -> &'static [OptionSpec];

    /// Opens a store. `options` are those of the address, checked against the table.
    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>>;

    /// The address of a fresh, empty store beside or below the given one, which is left alone; the store there can be
    /// opened more than once. The address keeps the options, as far as they make sense for a store that does not
    /// exist yet. It is the given one where each [`open`](Self::open) of that makes an empty store of its own, as of a bare
    /// `mem:`. `Unsupported` by default.
    async fn scratch(&self, address: &Address) -> Result<Address> {
        let _ = address;
        Err(no_trials())
    }

    /// Like [`scratch`](Self::scratch), with all files of the store in an empty directory: that of a disk which is about
    /// to fail. `Unsupported` by default, for an engine without files of its own.
    async fn scratch_in(&self, address: &Address, directory: &Path) -> Result<Address> {
        let _ = (address, directory);
        Err(Error::new(ErrorKind::Unsupported, "this engine does not place its files in a given directory"))
    }

    /// A directory on the disk that the [`scratch`](Self::scratch) stores of the address are on, where the engine keeps
    /// files: `conform` looks there whether the disk is slow, and not the store. `None` by default.
    fn scratch_disk(&self, address: &Address) -> Option<PathBuf> {
        let _ = address;
        None
    }

    /// Removes a store that [`scratch`](Self::scratch) made, with everything that belongs to it; one that is not there
    /// is fine. Any other address is `InvalidInput`, and nothing is removed. `Unsupported` by default.
    async fn destroy(&self, address: &Address) -> Result<()> {
        let _ = address;
        Err(no_trials())
    }
}

fn no_trials() -> Error {
    Error::new(ErrorKind::Unsupported, "this engine makes no stores to try: it cannot be put to `conform` or `bench`")
}

/// The schemes that can be opened, each with its [`Opener`].
///
/// A registry is a value: [`Registry::default`] holds the engines that are compiled in, a clone can be extended without
/// changing the original, and nothing is global.
///
/// ```
/// use irminsul::{Key, Registry, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> irminsul::Result<()> {
/// let registry = Registry::default();
/// let scratch = registry.scratch("mem:").await?;
/// let store = registry.open(&scratch).await?.atomic_write().expect("mem has entries");
/// store.set(&Key::new("greeting")?, "hello".into()).await?;
/// store.close().await?;
/// registry.destroy(&scratch).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registry {
    openers: BTreeMap<Box<str>, Arc<dyn Opener>>,
}

impl Registry {
    /// A registry without any engine.
    #[must_use]
    pub fn empty() -> Self {
        Self { openers: BTreeMap::new() }
    }

    /// Adds an engine under a scheme.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is not a scheme, or is taken: two engines under one name are a mistake to hear of.
    pub fn register(&mut self, scheme: &str, opener: impl Opener + 'static) -> Result<()> {
        match self.openers.entry(checked_scheme(scheme)?) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(opener));
                Ok(())
            }
            Entry::Occupied(entry) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the scheme {} is taken: register the engine under another", quoted(entry.key())),
            )),
        }
    }

    /// The schemes that can be opened, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.openers.keys().map(|scheme| &**scheme)
    }

    /// The table of options of a scheme, or `None` where the scheme is not here.
    #[must_use]
    pub fn options(&self, scheme: &str) -> Option<&'static [OptionSpec]> {
        self.openers.get(scheme).map(|opener| opener.options())
    }

    /// Whether an address of the scheme may have this option.
    #[must_use]
    pub fn has_option(&self, scheme: &str, name: &str) -> bool {
        self.options(scheme).is_some_and(|table| table.iter().any(|spec| spec.name == name))
    }

    /// The address with an option that it does not state, where its scheme has that option; else the address as it is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is not an address.
    pub fn with_default(&self, address: impl IntoAddress, name: &str, value: &str) -> Result<Address> {
        let address = address.into_address()?;
        if self.has_option(address.scheme(), name) && address.option(name).is_none() {
            return address.with_option(name, value);
        }
        Ok(address)
    }

    /// Opens a store.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is not an address, an unknown scheme, an unknown or ill-formed option; `Unsupported` for
    /// a scheme whose cargo feature is off; and what the engine answers.
    pub async fn open(&self, address: impl IntoAddress) -> Result<Arc<dyn Backend>> {
        let (opener, address, options) = self.resolve(address)?;
        opener.open(&address, &options).await
    }

    /// [`open`](Self::open) of a store that has to exist, so that a mistyped address is an error and not an empty store.
    /// An address that states the option `create` keeps it, and a scheme without that option, such as `mem`, opens as
    /// ever.
    ///
    /// ```
    /// use irminsul::{ErrorKind, Registry};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> irminsul::Result<()> {
    /// # #[cfg(feature = "sqlite")] {
    /// let missing = Registry::default().open_existing("sqlite:mistyped.db").await;
    /// assert_eq!(missing.err().unwrap().kind(), ErrorKind::InvalidInput);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn open_existing(&self, address: impl IntoAddress) -> Result<Arc<dyn Backend>> {
        self.open(self.with_default(address, "create", "off")?).await
    }

    /// The address of a fresh, empty store beside or below the given one: for tests, benchmarks and trials. It is
    /// removed by [`destroy`](Self::destroy).
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and `Unsupported` where the engine makes none.
    pub async fn scratch(&self, address: impl IntoAddress) -> Result<Address> {
        let (opener, address, _) = self.resolve(address)?;
        opener.scratch(&address).await
    }

    /// Like [`scratch`](Self::scratch), with all files of the store in an empty directory.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and `Unsupported` where the engine cannot do that.
    pub async fn scratch_in(&self, address: impl IntoAddress, directory: &Path) -> Result<Address> {
        let (opener, address, _) = self.resolve(address)?;
        opener.scratch_in(&address, directory).await
    }

    /// A directory on the disk that the [`scratch`](Self::scratch) stores of the address are on, where its engine keeps
    /// files and says so.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn scratch_disk(&self, address: impl IntoAddress) -> Result<Option<PathBuf>> {
        let (opener, address, _) = self.resolve(address)?;
        Ok(opener.scratch_disk(&address))
    }

    /// Removes a store that [`scratch`](Self::scratch) made, in this process or in another. Close its instances first.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and `InvalidInput` for any other store, of which nothing is removed.
    pub async fn destroy(&self, address: impl IntoAddress) -> Result<()> {
        let (opener, address, _) = self.resolve(address)?;
        opener.destroy(&address).await
    }

    fn resolve(&self, address: impl IntoAddress) -> Result<(&dyn Opener, Address, AddressOptions)> {
        let address = address.into_address()?;
        let opener = self.openers.get(address.scheme()).ok_or_else(|| self.missing(address.scheme()))?;
        let options = AddressOptions::of(&address, opener.options())?;
        Ok((&**opener, address, options))
    }

    fn missing(&self, scheme: &str) -> Error {
        let here = self.schemes().collect::<Vec<_>>().join(", ");
        let here = if here.is_empty() { "none".to_owned() } else { here };
        match openers::FEATURES.iter().find(|(known, _)| *known == scheme) {
            Some((_, feature)) => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the scheme `{scheme}` needs the cargo feature `{feature}`; the schemes compiled in are {here}"
                ),
            ),
            None => Error::new(
                ErrorKind::InvalidInput,
                format!("the scheme {} is not known; the schemes compiled in are {here}", quoted(scheme)),
            ),
        }
    }
}

impl Default for Registry {
    /// The engines that are compiled in.
    fn default() -> Self {
        Self { openers: openers::compiled_in().into_iter().map(|(scheme, opener)| (scheme.into(), opener)).collect() }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.schemes()).finish()
    }
}
