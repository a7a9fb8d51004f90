//! A report for a terminal, and as Markdown: the machine, then the tables.

use std::fmt::{self, Display, from_fn};

use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::{Report, tables::Section};

/// The machine, the settings, and each table under its title.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "irminsul benchmarks {}: {}", self.version, line(&self.command))?;
        self.machine.lines().iter().try_for_each(|(name, fact)| writeln!(f, "  {name}: {}", line(fact)))?;
        writeln!(f, "  {}", self.settings())?;
        self.warnings().iter().try_for_each(|warning| writeln!(f, "  WARNING: {}", line(warning)))?;
        writeln!(f)?;
        for section in self.sections() {
            let mut table = table(&section, |cell| line(cell).to_string());
            table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─')));
            writeln!(f, "{}\n{}\n\n{}\n", section.title, section.about, table.trim_fmt())?;
        }
        Ok(())
    }
}

impl Report {
    /// The same as a page of Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let machine = self.machine.lines();
        let machine = machine.iter().map(|(name, fact)| format!("- {name}: {}\n", line(fact)));
        let sections = self.sections();
        let sections = sections.iter().map(|section| {
            let mut table = table(section, markdown);
            table.load_style(presets::ASCII_MARKDOWN);
            format!("\n## {}\n\n{}\n\n{}\n", section.title, section.about, table.trim_fmt())
        });
        let title = "# One run of the benchmarks\n\n";
        let told = [format!("{title}- command: `{}`\n", line(&self.command))].into_iter();
        let warnings = self.warnings().into_iter().map(|warning| format!("- **warning**: {}\n", markdown(&warning)));
        told.chain(machine).chain([format!("- {}\n", self.settings())]).chain(warnings).chain(sections).collect()
    }

    pub(super) fn settings(&self) -> String {
        let plan = &self.plan;
        format!(
            "{} records, {} × {:?} after {:?} of warm-up for each row, seed {}",
            super::tables::grouped(plan.records as u64),
            plan.runs,
            plan.duration,
            plan.warm_up,
            plan.seed,
        )
    }
}

fn table(section: &Section, shown: impl Fn(&str) -> String) -> Table {
    let mut table = Table::new();
    table.set_header(section.head.iter().map(|cell| shown(cell)));
    for row in &section.rows {
        table.add_row(row.cells.iter().map(|cell| shown(cell)));
    }
    // Figures stand below each other; the last column may be a sentence.
    let figures = section.head.len().saturating_sub(2);
    for column in table.column_iter_mut().skip(1).take(figures) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Text on one line that moves no terminal: what controls one is escaped.
fn line(text: &str) -> impl Display {
    from_fn(move |f| {
        text.chars().try_for_each(|character| match character {
            control if control.is_control() => write!(f, "{}", control.escape_default()),
            other => write!(f, "{other}"),
        })
    })
}

/// Text on one line of a table of Markdown, in which it ends no cell and begins no element.
fn markdown(text: &str) -> String {
    line(text).to_string().replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use crate::report::sample;

    #[test]
    fn a_terminal_and_markdown_show_the_same_tables() {
        let report = sample::report();
        let (shown, markdown) = (report.to_string(), report.to_markdown());
        for told in ["set, where a write survives a power loss", "2.00 k/s, 10.0 µs / 20.0 µs", "101 for 100 writes"]
        {
            assert!(shown.contains(told) && markdown.contains(told), "{told}\nis not in\n{shown}\n{markdown}");
        }
        assert!(markdown.contains("\n## Beside the raw engine\n"));
        assert!(markdown.contains("|---"), "{markdown}");
    }

    #[test]
    fn whatever_a_subject_is_called_stays_in_its_cell() {
        let mut report = sample::report();
        report.subjects[0].facts.name = "a|b<img>".into();
        let markdown = report.to_markdown();
        assert!(markdown.contains("| a\\|b&lt;img> ") && !markdown.contains("<img"), "{markdown}");
    }

    #[test]
    fn whatever_a_subject_is_called_moves_no_terminal() {
        let mut report = sample::report();
        report.subjects[0].facts.name = "\u{1b}[2J\n".into();
        assert!(report.to_string().chars().all(|c| c == '\n' || !c.is_control()));
    }
}
