//! The tables of a report, as text: a terminal, a page of Markdown and one of HTML show the same.

use store_api::{Durability, Visibility};

use super::{
    CheckedSubject, Report, Series, Single,
    headline::{Measured, Target},
};
use crate::{Driven, Growth, Latency, Role, Stage, Workload};

/// A table with what has to be known to read it.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Row>,
}

impl Section {
    /// The same without the columns that are empty in every row.
    fn without_empty_columns(mut self) -> Self {
        let is_told = |column: usize| self.rows.iter().any(|row| !row.cells[column].is_empty());
        let told: Vec<bool> = (0..self.head.len()).map(is_told).collect();
        let keep = |cells: &mut Vec<String>| {
            let mut told = told.iter();
            cells.retain(|_| *told.next().expect("a row has a cell for each column"));
        };
        keep(&mut self.head);
        self.rows.iter_mut().for_each(|row| keep(&mut row.cells));
        self
    }
}

pub(super) struct Row {
    /// Whose it is, where it is a subject's.
    pub(super) role: Option<Role>,
    pub(super) cells: Vec<String>,
}

/// The durabilities in the order of their tables.
pub(crate) const DURABILITIES: [Durability; 4] =
    [Durability::Power, Durability::Process, Durability::Volatile, Durability::Service];

/// What an acknowledged write survives, in words.
pub(super) fn survives(durability: Durability) -> &'static str {
    match durability {
        Durability::Power => "survives a power loss",
        Durability::Process => "survives a killed process",
        Durability::Volatile => "survives nothing",
        _ => "is kept by a service",
    }
}

/// Who sees a write, in words.
fn seen_by(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Instance => "one instance",
        Visibility::Process => "the process",
        Visibility::Host => "the host",
        _ => "all machines",
    }
}

