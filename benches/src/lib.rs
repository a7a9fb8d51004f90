#![doc = include_str!("../README.md")]

mod delivery;
mod disk;
mod driver;
mod floor;
mod growth;
mod keys;
mod load;
mod machine;
mod measured;
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
    delivery::{Delivery, DeliveryPlan, Feed, Feeds, Watched, delivery},
    floor::Nothing,
    growth::{Growth, GrowthPlan, Stage},
    load::{Load, Loaded, load},
    machine::Machine,
    measured::{Measured, Opened},
    plan::Plan,
    process::resident_bytes,
    progress::Progress,
    remote::{Line, Remote, remote},
    report::{Failed, Headline, Latency, Measure, Report, Run, Series, Single, Target, told},
    slow::{Slow, SlowPlan, slow},
    stall::{Stall, StallPlan, stall},
    store::{OfStore, StoreClient},
    subject::{Client, Driven, Facts, Role, Store, Subject},
    syncs::{CountsSyncs, Syncs},
    workload::Workload,
};
