//! A report as JSON, for programs.

use serde::Serialize;

use super::Report;

impl Report {
    /// The report as an object of JSON, indented.
    ///
    /// Its fields are those of [`Report`] by their names, which are stable; more may be added. A time ends in `_us` and is
    /// in microseconds. Its `warnings` are those of [`Report::warnings`]. What else is worked out from the runs, such as the median, is left to whoever reads it.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "only maps whose keys are not text fail, and there is none")]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&Titled { benchmarks: "irminsul", warnings: self.warnings(), found: self })
            .expect("structs and lists are JSON")
    }
}

#[derive(Serialize)]
struct Titled<'r> {
    benchmarks: &'static str,
    warnings: Vec<String>,
    #[serde(flatten)]
    found: &'r Report,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::report::sample;

    #[test]
    fn a_row_names_what_it_depends_on() {
        let report: Value = serde_json::from_str(&sample::report().to_json()).unwrap();
        assert_eq!(
            report["subjects"][0],
            json!({
                "name": "ours", "role": "ours", "durability": "Power", "visibility": null, "cache": "64 MiB", "version": "1.2.3",
                "driven": "tasks", "beside": "raw", "note": null,
                "syncs": { "writes": 100, "syncs": 101 }, "is_checked": true
            })
        );
        assert_eq!(report["plan"]["value_len"], 128);
        assert_eq!(report["plan"]["duration"], 0.1);
        assert_eq!(report["machine"]["sync_us"], 500.0);
        assert_eq!(report["load"][1]["workload"], "set");
        assert_eq!(report["load"][1]["clients"], 64);
        assert_eq!(report["load"][1]["runs"][0]["latency"]["p99_us"], 20.0);
        assert_eq!(report["headlines"][0]["target"], json!({ "at-least": 2.0 }));
    }
}
