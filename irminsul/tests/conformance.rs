//! The conformance suite over the wrappers: a wrapped store keeps every clause that the store keeps.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use conformance::{Factory, Options, Place, Settings, SharedFactory, Site};
use faulty_fs::FaultyFs;
use irminsul::{Address, AtomicWrite, Backend, Guarantees, Indexable, Key, Prefixed, Result, Traced};

/// Where a prefixed store lies in its host.
const PREFIX: &str = "pre fix/%";

enum Wrapped {
    TracedMem,
    PrefixedMem,
    TracedPrefixedSqlite,
}

/// A view that nobody shares its host with: it is closed with the view, which leaves that to whoever opened it.
struct Sole {
    view: Arc<dyn Backend>,
    host: Arc<dyn Backend>,
}

#[async_trait]
impl Backend for Sole {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        self.view.atomic_write()
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        self.view.indexable()
    }

    fn guarantees(&self) -> Guarantees {
        self.view.guarantees()
    }

    async fn sync(&self) -> Result<()> {
        self.view.sync().await
    }

    async fn check(&self) -> Result<()> {
        self.view.check().await
    }

    async fn close(&self) -> Result<()> {
        self.view.close().await?;
        self.host.close().await
    }
}

#[async_trait]
impl Factory for Wrapped {
    fn name(&self) -> String {
        match self {
            Self::TracedMem => "traced-mem".into(),
            Self::PrefixedMem => "prefixed-mem".into(),
            Self::TracedPrefixedSqlite => "traced-prefixed-sqlite".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        match self {
            Self::TracedMem | Self::PrefixedMem => Site::without_files(place),
            Self::TracedPrefixedSqlite => Site::with_files(place, "store.db"),
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let address = match self {
            Self::TracedMem => "mem:".to_owned(),
            Self::PrefixedMem => format!("mem:{token}"),
            // Clients on a loaded machine wait longer for each other than an application would like to.
            Self::TracedPrefixedSqlite => format!("sqlite:{token}?sync=normal&poll=5&busy=120000"),
        };
        let mut address: Address = address.parse()?;
        let asked = [
            ("hash", settings.hash.map(|function| function.name().to_owned())),
            ("verify", settings.verify.map(|on| if on { "on" } else { "off" }.to_owned())),
            ("batch", settings.batch_limit.map(|bytes| bytes.to_string())),
        ];
        for (name, value) in asked {
            if let Some(value) = value {
                address = address.with_option(name, value)?;
            }
        }
        let prefix = Key::new(PREFIX)?;
        let host = irminsul::open(address).await?;
        Ok(match self {
            Self::TracedMem => Arc::new(Traced::new(host, "mem")),
            Self::PrefixedMem => Arc::new(Sole { view: Arc::new(Prefixed::new(Arc::clone(&host), prefix)), host }),
            Self::TracedPrefixedSqlite => {
                let view = Arc::new(Traced::new(Arc::new(Prefixed::new(Arc::clone(&host), prefix)), "sqlite"));
                Arc::new(Sole { view, host })
            }
        })
    }

    fn max_key_len(&self) -> usize {
        match self {
            Self::TracedMem => Key::MAX_LEN,
            Self::PrefixedMem | Self::TracedPrefixedSqlite => Key::MAX_LEN - PREFIX.len() - 1,
        }
    }
}

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    let factories = [Wrapped::TracedMem, Wrapped::PrefixedMem, Wrapped::TracedPrefixedSqlite];
    let factories = factories.map(|factory| Arc::new(factory) as SharedFactory);
    conformance::main(&factories, || Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary)))
}
