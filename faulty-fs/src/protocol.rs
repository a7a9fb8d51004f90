//! The control protocol: commands and the lines that they are written as. What they do is left to the tree.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    disk::Mode,
    faults::{Effect, Failure, Fault, Op, Pages},
    loss::{Keep, Loss},
    words::Word,
};

/// One line: an action on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) disk: String,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Lose(Loss),
    Inject(Fault),
    Full(Option<u64>),
    Mode(Mode),
    Sync,
    Clear,
    Stats,
}

/// What a disk was asked for, and what is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// How often each operation was asked for, the failed ones included.
    pub operations: BTreeMap<Op, u64>,
    /// How many operations a fault struck.
    pub faults: u64,
    /// How often the power was lost.
    pub losses: u64,
    /// The bytes in use: of each file the pages, and one page for itself.
    pub used: u64,
    /// The bytes that were written and are not durable.
    pub unsynced_bytes: u64,
    /// The changes of names that are not durable.
    pub unsynced_names: usize,
}

impl Word for Keep {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::None, "none"), (Self::Random, "random"), (Self::All, "all")];
}

impl Word for Mode {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Strict, "strict"), (Self::Journalled, "journalled")];
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = &self.disk;
        match &self.action {
            Action::Lose(Loss { keep, seed, torn }) => {
                write!(f, "lose {disk} keep={} seed={seed} torn={}", keep.word(), torn.word())
            }
            Action::Inject(fault) => write_fault(f, disk, fault),
            Action::Full(Some(bytes)) => write!(f, "full {disk} {bytes}"),
            Action::Full(None) => write!(f, "full {disk} off"),
            Action::Mode(mode) => write!(f, "mode {disk} {}", mode.word()),
            Action::Sync => write!(f, "sync {disk}"),
            Action::Clear => write!(f, "clear {disk}"),
            Action::Stats => write!(f, "stats {disk}"),
        }
    }
}

fn write_fault(f: &mut fmt::Formatter<'_>, disk: &str, fault: &Fault) -> fmt::Result {
    match fault.effect {
        Effect::Fails { failure, pages, late } => {
            let [op, failure, pages] = [fault.op.word(), failure.word(), pages.word()];
            write!(f, "fail {disk} {op} {failure} pages={pages} late={}", late.as_millis())?;
        }
        Effect::IsShort => write!(f, "short {disk}")?,
    }
    write!(f, " after={}", fault.after)?;
    if let Some(times) = fault.times {
        write!(f, " times={times}")?;
    }
    if let Some(path) = &fault.path {
        write!(f, " path={path}")?;
    }
    if let Some(file) = &fault.file {
        write!(f, " file={file}")?;
    }
    Ok(())
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut line = Line::new(line);
        let verb = line.next("a command")?;
        let disk = line.next("the name of a disk")?.to_owned();
        let action = match verb {
            "lose" => Action::Lose(Loss {
                keep: line.option("keep", Keep::from_word)?.unwrap_or_default(),
                seed: line.option("seed", number)?.unwrap_or_default(),
                torn: line.option("torn", bool::from_word)?.unwrap_or_default(),
            }),
            "fail" => {
                let op = Op::from_word(line.next("an operation")?)?;
                let failure = Failure::from_word(line.next("an error")?)?;
                let pages = line.option("pages", Pages::from_word)?.unwrap_or_default();
                let late = Duration::from_millis(line.option("late", number)?.unwrap_or_default());
                Action::Inject(line.limits(Fault::new(op, failure).pages(pages).late(late))?)
            }
            "short" => Action::Inject(line.limits(Fault::short_write())?),
            "full" => Action::Full(match line.next("a number of bytes, or off")? {
                "off" => None,
                bytes => Some(number(bytes)?),
            }),
            "mode" => Action::Mode(Mode::from_word(line.next("strict or journalled")?)?),
            "sync" => Action::Sync,
            "clear" => Action::Clear,
            "stats" => Action::Stats,
            _ => return Err("expected one of lose, fail, short, full, mode, sync, clear, stats".to_owned()),
        };
        line.end()?;
        Ok(Self { disk, action })
    }
}

/// The rest of a line: words, and among them options as `name=value`.
struct Line<'a> {
    words: std::collections::VecDeque<&'a str>,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        Self { words: line.split_whitespace().collect() }
    }

    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.words.pop_front().ok_or_else(|| format!("expected {what}"))
    }

    /// Takes an option out, wherever it stands.
    fn option<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let value = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
        let Some(index) = self.words.iter().position(|word| value(word).is_some()) else { return Ok(None) };
        let word = self.words.remove(index).and_then(value).unwrap_or_default();
        parse(word).map(Some).map_err(|error| format!("{name}: {error}"))
    }

    fn limits(&mut self, mut fault: Fault) -> Result<Fault, String> {
        fault.after = self.option("after", number)?.unwrap_or_default();
        fault.times = self.option("times", number)?;
        fault.path = self.option("path", |part| Ok(part.to_owned()))?;
        fault.file = self.option("file", |path| Ok(path.to_owned()))?;
        Ok(fault)
    }

    fn end(mut self) -> Result<(), String> {
        match self.words.pop_front() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` has no meaning here")),
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| "expected a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(line: &str) -> Action {
        line.parse::<Command>().unwrap().action
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(action("lose d"), Action::Lose(Loss { keep: Keep::None, seed: 0, torn: false }));
        assert_eq!(action("fail d fsync EIO"), Action::Inject(Fault::new(Op::Fsync, Failure::Eio)));
    }

    #[test]
    fn options_come_in_any_order() {
        let fault = Fault::new(Op::Fsync, Failure::Enospc).after(2).times(3).path("x").pages(Pages::Dirty);
        assert_eq!(action("fail d fsync ENOSPC path=x pages=dirty times=3 after=2"), Action::Inject(fault));
    }

    #[test]
    fn a_command_reads_back_as_it_was_written() {
        let actions = [
            Action::Lose(Loss { keep: Keep::Random, seed: 7, torn: true }),
            Action::Inject(Fault::new(Op::SyncDir, Failure::Eacces).after(1).times(2).path("a/b")),
            Action::Inject(Fault::new(Op::Read, Failure::Eio).file("a/b")),
            Action::Inject(Fault::new(Op::Fsync, Failure::Edquot).pages(Pages::Dirty).late(Duration::from_millis(20))),
            Action::Inject(Fault::short_write().times(1)),
            Action::Full(Some(4096)),
            Action::Full(None),
            Action::Mode(Mode::Journalled),
            Action::Sync,
            Action::Clear,
            Action::Stats,
        ];
        for action in actions {
            let command = Command { disk: "disk".to_owned(), action };
            assert_eq!(command.to_string().parse(), Ok(command));
        }
    }

    #[test]
    fn a_bad_line_says_what_was_expected() {
        let refused = |line: &str| line.parse::<Command>().unwrap_err();
        assert_eq!(refused("lose"), "expected the name of a disk");
        assert_eq!(refused("lose d keep=some"), "keep: expected one of none, random, all");
        assert_eq!(refused("lose d seed=x"), "seed: expected a whole number");
        assert_eq!(refused("fail d fsync EBADF"), "expected one of EIO, ENOSPC, EDQUOT, EROFS, EACCES");
        assert_eq!(refused("lose d now"), "`now` has no meaning here");
    }
}
