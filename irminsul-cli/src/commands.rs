//! The commands, a module for each or for a family. Each has its arguments, and a `run` that opens its store, does the
//! work, closes the store and says what it found.

mod bench;
mod check_history;
mod conform;
mod content;
mod copy;
mod entries;
mod finding;
mod info;
mod ls;
mod verify;
mod watch;

use clap::Subcommand;
use irminsul::Registry;

use crate::{failure::Failure, outcome::Outcome, output::Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    // Hidden: the library's own words, for who comes from there.
    #[command(alias = "find")]
    Get(entries::Get),
    #[command(alias = "set")]
    Put(entries::Put),
    #[command(aliases = ["test_and_set", "test-and-set"])]
    Cas(entries::Cas),
    #[command(alias = "remove")]
    Rm(entries::Rm),
    #[command(alias = "list")]
    Ls(ls::Ls),
    Watch(watch::Watch),
    Clear(entries::Clear),
    Add(content::Add),
    Cat(content::Cat),
    Index(content::Index),
    Info(info::Info),
    Verify(verify::Verify),
    Copy(copy::Copy),
    CheckHistory(check_history::CheckHistory),
    Conform(conform::Conform),
    Bench(bench::Bench),
}

impl Command {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        match self {
            Self::Get(get) => get.run(registry, output).await,
            Self::Put(put) => put.run(registry).await,
            Self::Cas(cas) => cas.run(registry, output).await,
            Self::Rm(rm) => rm.run(registry).await,
            Self::Ls(ls) => ls.run(registry, output).await,
            Self::Watch(watch) => watch.run(registry, output).await,
            Self::Clear(clear) => clear.run(registry).await,
            Self::Add(add) => add.run(registry, output).await,
            Self::Cat(cat) => cat.run(registry, output).await,
            Self::Index(index) => index.run(registry, output).await,
            Self::Info(info) => info.run(registry, output).await,
            Self::Verify(verify) => verify.run(registry, output).await,
            Self::Copy(copy) => copy.run(registry, output).await,
            Self::CheckHistory(check) => check.run(output),
            Self::Conform(conform) => conform.run(registry, output).await,
            Self::Bench(bench) => bench.run(registry, output).await,
        }
    }
}
