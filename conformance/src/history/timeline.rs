//! A witness as text: a row per process, a bar per operation, time from left to right.

use std::{collections::BTreeMap, fmt};

use super::Witness;

/// The columns that the bars may take before labels become numbers, and after that the rows go on below.
const COLUMNS: usize = 100;

/// The space around a label: two ends and two blanks.
const FRAME: usize = 4;

pub(super) fn draw(witness: &Witness, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (count, of) = (witness.bars.len(), witness.of);
    let others = if count == of { "" } else { "; no other wrote what these can have seen" };
    writeln!(f, "key \"{}\", absent at first: {count} of its {of} operations{others}", witness.key.escape_default())?;
    let labels: Vec<_> = witness.bars.iter().map(|bar| bar.label.clone()).collect();
    let drawing = Drawing::of(witness, &labels);
    if drawing.width <= COLUMNS {
        drawing.write(f)?;
    } else {
        let numbers: Vec<_> = (1..=labels.len()).map(|number| number.to_string()).collect();
        Drawing::of(witness, &numbers).write(f)?;
        for (bar, number) in witness.bars.iter().zip(&numbers) {
            let mark = if bar.impossible { IMPOSSIBLE } else { "" };
            writeln!(f, "  {number:>3}  process {}: {}{mark}", bar.process, bar.label)?;
        }
    }
    write!(f, "{}", witness.sentence)
}

const IMPOSSIBLE: &str = "  ◀ impossible";

struct Drawing {
    rows: BTreeMap<u64, Row>,
    width: usize,
}

#[derive(Default)]
struct Row {
    cells: Vec<char>,
    impossible: bool,
}

impl Drawing {
    fn of(witness: &Witness, labels: &[String]) -> Self {
        let (columns, width) = columns(witness, labels);
        let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
        for (bar, label) in witness.bars.iter().zip(labels) {
            let row = rows.entry(bar.process).or_default();
            row.bar(columns[bar.start], bar.end.map(|end| columns[end]), width, label, bar.impossible);
        }
        Self { rows, width }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut from = 0;
        while from < self.width {
            let to = self.cut(from);
            for (process, row) in &self.rows {
                let cells: String = row.cells.iter().take(to).skip(from).collect();
                if cells.trim().is_empty() {
                    continue;
                }
                let mark = if row.impossible && to == self.width { IMPOSSIBLE } else { "" };
                writeln!(f, "  process {process:<4} {}{mark}", cells.trim_end())?;
            }
            from = to;
            if from < self.width {
                writeln!(f)?;
            }
        }
        Ok(())
    }

    /// Where a line that begins at a column ends: at the width, but not inside a label.
    fn cut(&self, from: usize) -> usize {
        let end = from + COLUMNS;
        if end >= self.width {
            return self.width;
        }
        let is_text = |row: &Row, at: usize| row.cells.get(at).is_some_and(char::is_ascii_graphic);
        let splits = |at: &usize| self.rows.values().any(|row| is_text(row, at - 1) && is_text(row, *at));
        (from + 1..=end).rev().find(|at| !splits(at)).unwrap_or(end)
    }
}

/// The column of each event, as close as order and labels allow, and the width that they need together.
pub(crate) fn columns(witness: &Witness, labels: &[String]) -> (Vec<usize>, usize) {
    let bars = || witness.bars.iter().zip(labels).map(|(bar, label)| (bar, label.chars().count() + FRAME));
    let ends: BTreeMap<_, _> = bars().filter_map(|(bar, length)| Some((bar.end?, (bar.start, length)))).collect();
    let events = witness.bars.len() + ends.len();
    let mut columns: Vec<usize> = Vec::with_capacity(events);
    for event in 0..events {
        let after_the_last = columns.last().map_or(0, |last| last + 1);
        let after_its_label = ends.get(&event).map_or(0, |&(start, length)| columns[start] + length - 1);
        columns.push(after_the_last.max(after_its_label));
    }
    let open = bars().filter(|(bar, _)| bar.end.is_none()).map(|(bar, length)| columns[bar.start] + length);
    let width = open.chain(columns.last().map(|last| last + 1)).max().unwrap_or(0);
    (columns, width)
}

impl Row {
    /// Draws a bar between two columns; one without an end goes on to the right edge.
    fn bar(&mut self, from: usize, to: Option<usize>, width: usize, label: &str, impossible: bool) {
        let (left, line, right) = if impossible { ('┣', '━', '┫') } else { ('├', '─', '┤') };
        let (last, line, right) = to.map_or((width - 1, '┄', '┄'), |to| (to, line, right));
        self.cells.resize(self.cells.len().max(last + 1), ' ');
        self.cells[from..last].fill(line);
        self.cells[from] = left;
        self.cells[last] = right;
        let text = [' '].into_iter().chain(label.chars()).chain([' ']);
        self.cells[from + 1..].iter_mut().zip(text).for_each(|(cell, char)| *cell = char);
        self.impossible |= impossible;
    }
}
