//! A report as JSON, for programs.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use store_api::Guarantees;

use crate::{BackendReport, Report};

impl Report {
    /// The report as an object of JSON, indented.
    ///
    /// Its fields are those of [`Report`], [`BackendReport`](crate::BackendReport) and
    /// [`CaseReport`](crate::CaseReport), by their names, which are stable; more may be added. Besides:
    ///
    /// - `passed`, of the run and of each backend, is what [`Report::passed`] and
    ///   [`BackendReport::passed`](crate::BackendReport::passed) say;
    /// - a `verdict` is `unsupported`, `pass`, `untested`, `inconclusive`, `harness-error` or `fail`;
    /// - `declares` has `durability`, `visibility`, `index`, `watch_lag_own_ms` and `watch_lag_others_ms`, which is null
    ///   where no other instance sees the store, and is null itself where the store could not be opened;
    /// - `seconds` is the duration of a case, to the millisecond.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "only maps whose keys are not text fail, and there is none")]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&Judged { passed: self.passed(), found: self })
            .expect("structs and lists are JSON")
    }
}

/// What was found, with the verdict on it.
#[derive(Serialize)]
struct Judged<'r, T> {
    passed: bool,
    #[serde(flatten)]
    found: &'r T,
}

pub(super) fn backends<S: Serializer>(backends: &[BackendReport], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(backends.iter().map(|found| Judged { passed: found.passed(), found }))
}

pub(super) fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    serializer.serialize_f64(milliseconds.round() / 1000.0)
}

#[expect(clippy::ref_option, reason = "what serde hands over")]
pub(super) fn guarantees<S: Serializer>(declares: &Option<Guarantees>, serializer: S) -> Result<S::Ok, S::Error> {
    declares.as_ref().map(Declared).serialize(serializer)
}

struct Declared<'g>(&'g Guarantees);

impl Serialize for Declared<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Guarantees { durability, visibility, index, watch_lag, .. } = self.0;
        let mut levels = serializer.serialize_struct("Guarantees", 5)?;
        levels.serialize_field("durability", &durability.to_string())?;
        levels.serialize_field("visibility", &visibility.to_string())?;
        levels.serialize_field("index", &index.to_string())?;
        levels.serialize_field("watch_lag_own_ms", &watch_lag.own.as_millis())?;
        levels.serialize_field("watch_lag_others_ms", &watch_lag.others.map(|lag| lag.as_millis()))?;
        levels.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::report::sample;

    #[test]
    fn the_fields_have_the_names_that_are_promised() {
        let report: Value = serde_json::from_str(&sample::report().to_json()).unwrap();
        assert_eq!(report["suite"], "1.2.3");
        assert_eq!(report["profile"], "quick");
        assert_eq!(report["seed"], 7);
        assert_eq!(report["cases"], Value::Null);
        assert_eq!(report["passed"], false);
        let [sound, broken, shut] = &report["backends"].as_array().unwrap()[..] else { panic!("three backends") };
        assert_eq!(
            broken["declares"],
            json!({
                "durability": "Power", "visibility": "Host", "index": "BestEffort",
                "watch_lag_own_ms": 0, "watch_lag_others_ms": 50
            })
        );
        assert_eq!(sound["declares"]["watch_lag_others_ms"], Value::Null);
        assert_eq!(shut["declares"], Value::Null);
        assert_eq!(shut["cases"][0]["verdict"], "harness-error");
        assert_eq!(broken["passes"], 3);
        assert_eq!([sound, broken, shut].map(|backend| backend["passed"].as_bool()), [true, false, false].map(Some));
        assert_eq!(
            broken["cases"][1],
            json!({
                "id": "atomic/A2-one", "clause": "A2", "verdict": "fail", "reason": "absent where \"v\" is due",
                "location": "writes.rs:7", "seed": 7,
                "replay": "irminsul conform broken --seed 7 --case atomic/A2-one",
                "seconds": 1.5, "crashes": { "kills": 2, "power_losses": 1 }, "met": 500, "growth": null,
                "details": "1: set\n2: find", "witness": null
            })
        );
    }
}
