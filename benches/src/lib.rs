#![doc = include_str!("../README.md")]

mod delivery;
mod disk;
mod driver;
mod dyn_subject;
mod growth;
mod keys;
mod load;
mod machine;
mod null_store;
mod panics;
mod plan;
mod process;
mod progress;
mod remote;
mod report;
mod slow;
mod stall;
mod store;
mod subject;
mod syncs;
mod workload;

pub use crate::{
    delivery::{Delivery, DeliveryPlan, Feed, Feeds, Watched, measure_delivery},
    dyn_subject::{DynStore, DynSubject},
    growth::{Growth, GrowthPlan, Stage},
    load::{Load, Loaded, by_durability, measure_load},
    machine::Machine,
    null_store::NullStore,
    panics::caught,
    plan::Plan,
    process::resident_bytes,
    progress::Progress,
    remote::{Remote, Traffic, measure_remote},
    report::{
        CheckedSubject, Failed, Headline, Latency, Measured, Report, Run, Series, Single, Target, bytes, with_causes,
    },
    slow::{Slow, SlowPlan, measure_slow},
    stall::{Stall, StallPlan, measure_stall},
    store::{OfStore, StoreClient},
    subject::{Client, Driven, Facts, Role, Store, Subject},
    syncs::{CountsSyncs, Syncs},
    workload::Workload,
};