impl Report {
    /// All tables that have rows, the ones to look at first.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections =
            vec![self.failed_table(), self.headlines_table(), self.subjects_table(), self.singles_table()];
        sections.extend(DURABILITIES.into_iter().flat_map(|durability| self.load_tables(durability)));
        sections.extend([self.ratios_table(), self.deliveries_table(), self.slow_table(), self.stalls_table()]);
        sections.extend(self.growth_tables());
        sections.extend([self.remote_table(), self.summary_table()]);
        sections.retain(|section| !section.rows.is_empty());
        sections
    }

    fn failed_table(&self) -> Section {
        let row = |failed: &super::Failed| Row { role: None, cells: vec![failed.what.clone(), failed.why.clone()] };
        Section {
            title: "What failed".into(),
            about: "These parts of the run ended with an error, and have no rows below.".into(),
            head: ["what", "why"].map(Into::into).into(),
            rows: self.failed.iter().map(row).collect(),
        }
    }

    fn headlines_table(&self) -> Section {
        let row = |headline: &super::Headline| {
            let unit = headline.unit;
            let target = match headline.target {
                Target::AtLeast(least) => format!("at least {least} {unit}"),
                Target::AtMost(most) => format!("at most {most} {unit}"),
            };
            let measured = headline.measured.map_or_else(|| "-".into(), |measured| in_unit(measured, unit));
            let verdict = match headline.is_met {
                Some(true) => "met",
                Some(false) => "missed",
                None if headline.measured.is_some() => "too close to tell",
                None => "not measured",
            };
            Row { role: None, cells: vec![headline.what.clone(), target, measured, verdict.into()] }
        };
        Section {
            title: "Ratios to look at first".into(),
            about: "Each within this run. A time is that of half of the operations of one client (p50). In brackets, what \
                    the figure lies between with a confidence of 95 %; where the target does as well, there is no verdict."
                .into(),
            head: ["what", "target", "measured", ""].map(Into::into).into(),
            rows: self.headlines.iter().map(row).collect(),
        }
    }

    fn subjects_table(&self) -> Section {
        let are_counted = self.subjects.iter().any(|subject| subject.syncs.is_some());
        let row = |CheckedSubject { facts, syncs, is_checked }: &CheckedSubject| {
            let counted = match (syncs, is_checked) {
                (Some(syncs), Some(true)) => format!("{} for {} writes", syncs.syncs, syncs.writes),
                (Some(syncs), _) => format!("{} for {} writes: NOT AS DURABLE AS IT SAYS", syncs.syncs, syncs.writes),
                (None, _) if are_counted => "not counted".into(),
                (None, _) => String::new(),
            };
            let clients = match facts.driven {
                Driven::Tasks => "tasks",
                Driven::Threads => "threads",
            };
            let note = facts.note.clone().unwrap_or_default();
            let seen_by = facts.visibility.map_or("", seen_by);
            let (survives, cache, version) = (survives(facts.durability), &facts.cache, &facts.version);
            let cells = [&facts.name, survives, seen_by, &counted, cache, version, clients, &note];
            Row { role: Some(facts.role), cells: cells.map(Into::into).into() }
        };
        let about = if are_counted {
            "Syncs are those that the writes of one client caused, on a file system that counts them."
        } else {
            "What a write survives is what the store declares."
        };
        let section = Section {
            title: "What was measured".into(),
            about: about.into(),
            head: ["", "a write ..", "is seen by", "syncs", "cache", "version", "clients are", ""]
                .map(Into::into)
                .into(),
            rows: self.subjects.iter().map(row).collect(),
        };
        section.without_empty_columns()
    }

    fn singles_table(&self) -> Section {
        let mut lens: Vec<u64> = self.singles.iter().map(|single| single.value_len).collect();
        lens.sort_unstable();
        lens.dedup();
        let mut names: Vec<(&str, &str)> = Vec::new();
        for Single { operation, subject, .. } in &self.singles {
            if !names.contains(&(operation, subject)) {
                names.push((operation, subject));
            }
        }
        let row = |(operation, subject): (&str, &str)| {
            let times = lens.iter().map(|len| {
                self.single(operation, subject, *len).map_or_else(|| "-".into(), |median| time(median.value))
            });
            let cells = [operation.to_owned(), subject.to_owned()].into_iter().chain(times).collect();
            Row { role: None, cells }
        };
        Section {
            title: "One call after another".into(),
            about: "The median time of an operation by a single client, with nothing synced, by the length of values. A \
                    scan reads all entries, a list all keys: 10,000, 1,000 or 32, the fewer the longer the values are; a \
                    batch has a thousand values, of 1 MiB sixteen."
                .into(),
            head: ["operation".into(), String::new()]
                .into_iter()
                .chain(lens.iter().map(|len| bytes_or_less(*len)))
                .collect(),
            rows: names.into_iter().map(row).collect(),
        }
    }

    /// What was run, in its order.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        self.load.iter().fold(Vec::new(), |mut found, series| {
            if !found.contains(&series.workload) {
                found.push(series.workload);
            }
            found
        })
    }

    /// The numbers of clients that a workload was run with.
    pub(super) fn clients_of(&self, workload: Workload) -> Vec<usize> {
        let mut clients: Vec<usize> =
            self.load.iter().filter(|series| series.workload == workload).map(|series| series.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    fn load_tables(&self, durability: Durability) -> impl Iterator<Item = Section> {
        let value_len = self.plan.value_len;
        self.workloads().into_iter().map(move |workload| {
            let clients = self.clients_of(workload);
            let row = |subject: &CheckedSubject| {
                let name = &subject.facts.name;
                let series: Vec<_> = clients.iter().map(|clients| self.series(name, workload, *clients)).collect();
                let spread = series.iter().flatten().filter_map(|series| series.spread()).reduce(f64::max);
                let spread = spread.map_or_else(|| "-".into(), |spread| format!("{:.0} %", spread * 100.0));
                let figures = series.iter().map(|series| series.map_or_else(|| "-".into(), figures));
                let cells = [name.clone()].into_iter().chain(figures).chain([spread]);
                series.iter().any(Option::is_some).then(|| Row { role: Some(subject.facts.role), cells: cells.collect() })
            };
            Section {
                title: format!("{workload}, where a write {}", survives(durability)),
                about: format!(
                    "{}; values of {value_len} bytes. Operations per second, p50 / p99; the spread of the runs at its widest.",
                    sentence(&workload.about()),
                ),
                head: [String::new()]
                    .into_iter()
                    .chain(clients.iter().map(|clients| counted(*clients, "client")))
                    .chain(["spread".into()])
                    .collect(),
                rows: self.subjects_with(durability).filter_map(row).collect(),
            }
        })
    }

    /// The subjects that do the same work as another without the contract, with that one.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&CheckedSubject, &str)> {
        self.subjects.iter().filter_map(|subject| Some((subject, subject.facts.beside.as_deref()?)))
    }

    fn ratios_table(&self) -> Section {
        let mut clients: Vec<usize> = self.load.iter().map(|series| series.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        let rows = self.pairs().flat_map(|(subject, raw)| {
            let clients = &clients;
            self.workloads().into_iter().filter_map(move |workload| {
                let name = &subject.facts.name;
                let ratio = |clients: &usize| self.throughput_ratio(workload, (name, *clients), (raw, *clients));
                let ratios: Vec<Option<f64>> = clients.iter().map(ratio).collect();
                ratios.iter().any(Option::is_some).then(|| {
                    let cells = ratios
                        .into_iter()
                        .map(|ratio| ratio.map_or_else(|| "-".into(), |ratio| format!("{} ×", digits(ratio))));
                    let head = [name.clone(), raw.to_owned(), workload.to_string()];
                    Row { role: Some(subject.facts.role), cells: head.into_iter().chain(cells).collect() }
                })
            })
        });
        Section {
            title: "Beside the raw engine".into(),
            about:
                "Operations per second as multiples of those of the raw engine, with as many threads or connections."
                    .into(),
            head: ["", "beside", "workload"]
                .map(Into::into)
                .into_iter()
                .chain(clients.iter().map(|clients| counted(*clients, "client")))
                .collect(),
            rows: rows.collect(),
        }
    }

    fn role_of(&self, name: &str) -> Option<Role> {
        self.subjects.iter().find(|subject| subject.facts.name == name).map(|subject| subject.facts.role)
    }

    fn deliveries_table(&self) -> Section {
        let row = |delivery: &crate::Delivery| {
            let part = |latency: &Latency| [time(latency.p50_us), time_if_told(latency.p99())];
            let none = || ["-".into(), "-".into()];
            let cells = [delivery.subject.clone(), delivery.watchers.to_string(), delivery.changes.to_string()]
                .into_iter()
                .chain(part(&delivery.publish))
                .chain(delivery.delivery.as_ref().map_or_else(none, part));
            Row { role: self.role_of(&delivery.subject), cells: cells.collect() }
        };
        Section {
            title: "Delivery to watchers".into(),
            about:
                "Delivery is from the call that writes until a watcher holds the change, over all watchers of one key; \
                    a change is written when all hold the one before."
                    .into(),
            head: ["", "watchers", "changes", "write p50", "write p99", "delivery p50", "delivery p99"]
                .map(Into::into)
                .into(),
            rows: self.deliveries.iter().map(row).collect(),
        }
    }

    fn slow_table(&self) -> Section {
        let row = |slow: &crate::Slow| {
            let grown = slow.grown_bytes.map_or_else(|| "-".into(), bytes);
            let cells = vec![slow.subject.clone(), grouped(slow.changes as u64), bytes(slow.published_bytes), grown];
            Row { role: self.role_of(&slow.subject), cells }
        };
        Section {
            title: "A watcher that never looks".into(),
            about: "By how much the memory of the process grows while one value changes and a watcher of it sleeps."
                .into(),
            head: ["", "changes", "all values", "memory grows by"].map(Into::into).into(),
            rows: self.slow.iter().map(row).collect(),
        }
    }

    fn stalls_table(&self) -> Section {
        let cores = |cores: Option<f64>| cores.map_or_else(|| "-".into(), |cores| format!("{cores:.2}"));
        let row = |stall: &crate::Stall| {
            let beside_work =
                |part: fn(&Latency) -> Option<f64>| time_if_told(stall.beside_work.as_ref().and_then(part));
            let cells = vec![
                stall.subject.clone(),
                cores(stall.cores),
                cores(stall.work_cores),
                grouped(stall.wakes),
                time_if_told(stall.beside_store.p99()),
                beside_work(Latency::p99),
                time_if_told(stall.beside_store.p999()),
                beside_work(Latency::p999),
            ];
            Row { role: self.role_of(&stall.subject), cells }
        };
        let clients = self.stalls.first().map_or(0, |stall| stall.clients);
        Section {
            title: "A neighbour of a loaded store".into(),
            about: format!(
                "How long a task that has nothing to do with the store waits from wake to poll, while {} read and write, \
                 and beside tasks that keep as many cores at work without a store. With less than 10,000 wakes, p99.9 is made \
                 of fewer than ten. Work below a hundredth of a second is not counted, and compared with nothing.",
                counted(clients, "client"),
            ),
            head: ["", "cores at work", "without", "wakes", "p99", "p99 without", "p99.9", "p99.9 without"]
                .map(Into::into)
                .into(),
            rows: self.stalls.iter().map(row).collect(),
        }
    }

    fn remote_table(&self) -> Section {
        let row = |remote: &crate::Remote| {
            let cells = vec![
                remote.operation.clone(),
                remote.subject.clone(),
                digits(remote.requests),
                bytes_or_less(rounded(remote.bytes)),
                time(remote.p50_us),
            ];
            Row { role: None, cells }
        };
        Section {
            title: "Object stores: what one operation costs".into(),
            about: "One client, one operation after another; requests and the bytes of their bodies, both ways, are counted \
                    on the way to a real server, which each request reaches as late as one that is far away."
                .into(),
            head: ["operation", "", "requests", "bytes", "p50"].map(Into::into).into(),
            rows: self.remote.iter().map(row).collect(),
        }
    }

    /// Every store in one row, whatever its durability, with the clients that all workloads were run with.
    fn summary_table(&self) -> Section {
        let clients = self.plan.typical_clients.get();
        let of = |subject: &CheckedSubject, workload| self.series(&subject.facts.name, workload, clients);
        let is_run = |workload: &Workload| self.subjects.iter().any(|subject| of(subject, *workload).is_some());
        let workloads: Vec<Workload> = self.workloads().into_iter().filter(is_run).collect();
        let row = |subject: &CheckedSubject| {
            let rates: Vec<_> = workloads.iter().map(|workload| of(subject, *workload)).collect();
            let facts = &subject.facts;
            let head =
                [facts.name.as_str(), survives(facts.durability), facts.visibility.map_or("", seen_by)].map(Into::into);
            let rates_told =
                rates.iter().map(|series| series.map_or_else(|| "-".into(), |series| rate(series.per_second())));
            let cells = head.into_iter().chain(rates_told).collect();
            rates.iter().any(Option::is_some).then_some(Row { role: Some(facts.role), cells })
        };
        let section = Section {
            title: "All stores at a glance".into(),
            about: format!(
                "Operations per second with {}. Whoever keeps more does more for each write: what that costs is the difference \
                 between rows whose writes survive different things.",
                counted(clients, "client"),
            ),
            head: ["", "a write ..", "is seen by"]
                .map(Into::into)
                .into_iter()
                .chain(workloads.iter().map(ToString::to_string))
                .collect(),
            rows: self.subjects.iter().filter_map(row).collect(),
        };
        section.without_empty_columns()
    }

    fn growth_tables(&self) -> impl Iterator<Item = Section> {
        let mut records: Vec<u64> =
            self.growth.iter().flat_map(|growth| &growth.stages).map(|stage| stage.records).collect();
        records.sort_unstable();
        records.dedup();
        GROWTH.iter().map(move |(title, figure)| {
            let row = |growth: &Growth| {
                let stage = |count: &u64| growth.stages.iter().find(|stage| stage.records == *count);
                let figures = records.iter().map(|count| stage(count).and_then(figure).unwrap_or_else(|| "-".into()));
                let cells = [growth.subject.clone()].into_iter().chain(figures).collect();
                Row { role: self.role_of(&growth.subject), cells }
            };
            Section {
                title: (*title).into(),
                about: format!("One client, values of {} bytes, by the number of records.", self.plan.value_len),
                head: [String::new()].into_iter().chain(records.iter().map(|count| grouped(*count))).collect(),
                rows: self.growth.iter().map(row).collect(),
            }
        })
    }
}

type Figure = fn(&Stage) -> Option<String>;

const GROWTH: [(&str, Figure); 6] = [
    ("Growth: find, p50 / p99", |stage| Some(both(&stage.find))),
    ("Growth: set, p50 / p99", |stage| Some(both(&stage.set))),
    ("Growth: records added in a second", |stage| Some(rate(stage.filled_per_second))),
    ("Growth: memory of the process", |stage| stage.resident_bytes.map(bytes)),
    ("Growth: bytes on disk", |stage| stage.disk_bytes.map(bytes)),
    ("Growth: open and read one record", |stage| stage.reopen_us.map(time)),
];

fn figures(series: &Series) -> String {
    format!("{}, {}", rate(series.per_second()), both(&series.latency()))
}

fn both(latency: &Latency) -> String {
    let [p50, _, p99, ..] = latency.points().map(time_if_told);
    format!("{p50} / {p99}")
}

/// A figure, and in brackets the interval that it lies in, where there is one.
fn in_unit(Measured { value, between: (low, high) }: Measured, unit: &str) -> String {
    if low < high {
        format!("{} {unit} ({} to {})", digits(value), digits(low), digits(high))
    } else {
        format!("{} {unit}", digits(value))
    }
}

fn time_if_told(us: Option<f64>) -> String {
    us.map_or_else(|| "-".into(), time)
}

fn sentence(words: &str) -> String {
    let (first, rest) = words.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

/// Three digits of a number.
pub(super) fn digits(number: f64) -> String {
    match number.abs() {
        small if small < 10.0 => format!("{number:.2}"),
        medium if medium < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

fn scaled(number: f64, units: &[(f64, &str)]) -> String {
    let at_least = units.iter().rev().find(|(size, _)| number >= *size * 0.9995).or(units.first());
    at_least.map_or_else(|| digits(number), |(size, unit)| format!("{}{unit}", digits(number / size)))
}

/// Operations per second.
pub(super) fn rate(per_second: f64) -> String {
    scaled(per_second, &[(1.0, "/s"), (1e3, " k/s"), (1e6, " M/s")])
}

/// A time that is given in microseconds.
pub(crate) fn time(us: f64) -> String {
    scaled(us, &[(1e-3, " ns"), (1.0, " µs"), (1e3, " ms"), (1e6, " s")])
}

/// A number of bytes, to three digits: `64.0 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    scaled(count as f64, &[(1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of counts")]
fn rounded(count: f64) -> u64 {
    count.round() as u64
}

/// The length of a value.
fn bytes_or_less(len: u64) -> String {
    if len < 1024 { format!("{len} B") } else { bytes(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(
            [0.25, 9.994, 9.996, 99.96, 1234.0].map(time),
            ["250 ns", "9.99 µs", "10.00 µs", "100.0 µs", "1.23 ms"]
        );
        assert_eq!([7.0, 1500.0, 2.5e6].map(rate), ["7.00/s", "1.50 k/s", "2.50 M/s"]);
        assert_eq!([0, 2048, 3 << 30].map(bytes), ["0.00 KiB", "2.00 KiB", "3.00 GiB"]);
        assert_eq!([1, 1000, 1_234_567].map(grouped), ["1", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_table_has_the_subjects_of_one_durability_and_a_column_for_each_number_of_clients() {
        let report = super::super::sample::report();
        let sections = report.sections();
        let table = sections.iter().find(|section| section.title.starts_with("set, where")).unwrap();
        assert_eq!(table.title, "set, where a write survives a power loss");
        assert_eq!(table.head, ["", "1 client", "64 clients", "spread"]);
        let cells: Vec<_> = table.rows.iter().map(|row| row.cells.join("|")).collect();
        assert_eq!(
            cells,
            ["ours|100/s, 10.0 µs / 20.0 µs|2.00 k/s, 10.0 µs / 20.0 µs|50 %", "raw|110/s, 10.0 µs / 20.0 µs|-|-"]
        );
        assert!(sections.iter().all(|section| section.rows.iter().all(|row| row.cells.len() == section.head.len())));
    }

    #[test]
    fn a_column_in_which_nothing_is_told_is_left_out() {
        let mut report = super::super::sample::report();
        assert_eq!(report.subjects_table().head, ["", "a write ..", "syncs", "cache", "version", "clients are"]);
        report.subjects[0].syncs = None;
        report.subjects[0].facts.visibility = Some(Visibility::Host);
        let table = report.subjects_table();
        assert_eq!(table.head, ["", "a write ..", "is seen by", "cache", "version", "clients are"]);
        assert_eq!(table.rows[0].cells.join("|"), "ours|survives a power loss|the host|64 MiB|1.2.3|tasks");
    }

    #[test]
    fn the_last_table_has_a_row_for_each_store_whatever_its_durability() {
        let mut report = super::super::sample::report();
        report.subjects[1].facts.durability = Durability::Process;
        report.load.push(Series { subject: "raw".into(), ..report.load[1].clone() });
        let sections = report.sections();
        let cells: Vec<_> = sections.last().unwrap().rows.iter().map(|row| row.cells.join("|")).collect();
        assert_eq!(cells, ["ours|survives a power loss|2.00 k/s", "raw|survives a killed process|2.00 k/s"]);
    }

    #[test]
    fn a_ratio_is_of_the_same_workload_with_as_many_clients() {
        let report = super::super::sample::report();
        let ratios = report.ratios_table();
        assert_eq!(ratios.rows.len(), 1);
        assert_eq!(ratios.rows[0].cells, ["ours", "raw", "set", "0.91 ×", "-"]);
    }
}
