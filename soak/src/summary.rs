//! What is told of the rows: how far each came, how long the rest may take, and the figures for `docs/reliability.md`.

use std::{collections::BTreeMap, iter::Sum, process::ExitCode, time::Duration};

use crate::{
    rows::{BROKEN, FUZZ, LONG, MATRIX, Row, Work},
    state::Done,
};

/// How a run ended that could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All was run and nothing failed.
    Complete,
    /// Something failed.
    Failed,
    /// Something is left to be run, or could not be for want of equipment.
    Lacking,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Complete => 0,
            Outcome::Failed => 1,
            Outcome::Lacking => 3,
        })
    }
}

/// What came of the rows, all together.
pub(crate) fn outcome(rows: &[(Row, Done)]) -> Outcome {
    if rows.iter().any(|(_, done)| !done.failures.is_empty()) {
        return Outcome::Failed;
    }
    let lacks = rows.iter().any(|(row, done)| done.steps < row.of || done.untested > 0);
    if lacks { Outcome::Lacking } else { Outcome::Complete }
}

/// How far a row came.
pub(crate) fn line((row, done): &(Row, Done)) -> String {
    let Row { name, of, .. } = row;
    let unit = if row.goes_by_time() { " s" } else { "" };
    let steps = format!("{name:<24} {:>4} of {of:>4}{unit}, {} untested", done.steps, done.untested);
    let measured = match row.work {
        Work::Load { .. } => format!(", {}", growth(done)),
        Work::Fuzz => format!(", {} inputs", done.inputs.values().sum::<u64>()),
        _ if done.kills + done.power_losses == 0 => String::new(),
        _ => format!(", {} kills, {} power losses", done.kills, done.power_losses),
    };
    let verdict = match (done.failures.is_empty(), time_left(row, done)) {
        (false, _) => format!("FAILED: see {}", done.failures.iter().map(String::as_str).collect::<Vec<_>>().join(" ")),
        (true, None) => "not begun".to_owned(),
        (true, Some(Duration::ZERO)) => "no failure".to_owned(),
        (true, Some(left)) => format!("not finished, about {} min left", minutes(left)),
    };
    format!("{steps}{measured}  {verdict}")
}

