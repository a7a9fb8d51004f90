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
//! Kept are bytes, the permission bits 0o777, symbolic links, empty directories, and names of any bytes; not owners,
//! times, hard links, and the set-user-id, set-group-id and sticky bits: a stranger's snapshot makes no program run as
//! its owner. The files of the store itself are skipped, so that it can lie in the directory that is saved. It is for
//! Unix, whose files these are.

mod format;
mod listing;
mod names;
mod restore;
mod save;

use std::{ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use irminsul::{Address, Registry};

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
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", shown(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    let (Command::Save { store: address, .. }
    | Command::List { store: address }
    | Command::Restore { store: address, .. }
    | Command::Follow { store: address, .. }) = &command;
    let registry = Registry::default();
    let address: Address = address.parse()?;
    let store = match command {
        Command::Save { .. } => registry.open(&address).await?,
        _ => registry.open_existing(&address).await?,
    };
    let names = store.atomic_write().context("this store keeps no entries")?;
    let content = store.indexable().context("this store keeps no content")?;
    match command {
        Command::Save { name, directory, .. } => {
            println!("{}", save::save(&*names, content, &name, directory, file(&address)).await?);
        }
        Command::List { .. } => names::list(&*names, &*content).await?,
        Command::Restore { name, directory, .. } => {
            let snapshot = names::find(&*names, &*content, &name).await?;
            restore::restore(&*content, &snapshot, directory).await?;
            println!("restored {}\t{}", shown(&name), names::describe(&snapshot));
        }
        Command::Follow { name, .. } => names::follow(&*names, &*content, &name).await?,
    }
    Ok(store.close().await?)
}

/// The file that a store is kept in, where its address names one.
fn file(address: &Address) -> Option<PathBuf> {
    let location = address.location();
    (address.scheme() == "sqlite" && !location.is_empty()).then(|| location.into())
}

/// A path, a name or a message for the terminal, on one line: what would steer it is escaped.
fn shown(text: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for chunk in text.as_ref().as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                // They are printable, and what is shown again within a message stays as it is.
                '\\' | '\'' | '"' => shown.push(char),
                _ => shown.extend(char.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02X}").expect("a string takes all");
        }
    }
    shown
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
