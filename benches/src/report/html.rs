//! A report as one HTML page, which needs nothing besides itself: no network, no font, no script.

use std::fmt::{self, Display, from_fn};

use store_api::Durability;

use super::{
    CheckedSubject, Latency, Report,
    plot::{Bar, Bars, Line, Plot, all},
    tables::{DURABILITIES, Row, Section, bytes, counted, grouped, rate, survives, time},
};
use crate::{Role, Stage, Workload};

/// How many colours the style sheet has.
const COLOURS: usize = 10;

impl Report {
    /// The report as a page of HTML, to be kept in a file: the ratios to look at first, the plots, and every table.
    ///
    /// What stands in it, such as the name of a subject, is text wherever it came from.
    #[must_use]
    pub fn to_html(&self) -> String {
        let sections = self.sections();
        let (rest, first): (Vec<_>, Vec<_>) = sections.iter().partition(|section| is_detail(section));
        let machine = self.machine.lines();
        format!(
            include_str!("html/page.html"),
            title = text(&format!("Benchmarks: {}", self.title())),
            style = include_str!("html/page.css"),
            headline = text(&self.title()),
            run = text(&format!("irminsul benchmarks {} · {} · {}", self.version, self.settings(), self.command)),
            machine = all(&machine, |f, (name, fact)| write!(f, "<dt>{}</dt><dd>{}</dd>", text(name), text(fact))),
            warnings = all(&self.warnings(), |f, warning| {
                writeln!(f, "<p class=\"warning\">Warning: {}</p>", text(warning))
            }),
            first = all(&first, |f, section| table(f, section)),
            plots = self.plots(),
            tables = all(&rest, |f, section| {
                write!(f, "<details><summary>{}</summary>", text(&section.title))?;
                table(f, section)?;
                writeln!(f, "</details>")
            }),
        )
    }

    /// Durable writes by the number of clients as a picture that stands by itself, where there is a line to show.
    pub(super) fn to_svg(&self) -> Option<String> {
        let plot = self.throughput(Workload::Set, Durability::Power);
        if plot.is_empty() || plot.places.len() < 2 {
            return None;
        }
        let style = format!("<style>{}</style>", include_str!("html/page.css"));
        let alone = plot.to_string().replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
        Some(alone.replacen("<title>", &format!("{style}<title>"), 1))
    }

    fn title(&self) -> String {
        let stores = self.subjects.iter().filter(|subject| subject.facts.role != Role::Floor).count();
        let measured = counted(stores, "store");
        if self.headlines.is_empty() {
            return measured;
        }
        let met = self.headlines.iter().filter(|headline| headline.is_met == Some(true)).count();
        format!("{measured}, {met} of {} targets met", self.headlines.len())
    }

    /// What tells a subject apart: its colour, which the raw engine below it has too, and its role.
    fn class(&self, name: &str) -> String {
        let index = |name: &str| self.subjects.iter().position(|subject| subject.facts.name == name);
        let Some(subject) = index(name).map(|index| &self.subjects[index]) else { return String::new() };
        // A raw engine is the first in the list that has no other below it, so that its place is the pair's.
        let colour = subject.facts.beside.as_deref().and_then(index).or(index(name)).unwrap_or_default();
        format!("c{} {}", colour % COLOURS, role(subject.facts.role))
    }

    fn plots(&self) -> impl Display {
        from_fn(move |f| {
            for durability in DURABILITIES {
                let basic = self.workloads().into_iter().filter(|workload| workload.is_basic());
                let load = basic.flat_map(|workload| {
                    [self.throughput(workload, durability), self.percentiles(workload, durability)]
                });
                figures(f, &format!("Where a write {}", survives(durability)), load)?;
            }
            self.ratios(f)?;
            figures(f, "Growth", self.growth_plots())
        })
    }

