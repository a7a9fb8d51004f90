//! `add`, `cat` and `index`: values under the hash of their content.

use std::pin::pin;

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use irminsul::{Address, Bytes, ContentHash, ContentKey, ContentRead, ErrorKind, Indexable, Registry};
use serde::Serialize;

use crate::{
    batch_writer::{BatchWriter, is_present},
    checked_read::READS,
    failure::Failure,
    input::{self, Input},
    outcome::{Outcome, value_or_absent},
    output::{Output, printable},
    progress::Progress,
    store::{Missing, Store},
};

const NOT_HERE: &str = "the store does not hold this content";

/// Store files as content, and write a line for each: content key, hash, file, with a tab between
///
/// Files are stored in batches, and written out once they are stored. After an error run it again: what is stored already
/// is not stored twice. What has rotted since may be taken to be there: --repair reads it.
#[derive(Args)]
pub(crate) struct Add {
    /// The address of the store; a store that is not there is created
    store: Address,
    /// The files, or `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Input>,
    /// Read what is stored already, and store it again where it is corrupt
    #[arg(long)]
    repair: bool,
    /// An object of JSON per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Added {
    key: String,
    hash: String,
    file: String,
}

impl std::fmt::Display for Added {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\t{}\t{}", self.key, self.hash, printable(&self.file))
    }
}

impl Add {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        input::check(&self.files)?;
        let store = Store::open(registry, &self.store, Missing::Create).await?;
        self.add_all(&*store.content()?, output).await?;
        store.close().await?;
        Ok(Outcome::Fine)
    }

    async fn add_all(&self, content: &dyn Indexable, output: &mut Output) -> Result<(), Failure> {
        let mut progress = Progress::start("adding");
        let mut writer = BatchWriter::new(content);
        let mut pending = Vec::new();
        let read = async |file| Ok::<_, Failure>((self.read(content, file).await?, file));
        let mut read_in_turn = pin!(stream::iter(&self.files).map(read).buffered(READS));
        while let Some(((hash, value), file)) = read_in_turn.try_next().await? {
            let len = value.len();
            // Also what is there: the true value takes the place of a false one (I4).
            writer.add(hash, value).await?;
            pending.push((hash, file));
            progress.add(len);
            if writer.is_due() {
                writer.commit().await?;
                self.tell(content, &mut pending, &progress, output).await?;
            }
        }
        writer.commit().await?;
        self.tell(content, &mut pending, &progress, output).await
    }

    /// A value with its hash, behind a look for it in the store: so the store knows whether it has it, and whether it is
    /// sound where that matters.
    async fn read(&self, content: &dyn ContentRead, file: &Input) -> Result<(ContentHash, Bytes), Failure> {
        let value = file.read_value()?;
        let hash = content.hash_function().hash(&value);
        if is_present(content, &hash).await? && self.repair {
            match content.find(&hash.into()).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                found => drop(found?),
            }
        }
        Ok((hash, value))
    }

    /// Writes out what is committed. A key has its locator only then.
    async fn tell(
        &self,
        content: &dyn ContentRead,
        committed: &mut Vec<(ContentHash, &Input)>,
        progress: &Progress,
        output: &mut Output,
    ) -> Result<(), Failure> {
        for (hash, file) in committed.drain(..) {
            let key = content.index(&hash).await?.unwrap_or(hash.into());
            let added = Added { key: key.to_string(), hash: hash.to_string(), file: file.name() };
            progress.suspend(|| output.record(&added, self.json))?;
        }
        Ok(())
    }
}

/// Write the content of a key or hash to standard output, byte for byte; exit 1 if there is none
#[derive(Args)]
pub(crate) struct Cat {
    /// The address of the store
    store: Address,
    /// A content key as `add` writes it, or a hash of 64 hexadecimal digits
    #[arg(value_name = "KEY|HASH")]
    key: ContentKey,
}

impl Cat {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let value = store.content()?.find(&self.key).await?;
        store.close().await?;
        value_or_absent(value, NOT_HERE, output)
    }
}

/// Write the content key of a hash; exit 1 if the store does not hold it
#[derive(Args)]
pub(crate) struct Index {
    /// The address of the store
    store: Address,
    /// A hash of 64 hexadecimal digits, or a content key as `add` writes it
    #[arg(value_name = "HASH|KEY")]
    hash: ContentKey,
}

impl Index {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let key = store.content()?.index(&self.hash.to_hash()).await?;
        store.close().await?;
        match key {
            Some(key) => output.line(key).map(|()| Outcome::Fine),
            None => Ok(Outcome::absent(NOT_HERE)),
        }
    }
}
