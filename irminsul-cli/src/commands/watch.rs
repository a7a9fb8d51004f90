//! `watch`: a line per change of an entry, whoever made it.

use std::io;

use clap::Args;
use irminsul::{Address, Bytes, Diff, EntryRead, Error, ErrorKind, Event, Init, Key, Registry};

use crate::{
    failure::{Failure, note, with_causes},
    input::Input,
    outcome::Outcome,
    output::{Output, counted, printable},
    record::{self, Record},
    signal::told_to_end,
    store::{Missing, Store},
};

/// Write a line for each change, also by other processes, until it is interrupted or terminated
///
/// A line is `+ KEY n bytes` for a key that was added, `~ KEY n bytes` for one with another value, `- KEY` for one that
/// was removed. A slow reader misses intermediate values, never the last.
///
/// To go on later where this watch ends, keep what it writes: start from an empty file, with
/// `irminsul watch STORE --json --known seen.jsonl >> seen.jsonl`, and run the same line again at any time. What changed
/// between two runs is told first.
#[derive(Args)]
pub(crate) struct Watch {
    /// The address of the store
    store: Address,
    /// Only the keys at and below this path
    #[arg(default_value = "", hide_default_value = true)]
    under: Key,
    /// Only the key UNDER itself, none below it
    #[arg(long)]
    key: bool,
    /// Resume after what this file records: the output of an earlier `watch --json`. With an empty file everything is new
    #[arg(long, value_name = "FILE")]
    known: Option<Input>,
    /// An object of JSON per line, with the value as `value`, or as `value_base64` where it is not UTF-8
    #[arg(long)]
    json: bool,
    /// End after this many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Watch {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let known = self.known.as_ref().map(record::read_state).transpose().map_err(|failure| match failure {
            Failure::Read { what, source } if source.kind() == io::ErrorKind::NotFound => Failure::refused(format!(
                "--known: {what} is not there; begin with an empty file: all that there is will be told"
            )),
            other => other,
        })?;
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let entries = store.entries()?;
        tokio::select! {
            // The signals are polled first, so that they are caught from before the first event on.
            biased;
            signal = told_to_end() => signal.map_err(Failure::Signal)?,
            end = self.follow(&*entries, known, output) => end?,
        }
        store.close().await?;
        Ok(Outcome::Fine)
    }

    /// Writes what the watch tells, until it has told as many changes as were asked for.
    async fn follow(
        &self,
        entries: &dyn EntryRead,
        known: Option<Vec<(Key, Bytes)>>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut watch = self.start(entries, known).await?;
        let mut told = 0;
        while self.count.is_none_or(|count| told < count) {
            match watch.next().await {
                Some(Ok(Event::Changed { key, diff })) => {
                    self.tell(&key, &diff, output)?;
                    told += 1;
                }
                Some(Ok(Event::CaughtUp)) => self.tell_caught_up(output)?,
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Closed => return Err(error.into()),
                // A passing fault: the watch catches up by itself.
                Some(Err(error)) => note(&with_causes(&error)),
                None => return Err(Error::closed().into()),
            }
        }
        Ok(())
    }

    async fn start(
        &self,
        entries: &dyn EntryRead,
        known: Option<Vec<(Key, Bytes)>>,
    ) -> Result<irminsul::Watch, Failure> {
        if self.key {
            let init = known.map_or(Ok(Init::Current), |state| self.only_value(state).map(Init::Known))?;
            return Ok(entries.watch_key(&self.under, init).await?);
        }
        Ok(entries.watch(&self.under, known.map_or(Init::Current, Init::Known)).await?)
    }

    fn only_value(&self, state: Vec<(Key, Bytes)>) -> Result<Option<Bytes>, Failure> {
        state.into_iter().try_fold(None, |_, (key, value)| {
            if key == self.under {
                Ok(Some(value))
            } else {
                Err(Failure::refused("the file of --known has other keys than this one: leave --key out"))
            }
        })
    }

    fn tell(&self, key: &Key, diff: &Diff, output: &mut Output) -> Result<(), Failure> {
        if self.json {
            return output.json(&Record::change(key, diff));
        }
        let key = printable(key.as_str());
        match diff {
            Diff::Added { new } => output.line(format_args!("+ {key} {}", size(new))),
            Diff::Updated { new, .. } => output.line(format_args!("~ {key} {}", size(new))),
            Diff::Removed { .. } => output.line(format_args!("- {key}")),
        }
    }

    /// For people on standard error, so that standard output has changes only.
    fn tell_caught_up(&self, output: &mut Output) -> Result<(), Failure> {
        if self.json {
            return output.json(&Record::caught_up());
        }
        note("caught up");
        Ok(())
    }
}

fn size(value: &Bytes) -> String {
    counted(value.len(), "byte", "bytes")
}
