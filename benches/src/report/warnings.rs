//! What keeps the figures of a run from meaning what they seem to.

use super::{
    Report, Series,
    tables::{bytes, counted, digits},
};

/// From what spread of the runs on a figure says little.
const UNSTEADY: f64 = 1.0;

impl Report {
    /// What a reader has to know before any figure, a sentence each: that the machine was busy, that the records exceed its
    /// memory, that there was one run, or that runs differed widely.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        [self.busy(), self.exceeds_memory(), self.ran_once(), self.unsteady()].into_iter().flatten().collect()
    }

    fn busy(&self) -> Option<String> {
        let (load, cores) = (self.machine.load_before?, self.machine.cores?);
        #[expect(clippy::cast_precision_loss, reason = "there are few cores")]
        let is_busy = load > cores as f64;
        let cores = counted(cores, "core");
        is_busy.then(|| {
            format!("the machine was busy before the run, at a load average of {load:.2} on {cores}: measure when it is idle")
        })
    }

    fn exceeds_memory(&self) -> Option<String> {
        let memory = self.machine.memory_bytes?;
        let needed = self.plan.record_bytes();
        (needed > memory).then(|| {
            let (needed, memory) = (bytes(needed), bytes(memory));
            format!("the records of a store take {needed}, of {memory} of memory: the disk decides its reads, too")
        })
    }

    fn ran_once(&self) -> Option<String> {
        let once = self.plan.runs == 1 && !self.load.is_empty();
        once.then(|| "each row is of one run: differences below a factor of two mean nothing".into())
    }

    fn unsteady(&self) -> Option<String> {
        let unsteady: Vec<(&Series, f64)> = self
            .load
            .iter()
            .filter_map(|series| Some((series, series.spread()?)))
            .filter(|(_, spread)| *spread > UNSTEADY)
            .collect();
        let (worst, spread) = unsteady.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let Series { subject, workload, clients, .. } = worst;
        Some(format!(
            "the runs of {} of {} figures lie further apart than 100 %, most of all those of {subject} ({workload}, {}: {} %): \
             read factors of two, not digits",
            unsteady.len(),
            self.load.len(),
            counted(*clients, "client"),
            digits(spread * 100.0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::report::sample;

    #[test]
    fn a_quiet_run_draws_no_warning() {
        let mut report = sample::report();
        report.plan.runs = 3;
        assert_eq!(report.warnings(), [""; 0]);
    }

    #[test]
    fn a_busy_machine_large_records_one_run_and_runs_apart_are_told() {
        let mut report = sample::report();
        report.machine.load_before = Some(2.5);
        report.plan.records = 1_000_000;
        report.plan.value_len = 10_000;
        report.load[1].runs[0].per_second = 5000.0;
        let told = report.warnings();
        let parts = [
            "a load average of 2.50 on 2 cores",
            "take 9.31 GiB, of 8.00 GiB of memory",
            "one run",
            "1 of 3 figures lie further apart than 100 %, most of all those of ours (set, 64 clients: 150 %)",
        ];
        assert_eq!(told.len(), parts.len(), "{told:?}");
        assert!(told.iter().zip(parts).all(|(told, part)| told.contains(part)), "{told:?}");
        let (terminal, markdown, page, data) =
            (report.to_string(), report.to_markdown(), report.to_html(), report.to_json());
        for warning in told {
            for shown in [&terminal, &markdown, &page, &data] {
                assert!(shown.contains(&warning), "{warning}\nis not in\n{shown}");
            }
        }
    }
}
