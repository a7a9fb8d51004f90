//! A report for a terminal: a table of clauses and backends, then what it does not say by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, from_fn},
};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, Width, presets};

use super::{BackendReport, CaseReport, End, Report, Verdict};
use crate::Clause;

/// How wide the table is, unless it has more backends than fit.
const WIDTH: u16 = 100;
/// The narrowest column in which each verdict fits on a line.
const NARROWEST: u16 = 16;

/// The table, the reasons of what was not tested, the failures in full, and a line per backend.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "irminsul conformance {}, profile {}, seed {}", self.suite, self.profile, self.seed)?;
        match &self.cases {
            Some(pattern) => writeln!(f, ", cases {}\n", line(pattern))?,
            None => writeln!(f, "\n")?,
        }
        writeln!(f, "{}\n", self.table().trim_fmt())?;
        writeln!(f, "A number counts cases; - is where none applies to the backend.\n")?;
        self.lacks(f)?;
        self.reasons(Verdict::Untested, "untested", f)?;
        self.reasons(Verdict::Inconclusive, "not settled", f)?;
        self.failures(f)?;
        self.backends.iter().try_for_each(|backend| writeln!(f, "{}", Summary(backend)))
    }
}

impl Report {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─')));
        let names = self.backends.iter().map(|backend| line(&backend.name).to_string());
        table.set_header(["clause".to_owned()].into_iter().chain(names));
        for (group, clauses) in self.groups() {
            if !table.is_empty() {
                table.add_row([""]);
            }
            table.add_row([group]);
            for clause in clauses {
                let cells = self.backends.iter().map(|backend| cell(backend, clause));
                table.add_row([format!("  {:<3}  {}", clause.id, clause.title)].into_iter().chain(cells));
            }
        }
        fit(&mut table);
        table
    }

    /// Why no case of a clause applies: each reason once, with the clauses.
    fn lacks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lacking: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for backend in &self.backends {
            let clauses = self.clauses().map(|clause| clause.id);
            for clause in clauses.filter(|clause| backend.verdict_of(clause) == Some(Verdict::Unsupported)) {
                let reasons = backend.of_clause(clause).filter_map(|case| case.reason.as_deref());
                for reason in reasons.collect::<BTreeSet<_>>() {
                    lacking.entry(reason).or_default().entry(&backend.name).or_default().push(clause);
                }
            }
        }
        told("does not apply", &lacking, f)
    }

    /// Each reason for a verdict once, with the cases that it stopped.
    fn reasons(&self, verdict: Verdict, word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stopped: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for backend in &self.backends {
            for case in backend.cases.iter().filter(|case| case.verdict == verdict) {
                let reason = case.reason.as_deref().unwrap_or("no reason");
                stopped.entry(reason).or_default().entry(&backend.name).or_default().push(case.id);
            }
        }
        told(word, &stopped, f)
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for backend in &self.backends {
            for case in backend.failures() {
                writeln!(f, "{} on {}\n{case}", case.id, line(&backend.name))?;
            }
        }
        Ok(())
    }
}

/// Tells for each reason and backend what is so for it.
fn told(word: &str, reasons: &BTreeMap<&str, BTreeMap<&str, Vec<&str>>>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (reason, backends) in reasons {
        writeln!(f, "{word}: {}", line(reason))?;
        for (backend, ids) in backends {
            writeln!(f, "  on {}  {}", line(backend), ids.join(" "))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// Breaks the names of the backends, which may be long addresses, and nothing else.
fn fit(table: &mut Table) {
    let widths = table.column_max_content_widths();
    let Some((clauses, backends)) = widths.split_at_checked(1) else { return };
    let padding = u16::try_from(2 * widths.len()).unwrap_or(WIDTH);
    let left = WIDTH.saturating_sub(clauses.iter().sum::<u16>() + padding);
    let share = left / u16::try_from(backends.len()).unwrap_or(u16::MAX).max(1);
    let backends = backends.len();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for column in table.column_iter_mut().skip(1).take(backends) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(share.max(NARROWEST) + 2)));
        column.set_cell_alignment(CellAlignment::Left);
    }
}

fn cell(backend: &BackendReport, clause: &Clause) -> String {
    let Some(tally) = backend.tally_of(clause.id) else { return String::new() };
    match tally.verdict {
        Verdict::Unsupported => "-".to_owned(),
        Verdict::Fail => format!("FAIL {}", tally.figures()),
        verdict => format!("{verdict} {}", tally.figures()),
    }
}

