//! How many requests the engines sent to a service, by kind: counted from the events that they tell of them, whichever
//! engine it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer,
};

/// What an engine's events of requests are told under. Each has its `kind`, such as `get`.
const TARGET: &str = "irminsul::requests";

static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Those of this process until now.
pub(crate) fn counts() -> BTreeMap<String, u64> {
    locked().clone()
}

fn locked() -> MutexGuard<'static, BTreeMap<String, u64>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of the subscriber that counts.
pub(crate) fn counting<S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>>() -> impl Layer<S>
{
    Counting.with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
}

struct Counting;

impl<S: tracing::Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &tracing::Event<'_>, _: layer::Context<'_, S>) {
        event.record(&mut Kind);
    }
}

/// Counts the event under the kind that it has.
struct Kind;

impl tracing::field::Visit for Kind {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "kind" {
            *locked().entry(value.to_owned()).or_default() += 1;
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}
