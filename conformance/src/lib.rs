//! A conformance suite for storage backends: one factory, one line, and every [clause](Clause) of the contract is put to
//! the test, under concurrency, kill, reopen and power loss, with a verdict that can be trusted in both directions.
//!
//! ```toml
//! [dev-dependencies]
//! irminsul-conformance = "0.1"
//!
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! A [`Factory`] makes the stores, and [`suite!`] is the `main` of the test target. [`run`] does the same as a library and
//! gives a [`Report`]; the command `irminsul conform` is made of it.

#![expect(clippy::similar_names, reason = "`context` and `content` are the suite's and the contract's own words")]

mod attempts;
#[cfg(feature = "broken-stores")]
pub mod broken;
mod calls;
mod case;
mod cases;
mod child;
mod clause;
mod clients;
mod content;
mod context;
mod crashes;
mod disk;
mod factory;
mod failure;
mod faulty;
mod files;
mod fnv;
mod following;
mod generated;
mod handles;
mod histories;
pub mod history;
mod operations;
mod options;
mod patience;
#[cfg(feature = "proxy")]
pub mod proxy;
mod remote;
mod report;
mod roles;
mod run;
mod show;
mod suite;
mod syscalls;
mod work;

use context::Context;

pub use cases::case_ids;
pub use child::child;
pub use clause::Clause;
pub use crashes::Crashes;
pub use factory::{Factory, Place, Settings, SharedFactory, Site};
pub use faulty::Faulty;
pub use options::{Options, Profile, Progress};
pub use report::{BackendReport, CaseReport, Report, Verdict};
pub use run::run;
pub use suite::main;

/// The examples of the README, which are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
