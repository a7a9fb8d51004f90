//! The system calls of a child, as strace writes them down: which bytes went to which file, when that file was synced, and
//! in which order. What an engine does without them, as with memory that is mapped, is not seen.

use std::{
    collections::{HashMap, HashSet},
    fs,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    children,
    failure::{Failure, Outcome},
};

const STRACE: &str = "strace";

/// What is written down: how files are opened, written and synced.
/// Some systems lack some.
const CALLS: &str = "trace=?open,?creat,openat,?openat2,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,sync,\
     ?msync,?io_uring_enter";

/// What `io_uring` does is not seen.
const RING: &str = "io_uring_enter";

/// Longer than what is written at once by those who are traced.
const LONGEST: &str = "200000";

/// Where the calls of a child are written down.
pub(crate) struct Trace {
    directory: TempDir,
}

impl Trace {
    /// Where strace is here, and may trace.
    pub(crate) fn new() -> Outcome<Self> {
        let trace = Self { directory: TempDir::with_prefix("irminsul-conformance-").map_err(Failure::harness)? };
        let tried = children::output(trace.command().arg("true").stdin(Stdio::null()).stderr(Stdio::piped()));
        let tried = tried.map_err(|error| Failure::untested(format_args!("{STRACE} is not here: {error}")))?;
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr);
            let why = said.lines().next().unwrap_or("it does not say why");
            return Err(Failure::untested(format_args!("{STRACE} traces nothing here: {why}")));
        }
        Ok(trace)
    }

    /// The command that traces the program behind it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(STRACE);
        command.args(["-f", "-y", "-qq", "-s", LONGEST, "-e", "signal=none", "-e", CALLS, "-o"]);
        command.arg(self.directory.path().join("calls"));
        command
    }

    /// The calls of the last program that was traced, which has ended.
    pub(crate) fn calls(&self) -> Outcome<Calls> {
        let log = fs::read(self.directory.path().join("calls")).map_err(Failure::harness)?;
        Ok(Calls::of(&String::from_utf8_lossy(&log)))
    }
}

/// A call that returned. Instants are lines of the log.
#[derive(Debug)]
struct Call {
    name: String,
    /// The file that it is about: its descriptor, and its path at that time.
    descriptor: Option<u32>,
    path: String,
    /// All that is known of it.
    text: String,
    entered: usize,
    returned: usize,
    result: i64,
}

/// The calls of all threads, in the order in which they returned.
#[derive(Debug)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// Files whose every write is synced, as they are opened.
    synced_by_write: HashSet<String>,
}

/// What becomes of some bytes before an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They were written to a file, and this was synced, before the answer.
    Synced,
    /// They were written before the answer, and not synced.
    Written,
    /// They were written behind the answer.
    Late,
    /// They are in no write.
    Unseen,
}

impl Calls {
    fn of(log: &str) -> Self {
        let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut calls = Vec::new();
        for (at, line) in log.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(start) = call.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, (at, start));
            } else if let Some(resumed) = call.strip_prefix("<... ") {
                let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
                if let Some((entered, start)) = begun.remove(thread) {
                    calls.extend(Call::of(&format!("{start}{rest}"), entered, at));
                }
            } else {
                calls.extend(Call::of(call, at, at));
            }
        }
        let opens_synced =
            |call: &&Call| call.opens() && ["O_SYNC", "O_DSYNC"].iter().any(|flag| call.text.contains(flag));
        let synced_by_write = calls.iter().filter(opens_synced).map(|call| call.path.clone()).collect();
        Self { calls, synced_by_write }
    }

    /// What became of `bytes`, which nothing else contains, before the first write of `answer` was begun: both as strace
    /// writes them.
    pub(crate) fn fate(&self, bytes: &str, answer: &str) -> Fate {
        let Some(answered) = self.calls.iter().find(|call| call.writes(answer)).map(|call| call.entered) else {
            return Fate::Unseen;
        };
        let writes = || self.calls.iter().filter(|call| call.writes(bytes));
        let mut before = writes().filter(|call| call.returned < answered).peekable();
        if before.peek().is_some() {
            let synced = before.any(|write| self.is_synced(write, answered));
            return if synced { Fate::Synced } else { Fate::Written };
        }
        if writes().next().is_some() { Fate::Late } else { Fate::Unseen }
    }

    /// A call that may have written and synced something without telling which bytes.
    pub(crate) fn other_sync(&self) -> Option<&str> {
        let syncs = |call: &&Call| call.name == RING || call.name == "msync" && call.text.contains("MS_SYNC");
        self.calls.iter().find(syncs).map(|call| call.name.as_str())
    }

    /// Whether a sync of the file was begun behind a write, and had succeeded before an instant.
    fn is_synced(&self, write: &Call, before: usize) -> bool {
        let syncs_itself = self.synced_by_write.contains(&write.path)
            || ["RWF_SYNC", "RWF_DSYNC"].iter().any(|flag| write.text.contains(flag));
        let syncs = |call: &Call| match call.name.as_str() {
            "fsync" | "fdatasync" => call.path == write.path || self.is_renamed(write, call),
            "sync" | "syncfs" => true,
            _ => false,
        };
        let in_time = |call: &&Call| call.entered > write.returned && call.returned < before && call.result == 0;
        syncs_itself || self.calls.iter().filter(in_time).any(syncs)
    }

    /// Whether two calls are about one file that has another name at the second: the descriptor is the same, and was
    /// given to no other file in between.
    fn is_renamed(&self, first: &Call, second: &Call) -> bool {
        let is_between = |call: &Call| call.returned > first.entered && call.entered < second.returned;
        let is_given_anew = |call: &Call| call.opens() && call.descriptor == first.descriptor && is_between(call);
        first.descriptor.is_some() && first.descriptor == second.descriptor && !self.calls.iter().any(is_given_anew)
    }
}