    fn lines<'a>(
        &'a self,
        durability: Durability,
        values: impl Fn(&str) -> Vec<Option<f64>> + 'a,
    ) -> impl Iterator<Item = Line> + 'a {
        self.subjects_with(durability).map(move |CheckedSubject { facts, .. }| Line {
            name: facts.name.clone(),
            class: self.class(&facts.name),
            values: values(&facts.name),
        })
    }

    fn throughput(&self, workload: Workload, durability: Durability) -> Plot {
        let clients = self.clients_of(workload);
        let of = |name: &str| {
            clients.iter().map(|clients| Some(self.series(name, workload, *clients)?.per_second())).collect()
        };
        Plot {
            title: format!("{workload}: operations per second, by clients"),
            across: "clients",
            places: clients.iter().map(usize::to_string).collect(),
            lines: self.lines(durability, of).collect(),
            value: rate,
        }
    }

    fn percentiles(&self, workload: Workload, durability: Durability) -> Plot {
        let clients = self.plan.typical_clients.get();
        let latency = |name: &str| Some(self.series(name, workload, clients)?.latency());
        let of = |name: &str| latency(name).iter().flat_map(Latency::points).collect();
        Plot {
            title: format!("{workload}: time of an operation, by percentile, with {}", counted(clients, "client")),
            across: "of the operations",
            places: Latency::NAMES.map(Into::into).into(),
            lines: self.lines(durability, of).collect(),
            value: time,
        }
    }

    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bars = Vec::new();
        for (subject, raw) in self.pairs() {
            let name = &subject.facts.name;
            for series in self.load.iter().filter(|series| series.subject == *name && series.workload.is_basic()) {
                let (workload, clients) = (series.workload, series.clients);
                let Some(ratio) = self.throughput_ratio(workload, (name, clients), (raw, clients)) else { continue };
                let told = format!("{name}: {workload}, {}", counted(clients, "client"));
                bars.push(Bar { name: told, class: self.class(name), ratio });
            }
        }
        if bars.is_empty() {
            return Ok(());
        }
        let title = "Operations per second, as multiples of the raw engine's".to_owned();
        writeln!(
            f,
            "<section><h2>Beside the raw engines</h2>{}</section>",
            figure(&title, &Bars { title: title.clone(), bars })
        )
    }

    fn growth_plots(&self) -> impl Iterator<Item = Plot> {
        let mut records: Vec<u64> = Vec::new();
        for stage in self.growth.iter().flat_map(|growth| &growth.stages) {
            if !records.contains(&stage.records) {
                records.push(stage.records);
            }
        }
        records.sort_unstable();
        GROWTH.iter().map(move |(title, figure, value)| Plot {
            title: (*title).into(),
            across: "records",
            places: records.iter().map(|count| grouped(*count)).collect(),
            lines: self
                .growth
                .iter()
                .map(|growth| {
                    let stage = |count: &u64| growth.stages.iter().find(|stage| stage.records == *count);
                    let values = records.iter().map(|count| stage(count).and_then(figure)).collect();
                    Line { name: growth.subject.clone(), class: self.class(&growth.subject), values }
                })
                .collect(),
            value: *value,
        })
    }
}

type Figure = fn(&Stage) -> Option<f64>;
type Written = fn(f64) -> String;

const GROWTH: [(&str, Figure, Written); 5] = [
    ("find: time of half of the operations", |stage| Some(stage.find.p50_us), time),
    ("set: time of half of the operations", |stage| Some(stage.set.p50_us), time),
    ("memory of the process", |stage| stage.resident_bytes.map(as_f64), as_bytes),
    ("bytes on disk", |stage| stage.disk_bytes.map(as_f64), as_bytes),
    ("open and read one record", |stage| stage.reopen_us, time),
];

/// Whether a table is for those who want to know it all.
fn is_detail(section: &Section) -> bool {
    section.title == "One call after another"
        || section.title.contains(", where a write ")
        || section.title.starts_with("Growth")
}

fn as_f64(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a plot shows three digits")]
    let count = count as f64;
    count
}

