//! `check-history`: whether recorded histories are linearizable.

use std::{fmt, time::Duration};

use clap::Args;
use conformance::history::{History, Limits, Verdict, Witness, check};
use serde::Serialize;

use crate::{
    duration::duration,
    failure::{Failure, note, with_causes},
    input::{self, Input},
    outcome::Outcome,
    output::{Output, as_given},
    progress::Progress,
};

/// Check whether recorded histories are linearizable, a line for each; exit 1 if one is not, or is inconclusive
///
/// A history is JSON Lines: the calls and returns of the clients of a store, in the order in which they happened.
#[derive(Args)]
pub(crate) struct CheckHistory {
    /// The files, or `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Input>,
    /// Draw the smallest impossible part of each that is not linearizable
    #[arg(long)]
    timeline: bool,
    /// How long each may take, such as 500ms or 30s; without a verdict by then, it is inconclusive
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    budget: Duration,
    /// An object of JSON per file, with the smallest impossible part
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Linearizable,
    NotLinearizable,
    Inconclusive,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linearizable => "linearizable",
            Self::NotLinearizable => "not-linearizable",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The line of a file.
#[derive(Serialize)]
struct Checked {
    file: String,
    verdict: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<Witness>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", as_given(&self.file), self.verdict)?;
        self.witness.as_ref().map_or(Ok(()), |witness| write!(f, "\n{witness}\n"))
    }
}

impl CheckHistory {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome, Failure> {
        input::check_stdin(&self.files)?;
        let mut progress = Progress::start("checking histories");
        let (mut all_linearizable, mut unread) = (true, false);
        for file in &self.files {
            match read(file, &mut progress) {
                Ok(history) => {
                    let checked = self.check(file, &history, &progress);
                    all_linearizable &= checked.verdict == Word::Linearizable;
                    progress.suspend(|| output.record(&checked, self.json))?;
                }
                Err(failure) => {
                    unread = true;
                    progress.suspend(|| note(&with_causes(&failure)));
                }
            }
        }
        Ok(match (unread, all_linearizable) {
            (true, _) => Outcome::Incomplete,
            (false, true) => Outcome::Fine,
            (false, false) => Outcome::Negative,
        })
    }

    fn check(&self, file: &Input, history: &History, progress: &Progress) -> Checked {
        let limits = Limits::default().time(self.budget);
        let (verdict, witness) = match check(history, limits) {
            Verdict::Linearizable => (Word::Linearizable, None),
            Verdict::NotLinearizable(violation) => {
                let shown = self.timeline || self.json;
                (Word::NotLinearizable, shown.then(|| violation.witness(limits)))
            }
            Verdict::Inconclusive(limit) => {
                progress.suspend(|| note(&format!("{file}: {limit}")));
                (Word::Inconclusive, None)
            }
        };
        Checked { file: file.name(), verdict, witness }
    }
}

fn read(file: &Input, progress: &mut Progress) -> Result<History, Failure> {
    let text = file.read()?;
    progress.add(text.len());
    History::read(&*text).map_err(|error| Failure::refused(format!("{file}: {error}")))
}