impl Call {
    /// Of `name(arguments) = result`, where it tells of a result.
    fn of(text: &str, entered: usize, returned: usize) -> Option<Self> {
        let (name, _) = text.split_once('(')?;
        let (arguments, result) = text.rsplit_once(" = ")?;
        let number: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        // Of what is opened the result has descriptor and path.
        let about = if opens(name) { result } else { &arguments[name.len() + 1..] };
        let (descriptor, rest) = about.split_once('<').unwrap_or_default();
        let path = rest.split_once('>').map_or("", |(path, _)| path);
        Some(Self {
            name: name.to_owned(),
            descriptor: descriptor.parse().ok(),
            path: path.to_owned(),
            text: arguments.to_owned(),
            entered,
            returned,
            result: number.parse().ok()?,
        })
    }

    fn opens(&self) -> bool {
        opens(&self.name)
    }

    /// Whether it wrote these bytes.
    fn writes(&self, bytes: &str) -> bool {
        self.result > 0 && self.name.contains("write") && self.text.contains(bytes)
    }
}

fn opens(call: &str) -> bool {
    matches!(call, "open" | "creat" | "openat" | "openat2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(log: &str) -> Fate {
        Calls::of(log).fate("precious", r"done 1\n")
    }

    const WRITE: &str = "7 pwrite64(4</d/log>, \"..precious..\", 12, 0) = 12\n";
    const SYNC: &str = "7 fdatasync(4</d/log>) = 0\n";
    const ANSWER: &str = "6 write(1<pipe:[1]>, \"done 1\\n\", 7) = 7\n";

    #[test]
    fn a_sync_counts_between_the_write_and_the_answer() {
        assert_eq!(fate(&[WRITE, SYNC, ANSWER].concat()), Fate::Synced);
        assert_eq!(fate(&[SYNC, WRITE, ANSWER, SYNC].concat()), Fate::Written);
        assert_eq!(fate(&[ANSWER, WRITE, SYNC].concat()), Fate::Late);
        assert_eq!(fate(&[SYNC, ANSWER].concat()), Fate::Unseen);
        assert_eq!(fate(&[WRITE, SYNC].concat()), Fate::Unseen);
    }

    #[test]
    fn a_sync_of_another_file_or_one_that_fails_is_none() {
        assert_eq!(fate(&[WRITE, "7 fsync(5</d/other>) = 0\n", ANSWER].concat()), Fate::Written);
        assert_eq!(
            fate(&[WRITE, "7 fsync(4</d/log>) = -1 EIO (Input/output error)\n", ANSWER].concat()),
            Fate::Written
        );
        assert_eq!(fate(&[WRITE, "7 syncfs(3</d>) = 0\n", ANSWER].concat()), Fate::Synced);
    }

    #[test]
    fn a_file_that_is_renamed_between_its_write_and_its_sync_is_the_same() {
        let under_another_name = "7 fsync(4</d/log.new>) = 0\n";
        let other_file = "7 openat(AT_FDCWD</d>, \"b\", O_RDWR) = 4</d/b>\n";
        assert_eq!(fate(&[WRITE, under_another_name, ANSWER].concat()), Fate::Synced);
        assert_eq!(fate(&[WRITE, other_file, under_another_name, ANSWER].concat()), Fate::Written);
    }

    #[test]
    fn a_sync_that_goes_on_when_the_answer_is_given_comes_too_late() {
        let begun = "7 fsync(4</d/log> <unfinished ...>\n";
        let ended = "7 <... fsync resumed>) = 0\n";
        assert_eq!(fate(&[WRITE, begun, ended, ANSWER].concat()), Fate::Synced);
        assert_eq!(fate(&[WRITE, begun, ANSWER, ended].concat()), Fate::Written);
        assert_eq!(fate(&[begun, WRITE, ended, ANSWER].concat()), Fate::Written);
    }

    #[test]
    fn a_call_that_may_sync_something_is_told() {
        let log = [WRITE, "7 msync(0x7f12, 4096, MS_SYNC) = 0\n", ANSWER].concat();
        assert_eq!(fate(&log), Fate::Written);
        assert_eq!(Calls::of(&log).other_sync(), Some("msync"));
        assert_eq!(Calls::of(&[WRITE, SYNC, ANSWER].concat()).other_sync(), None);
        assert_eq!(Calls::of("7 msync(0x7f12, 4096, MS_ASYNC) = 0\n").other_sync(), None);
        assert_eq!(
            Calls::of("7 io_uring_enter(5<anon_inode:[io_uring]>, 1, 1, 0, NULL, 8) = 1\n").other_sync(),
            Some(RING)
        );
    }

    #[test]
    fn a_file_may_sync_each_write_itself() {
        let opened = "7 openat(AT_FDCWD</d>, \"log\", O_RDWR|O_CREAT|O_DSYNC, 0644) = 4</d/log>\n";
        assert_eq!(fate(&[opened, WRITE, ANSWER].concat()), Fate::Synced);
        let opened = "7 open(\"log\", O_RDWR|O_CREAT|O_DSYNC, 0644) = 4</d/log>\n";
        assert_eq!(fate(&[opened, WRITE, ANSWER].concat()), Fate::Synced);
        let flagged = "7 pwritev2(4</d/log>, [{iov_base=\"precious\", iov_len=8}], 1, 0, RWF_DSYNC) = 8\n";
        assert_eq!(fate(&[flagged, ANSWER].concat()), Fate::Synced);
    }
}