fn as_bytes(count: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a count of bytes")]
    bytes(count as u64)
}

fn figures(f: &mut fmt::Formatter<'_>, title: &str, plots: impl Iterator<Item = Plot>) -> fmt::Result {
    let mut plots = plots.filter(|plot| !plot.is_empty()).peekable();
    if plots.peek().is_none() {
        return Ok(());
    }
    writeln!(f, "<section><h2>{}</h2><div class=\"plots\">", text(title))?;
    plots.try_for_each(|plot| writeln!(f, "{}", figure(&plot.title, &plot)))?;
    writeln!(f, "</div></section>")
}

fn figure(title: &str, plot: &impl Display) -> impl Display {
    from_fn(move |f| write!(f, "<figure><figcaption>{}</figcaption>{plot}</figure>", text(title)))
}

fn table(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    let Section { title, about, head, rows } = section;
    writeln!(f, "<section><h2>{}</h2><p class=\"quiet\">{}</p>", text(title), text(about))?;
    writeln!(f, "<div class=\"wide\" role=\"region\" aria-label=\"{}\" tabindex=\"0\"><table>", text(title))?;
    write!(f, "<thead><tr>{}</tr></thead>", all(head, |f, name| write!(f, "<th scope=\"col\">{}</th>", text(name))))?;
    writeln!(f, "<tbody>{}</tbody></table></div></section>", all(rows, row))
}

fn row(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    write!(f, "<tr class=\"{}\">", row.role.map_or("", role))?;
    if let Some((name, figures)) = row.cells.split_first() {
        write!(f, "<th scope=\"row\">{}</th>", text(name))?;
        figures.iter().try_for_each(|cell| write!(f, "<td>{}</td>", text(cell)))?;
    }
    writeln!(f, "</tr>")
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Ours => "ours",
        Role::Raw => "raw",
        Role::Peer => "peer",
        Role::Floor => "floor",
    }
}

/// Text as HTML, in an element or in a quoted attribute.
pub(super) fn text(text: &str) -> impl Display {
    from_fn(move |f| {
        text.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => write!(f, "{other}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::report::sample;

    #[test]
    fn whatever_a_subject_is_called_is_text() {
        let hostile = "</svg><script>alert(1)</script>\"'><img src=x>";
        let mut report = sample::report();
        report.command = hostile.into();
        for subject in &mut report.subjects {
            subject.facts.name = subject.facts.name.replace("ours", hostile);
        }
        for series in &mut report.load {
            series.subject = series.subject.replace("ours", hostile);
        }
        let page = report.to_html();
        for element in ["<script", "<img", "'><"] {
            assert_eq!(page.matches(element).count(), 0, "{element}");
        }
        assert!(page.contains("&lt;/svg&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn the_store_that_does_nothing_is_not_counted() {
        let mut report = sample::report();
        report.subjects.push(super::CheckedSubject::new(sample::facts("nothing", super::Role::Floor), None));
        assert!(report.to_html().contains("<h1>2 stores, "));
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = sample::report().to_html();
        for link in ["http:", "https:", "src=", "@import", "url(", "<link", "<script"] {
            assert!(!page.contains(link), "{link}");
        }
    }

    #[test]
    fn a_picture_is_of_durable_writes_by_several_numbers_of_clients() {
        let mut report = sample::report();
        let picture = report.to_svg().unwrap();
        assert!(picture.starts_with("<svg xmlns") && picture.ends_with("</svg>") && picture.contains(">ours</text>"));
        report.load.retain(|series| series.clients == 1);
        assert!(report.to_svg().is_none());
    }

    #[test]
    fn a_page_without_findings_says_so_and_has_no_plot() {
        let report = sample::report();
        let empty = super::Report::new("bench", report.machine, report.plan).to_html();
        assert!(empty.contains("<h1>0 stores</h1>") && !empty.contains("<svg"));
    }
}
