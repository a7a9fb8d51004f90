//! A witness as a drawing: a row per process, a bar per operation, time from left to right.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, from_fn},
};

use super::text;
use crate::history::{Bar, Witness, columns};

/// The width of a character of a label, a little more than most fonts need.
const CHARACTER: usize = 8;
/// The height of a row and of the bars in it.
const ROW: usize = 34;
const BAR: usize = 24;
/// Where the bars begin, behind the names of the processes.
const NAMES: usize = 100;

pub(super) fn timeline(witness: &Witness) -> impl Display {
    from_fn(move |f| Drawing::of(witness).write(f))
}

struct Drawing<'w> {
    witness: &'w Witness,
    processes: Vec<u64>,
    /// Where each event lies.
    columns: Vec<usize>,
    width: usize,
}

impl<'w> Drawing<'w> {
    fn of(witness: &'w Witness) -> Self {
        let labels: Vec<String> = witness.bars.iter().map(|bar| bar.label.clone()).collect();
        let (columns, width) = columns(witness, &labels);
        let processes: BTreeSet<u64> = witness.bars.iter().map(|bar| bar.process).collect();
        Self {
            witness,
            processes: processes.into_iter().collect(),
            columns: columns.into_iter().map(|column| NAMES + column * CHARACTER).collect(),
            width: NAMES + width * CHARACTER,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { witness, processes, width, .. } = self;
        let sentence = text(&witness.sentence);
        let (bottom, right) = (processes.len() * ROW, width + CHARACTER);
        let height = bottom + ROW;
        write!(
            f,
            "<figure tabindex=\"0\"><svg class=\"timeline\" role=\"img\" aria-label=\"{sentence}\" width=\"{right}\" \
             height=\"{height}\" viewBox=\"0 0 {right} {height}\">"
        )?;
        for (row, process) in processes.iter().enumerate() {
            let middle = row * ROW + ROW / 2;
            write!(f, "<line class=\"axis\" x1=\"{NAMES}\" y1=\"{middle}\" x2=\"{right}\" y2=\"{middle}\"/>")?;
            write!(f, "<text class=\"name\" x=\"0\" y=\"{}\">process {process}</text>", middle + 4)?;
        }
        witness.bars.iter().try_for_each(|bar| self.bar(bar, f))?;
        write!(
            f,
            "<text class=\"time\" x=\"{NAMES}\" y=\"{}\">time →</text></svg><figcaption>Key <code>{}</code>, absent at \
             first: {} of its {} operations. {sentence}</figcaption></figure>",
            bottom + ROW / 2,
            text(&witness.key.escape_default().to_string()),
            witness.bars.len(),
            witness.of,
        )
    }

    /// An operation; one without an end goes on to the right edge.
    fn bar(&self, bar: &Bar, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.processes.binary_search(&bar.process).unwrap_or_default();
        let (left, top) = (self.columns[bar.start], row * ROW + (ROW - BAR) / 2);
        let right = bar.end.map_or(self.width, |end| self.columns[end] + CHARACTER);
        let group = if bar.impossible { "operation impossible" } else { "operation" };
        let rectangle = if bar.end.is_some() { "bar" } else { "bar open" };
        let label = text(&bar.label);
        write!(
            f,
            "<g class=\"{group}\"><title>process {}: {label}{}</title><rect class=\"{rectangle}\" x=\"{left}\" y=\"{top}\" \
             width=\"{}\" height=\"{BAR}\" rx=\"5\"/><text x=\"{}\" y=\"{}\">{label}</text></g>",
            bar.process,
            if bar.impossible { " (impossible)" } else { "" },
            right - left,
            left + 2 * CHARACTER,
            top + BAR / 2 + 5,
        )
    }
}