/// The verdict on a backend, how its cases ended, and what it declares: a line each, since an address ends in a colon.
struct Summary<'r>(&'r BackendReport);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(backend) = self;
        let verdict = match backend.end() {
            End::Passed => "passed",
            End::PassedInPart => "passed what was tested",
            End::NotSettled => "not settled",
            End::NothingTested => "NOTHING TESTED",
            End::Failed => "FAILED",
        };
        let declared: Vec<String> =
            backend.declared().into_iter().map(|(name, level)| format!("{name} {level}")).collect();
        write!(
            f,
            "{verdict}  {}\n        {}\n        declares {}",
            line(&backend.name),
            backend.figures(),
            declared.join(", ")
        )
    }
}

/// A case that did not pass: what was demanded, where, and how to see it again.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.verdict, line(self.reason.as_deref().unwrap_or("nothing to tell")))?;
        if let Some(clause) = Clause::by_id(self.clause) {
            writeln!(f, "  clause {}: {}", clause.id, clause.text)?;
        }
        if let Some(location) = &self.location {
            writeln!(f, "  demanded at {}", line(location))?;
        }
        match &self.replay {
            Some(command) => writeln!(f, "  again with {}", line(command))?,
            None => writeln!(f, "  again with seed {} and case {}", self.seed, self.id)?,
        }
        if let Some(witness) = &self.witness {
            write!(f, "\n{witness}")?;
        }
        if let Some(details) = &self.details {
            writeln!(f)?;
            details.lines().try_for_each(|detail| writeln!(f, "{}", line(detail)))?;
        }
        Ok(())
    }
}

/// Text on one line that moves no terminal: what controls one, or turns the direction of writing, is escaped.
fn line(text: &str) -> impl Display {
    from_fn(move |f| {
        text.chars().try_for_each(|character| match character {
            control if control.is_control() => write!(f, "{}", control.escape_default()),
            turn @ ('\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => write!(f, "{}", turn.escape_unicode()),
            other => write!(f, "{other}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::report::{BackendReport, Verdict, sample};

    #[test]
    fn whatever_a_run_says_moves_no_terminal() {
        let hostile = "\u{1b}[2J\r\u{9b}1A\u{7}\u{202e}\npassed  mem:";
        let mut report = sample::report().filled_with(hostile);
        report.backends[0].cases[0].verdict = Verdict::Inconclusive;
        let shown = report.to_string();
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{shown:?}");
        let forged = shown.lines().filter(|line| line.starts_with("passed")).count();
        let details = report.backends.iter().flat_map(BackendReport::failures).count();
        assert_eq!(forged, details, "only details have lines of their own:\n{shown}");
        assert!(shown.contains(r"\u{1b}[2J\r\u{9b}1A"), "{shown}");
    }

    #[test]
    fn the_table_has_the_clauses_by_group_and_a_column_for_each_backend() {
        let table = "
 clause                                    sound        broken       shut
─────────────────────────────────────────────────────────────────────────────────────
 Keys
   K1   Keys have up to 255 bytes          pass 1       pass 1       harness error 1

 Atomic writes
   A2   Compare-and-set, byte for byte     pass 1 of 2  FAIL 1 of 2

 Watches
   W11  Changes by other instances arrive  -            pass 1
";
        let shown = sample::report().to_string();
        assert!(shown.contains(table), "{shown}");
    }

    #[test]
    fn a_report_tells_reasons_once_failures_in_full_and_ends_in_a_verdict_for_each_backend() {
        let shown = sample::report().to_string();
        for told in [
            "irminsul conformance 1.2.3, profile quick, seed 7\n",
            "untested: no other process\n  on sound  atomic/A2-another\n",
            "does not apply: its instances do not share a store\n  on sound  W11\n",
            "atomic/A2-one on broken\nfail: absent where \"v\" is due\n  clause A2: `test_and_set` sets",
            "  demanded at writes.rs:7\n  again with irminsul conform broken --seed 7 --case atomic/A2-one\n\n1: set\n",
            "again with seed 7 and case key/K1-one\n",
        ] {
            assert!(shown.contains(told), "{told}\nis not in\n{shown}");
        }
        let end = "\
passed what was tested  sound
        2 passed, 1 untested, 1 unsupported, 6.0 s of cases
        declares durability Volatile, visibility Instance, index Exact, watch lag at once, others' none
FAILED  broken
        3 passed, 1 failed, 3 passes, 2 kills, 1 power losses, 6.0 s of cases
        declares durability Power, visibility Host, index BestEffort, watch lag at once, others' 50ms
FAILED  shut
        1 stopped by harness errors, 1.5 s of cases
        declares nothing since it could not be opened
";
        assert!(shown.ends_with(end), "{shown}");
    }

    #[test]
    fn the_table_of_three_long_addresses_fits_a_terminal() {
        let mut report = sample::report();
        for backend in &mut report.backends {
            backend.name = format!("sqlite:{}/store.db?sync=normal", "directory/".repeat(10));
        }
        let table = report.table().trim_fmt();
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{widest}:\n{table}");
        assert!(table.contains("harness error 1"), "{table}");
    }
}
