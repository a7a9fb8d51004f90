//! Deduplicating snapshots of a directory, in any store.
//!
//! ```text
//! cargo run --release --example snapshot -- save    sqlite:backup.db home ~/documents
//! cargo run --release --example snapshot -- list    sqlite:backup.db
//! cargo run --release --example snapshot -- restore sqlite:backup.db home /tmp/documents
//! cargo run --release --example snapshot -- follow  sqlite:backup.db home
//! ```
//!
//! Both contracts at work: what files and directories hold is content, under its hash, so that what is equal is stored
//! once; a snapshot's name is an entry, `snapshots/NAME`, which `test_and_set` moves from one snapshot to the next.
//! The name is set after the content is there, so whoever reads it finds everything (X1), and a save that was cut short
//! leaves nothing but content that the next one need not store again.
//!
//! Kept are bytes, permission bits, symbolic links, empty directories, and names of any bytes; not owners, times and
//! hard links. It is for Unix, whose files these are.

mod format;
mod names;
mod restore;
mod save;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Deduplicating snapshots of a directory, in the store at an address such as `sqlite:backup.db`.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Store a directory, and move the name to it.
    Save { store: String, name: String, directory: PathBuf },
    /// List the snapshots: name, when, files, bytes.
    List { store: String },
    /// Write a snapshot out, into a directory that is empty or not there yet.
    Restore { store: String, name: String, directory: PathBuf },
    /// Tell each time that the name moves, whichever process moves it, until interrupted.
    Follow { store: String, name: String },
}

#[tokio::main]
async fn main() -> Result<()> {
    let command = Command::parse();
    let (Command::Save { store: address, .. }
    | Command::List { store: address }
    | Command::Restore { store: address, .. }
    | Command::Follow { store: address, .. }) = &command;
    let store = irminsul::open(address).await?;
    let names = store.atomic_write().context("this store keeps no entries")?;
    let content = store.indexable().context("this store keeps no content")?;
    match command {
        Command::Save { name, directory, .. } => println!("{}", save::save(&*names, content, &name, directory).await?),
        Command::List { .. } => names::list(&*names, &*content).await?,
        Command::Restore { name, directory, .. } => {
            let snapshot = names::find(&*names, &*content, &name).await?;
            restore::restore(&*content, &snapshot, directory).await?;
            println!("restored {name}\t{}", names::describe(&snapshot));
        }
        Command::Follow { name, .. } => names::follow(&*names, &*content, &name).await?,
    }
    Ok(store.close().await?)
}

/// A bar over so many bytes; it shows nothing where there is no terminal.
fn progress(bytes: u64) -> ProgressBar {
    let template = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a valid template");
    ProgressBar::new(bytes).with_style(style)
}

/// Runs what reads, writes or hashes files off the async workers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
