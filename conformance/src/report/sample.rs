//! A report for the tests of how reports are shown: a sound backend, a broken one, and one that does not open.

use std::time::Duration;

use store_api::{Durability, Guarantees, IndexLevel, Visibility, WatchLag};

use super::{BackendReport, CaseReport, Report, Verdict};
use crate::Crashes;

pub(super) fn report() -> Report {
    let lag = |others| WatchLag::new(Duration::ZERO, others);
    let sound = Guarantees::new(Durability::Volatile, Visibility::Instance, IndexLevel::Exact, lag(None));
    let others = Some(Duration::from_millis(50));
    let broken = Guarantees::new(Durability::Power, Visibility::Host, IndexLevel::BestEffort, lag(others));
    let [k1, a2, again, w11] =
        ["key/K1-one", "atomic/A2-one", "atomic/A2-another", "watch/W11-one"].map(|id| case(id, Verdict::Pass));
    Report {
        suite: "1.2.3",
        profile: "quick".into(),
        seed: 7,
        cases: None,
        backends: vec![
            BackendReport {
                name: "sound".into(),
                declares: Some(sound),
                passes: 1,
                cases: vec![
                    k1.clone(),
                    a2.clone(),
                    because(&again, Verdict::Untested, "no other process"),
                    because(&w11, Verdict::Unsupported, "its instances do not share a store"),
                ],
            },
            BackendReport {
                name: "broken".into(),
                declares: Some(broken),
                passes: 3,
                cases: vec![
                    k1.clone(),
                    CaseReport {
                        location: Some("writes.rs:7".into()),
                        replay: Some("irminsul conform broken --seed 7 --case atomic/A2-one".into()),
                        crashes: Crashes { kills: 2, power_losses: 1 },
                        met: Some(500),
                        details: Some("1: set\n2: find".into()),
                        ..because(&a2, Verdict::Fail, "absent where \"v\" is due")
                    },
                    again,
                    w11,
                ],
            },
            BackendReport {
                name: "shut".into(),
                declares: None,
                passes: 1,
                cases: vec![because(&k1, Verdict::HarnessError, "it could not be opened")],
            },
        ],
    }
}

impl Report {
    /// The same, with this text wherever a run takes in one.
    pub(super) fn filled_with(mut self, text: &str) -> Self {
        self.cases = Some(text.into());
        for backend in &mut self.backends {
            backend.name = text.into();
            for case in &mut backend.cases {
                for field in [&mut case.reason, &mut case.location, &mut case.replay, &mut case.details] {
                    *field = Some(text.into());
                }
            }
        }
        self
    }
}

fn case(id: &'static str, verdict: Verdict) -> CaseReport {
    let clause = id.split(['/', '-']).nth(1).expect("an id names its clause");
    let duration = Duration::from_millis(1500);
    CaseReport {
        id,
        clause,
        verdict,
        reason: None,
        location: None,
        seed: 7,
        replay: None,
        duration,
        crashes: Crashes::default(),
        met: None,
        growth: None,
        details: None,
        witness: None,
    }
}

fn because(case: &CaseReport, verdict: Verdict, reason: &str) -> CaseReport {
    CaseReport { verdict, reason: Some(reason.into()), ..case.clone() }
}