/// How long what is left takes, by the mean of what was done; nothing, where nothing is known of it.
fn time_left(row: &Row, done: &Done) -> Option<Duration> {
    let left = row.of.saturating_sub(done.steps);
    let mean = done.took.checked_div(done.steps).or(row.goes_by_time().then_some(Duration::from_secs(1)));
    if left == 0 { Some(Duration::ZERO) } else { Some(mean? * left) }
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

/// How long what is left of the rows takes, all together, where so many steps are made at once.
pub(crate) fn estimate(rows: &[(Row, Done)], jobs: usize) -> String {
    let left = || rows.iter().map(|(row, done)| time_left(row, done));
    let known = minutes(left().flatten().sum::<Duration>() / u32::try_from(jobs).unwrap_or(u32::MAX));
    match left().filter(Option::is_none).count() {
        0 => format!("about {known} min are left"),
        unknown => format!("about {known} min are left, not counting rows that were not begun ({unknown})"),
    }
}

fn growth(done: &Done) -> String {
    let growth = done.growth.unwrap_or_default();
    let (turns, threads, tasks, files) = (growth.turns, growth.threads, growth.tasks, growth.files);
    format!("{turns} turns, grown by {threads} threads, {tasks} tasks, {files} files, {} KiB", growth.memory_kib)
}

/// What the figures are about, and the figures; none where nothing was run.
pub(crate) fn figures(rows: &[(Row, Done)]) -> [(&'static str, String); 7] {
    let of = |is: fn(&Row) -> bool| rows.iter().filter(|(row, _)| is(row)).collect::<Vec<_>>();
    let suites = of(|row| matches!(row.work, Work::Suite { .. }));
    let loads = of(|row| matches!(row.work, Work::Load { .. }));
    let (broken, matrix, fuzz) =
        (of(|row| row.name == BROKEN), of(|row| row.name == MATRIX), of(|row| row.name == FUZZ));
    let each_load = |(row, done): &&(Row, Done)| format!("{} {} min, {}; ", row.name, done.steps / 60, growth(done));
    let inputs = fuzz.iter().flat_map(|(_, done)| done.inputs.clone()).collect();
    let found = fuzz.iter().find_map(|(_, done)| done.failures.first()).map_or("nothing", String::as_str);
    [
        ("rounds with a killed process, by backend and setting", by_setting(&suites, |done| done.kills)),
        ("power losses, by engine and setting", by_setting(&suites, |done| done.power_losses)),
        (
            "seeds of the suite on sound stores; stores with a failure",
            if_begun(&suites, format!("{}; {}", by_setting(&suites, |done| done.steps.into()), failing(&suites))),
        ),
        (
            "seeds of the broken stores, each with the cases that are to catch it; seeds with one that was not caught",
            if_begun(
                &broken,
                format!("{}; {}", sum(&broken, |done| done.steps), sum(&broken, |done| done.failures.len())),
            ),
        ),
        (
            "cases that were run on every broken store; cases that catch none",
            if_begun(
                &matrix,
                format!("{}; {}", sum(&matrix, |done| done.cases), sum(&matrix, |done| done.catching_none)),
            ),
        ),
        (
            "load, by engine: minutes, turns, and what was held on to; engines with a failure",
            if_begun(&loads, loads.iter().map(each_load).collect::<String>() + &failing(&loads).to_string()),
        ),
        ("inputs by the fuzzer, by target; found", if_begun(&fuzz, format!("{}; {found}", listed(&inputs)))),
    ]
}

fn if_begun(rows: &[&(Row, Done)], figure: String) -> String {
    if rows.iter().all(|(_, done)| *done == Done::default()) { String::new() } else { figure }
}

fn sum<N: Sum>(rows: &[&(Row, Done)], what: impl Fn(&Done) -> N) -> N {
    rows.iter().map(|(_, done)| what(done)).sum()
}

fn failing(rows: &[&(Row, Done)]) -> usize {
    rows.iter().filter(|(_, done)| !done.failures.is_empty()).count()
}

/// Sums, in which the long passes of a store are with its short ones.
fn by_setting(rows: &[&(Row, Done)], what: impl Fn(&Done) -> u64) -> String {
    let mut sums = BTreeMap::<_, u64>::new();
    for (row, done) in rows {
        *sums.entry(row.name.trim_end_matches(LONG).to_owned()).or_default() += what(done);
    }
    listed(&sums)
}

/// Names and numbers, without what is zero.
fn listed(numbers: &BTreeMap<String, u64>) -> String {
    let some = numbers.iter().filter(|(_, number)| **number > 0);
    some.map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    /// All rows, with what was done of some.
    fn made_up(done: &[(&str, Done)]) -> Vec<(Row, Done)> {
        let of = |name| done.iter().find(|(known, _)| *known == name).map(|(_, done)| done.clone());
        rows::all(2).into_iter().map(|row| (row, of(row.name).unwrap_or_default())).collect()
    }

    fn finished() -> Vec<(Row, Done)> {
        rows::all(2).into_iter().map(|row| (row, Done { steps: row.of, ..Done::default() })).collect()
    }

    fn steps(steps: u32) -> Done {
        Done { steps, took: Duration::from_secs(30) * steps, ..Done::default() }
    }

    fn line_of(name: &str, done: Done) -> String {
        line(made_up(&[(name, done)]).iter().find(|(row, _)| row.name == name).unwrap())
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let mut rows = finished();
        assert_eq!(outcome(&rows), Outcome::Complete);
        rows[3].1.untested = 1;
        assert_eq!(outcome(&rows), Outcome::Lacking);
        rows[3].1 = steps(1);
        assert_eq!(outcome(&rows), Outcome::Lacking);
        rows[5].1.failures.insert("a log".to_owned());
        assert_eq!(outcome(&rows), Outcome::Failed);
    }

    #[test]
    fn a_line_says_how_far_a_row_came_and_what_is_left() {
        assert_eq!(
            line_of("mem-long", Done::default()),
            "mem-long                    0 of    5, 0 untested  not begun"
        );
        let crashed = Done { kills: 3, power_losses: 4, untested: 2, ..steps(3) };
        assert_eq!(
            line_of("sqlite-long", crashed),
            "sqlite-long                 3 of    5, 2 untested, 3 kills, 4 power losses  not finished, about 1 min left"
        );
        assert!(
            line_of("fuzz", Done::default())
                .ends_with("0 of 1200 s, 0 untested, 0 inputs  not finished, about 20 min left")
        );
        assert!(line_of("template", steps(1)).ends_with("no failure"));
        let failed = Done { failures: ["a".to_owned(), "b".to_owned()].into(), ..steps(1) };
        assert!(line_of("template", failed).ends_with("FAILED: see a b"));
    }

    #[test]
    fn what_is_left_is_estimated_by_the_mean_of_what_was_done() {
        let mut rows = finished();
        assert_eq!(estimate(&rows, 1), "about 0 min are left");
        rows[0].1 = steps(90);
        assert_eq!(estimate(&rows, 1), "about 5 min are left");
        assert_eq!(estimate(&rows, 2), "about 3 min are left");
        (rows[1].1, rows[2].1) = (Done::default(), Done::default());
        assert_eq!(estimate(&rows, 1), "about 5 min are left, not counting rows that were not begun (2)");
    }

    #[test]
    fn the_figures_are_those_of_the_documentation() {
        let documented = include_str!("../../docs/reliability.md");
        for (what, figure) in figures(&made_up(&[])) {
            assert!(documented.contains(&format!("\n| {what} | `scripts/soak` | ")), "{what}");
            assert_eq!(figure, "", "{what}");
        }
    }

    #[test]
    fn the_figures_are_sums() {
        let log = || ["a log".to_owned()].into();
        let inputs = [("key".to_owned(), 7), ("frame".to_owned(), 0), ("history".to_owned(), 5)].into();
        let rows = made_up(&[
            ("mem", Done { kills: 1, ..steps(2) }),
            ("sqlite", Done { kills: 3, power_losses: 9, failures: log(), ..steps(4) }),
            ("sqlite-long", Done { kills: 2, ..steps(1) }),
            (BROKEN, Done { kills: 99, failures: log(), ..steps(6) }),
            (MATRIX, Done { cases: 11, catching_none: 1, ..steps(3) }),
            ("load-mem", steps(130)),
            ("fuzz", Done { inputs, ..steps(60) }),
        ]);
        let nothing = "0 turns, grown by 0 threads, 0 tasks, 0 files, 0 KiB";
        let loads =
            format!("load-mem 2 min, {nothing}; load-sqlite 0 min, {nothing}; load-rocksdb 0 min, {nothing}; 0");
        let figures = figures(&rows).map(|(_, figure)| figure);
        let expected = [
            "mem 1, sqlite 5",
            "sqlite 9",
            "mem 2, sqlite 5; 1",
            "6; 1",
            "11; 1",
            &*loads,
            "history 5, key 7; nothing",
        ];
        assert_eq!(figures, expected);
    }
}
