//! How far a run is: a bar for each store on a terminal, with the failures above, and nothing elsewhere.

use std::{collections::BTreeMap, time::Duration};

use conformance::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::printable;

pub(super) struct Bars {
    terminal: MultiProgress,
    of_stores: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// A bar for each of these names.
    pub(super) fn start(names: impl IntoIterator<Item = String>) -> Self {
        let terminal = MultiProgress::new();
        let names: Vec<String> = names.into_iter().collect();
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let bar = |name: String| (name.clone(), terminal.add(bar(format!("{name:longest$}"))));
        let of_stores = names.into_iter().map(bar).collect();
        Self { terminal, of_stores }
    }

    pub(super) fn tell(&self, progress: &Progress) {
        match progress {
            Progress::Started { backend, cases } => {
                let Some(bar) = self.of_stores.get(backend) else { return };
                bar.set_length(*cases as u64);
                bar.reset();
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            Progress::Ended { backend, case } => {
                let Some(bar) = self.of_stores.get(backend) else { return };
                if case.verdict.is_failure() {
                    let reason = printable(case.reason.as_deref().unwrap_or_default());
                    // A terminal that is gone needs no progress, and the report tells it again.
                    let _ = self.terminal.println(format!("{} {} on {backend}: {reason}", case.verdict, case.id));
                }
                bar.inc(1);
                if bar.length() == Some(bar.position()) {
                    bar.finish();
                }
            }
            _ => {}
        }
    }

    /// Takes the bars off the terminal.
    pub(super) fn clear(&self) {
        self.of_stores.values().for_each(ProgressBar::finish_and_clear);
    }
}

fn bar(name: String) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(name);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos} of {len} cases, {elapsed}") {
        bar.set_style(style);
    }
    bar
}
