//! A conformance suite for storage backends: one factory, one line, and every [clause](Clause) of the contract is put to
//! the test, under concurrency, kill, reopen and power loss, with a verdict that can be trusted in both directions.
//!
//! ```toml
//! [dependencies]
//! async-trait = "0.1"
//! irminsul-store-api = "0.1" # in code: `store_api`
//!
//! [dev-dependencies]
//! irminsul-backend-mem = "0.1" # in code: `backend_mem`; yours in its place
//! irminsul-conformance = "0.1" # in code: `conformance`
//!
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! A [`Factory`] makes the stores, and [`suite!`] is the `main` of the test target: `conformance::suite!(MyFactory);`. Each
//! case is then a test whose name begins with its area and clause, as in `watch/W7-..`.
//!
//! [`run`] does the same as a library and gives a [`Report`]; the command `irminsul conform` is made of it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use backend_mem::MemOptions;
//! use conformance::{Factory, Options, Place, Settings, SharedFactory, Site};
//! use store_api::{Backend, Result};
//!
//! struct InMemory;
//!
//! #[async_trait::async_trait]
//! impl Factory for InMemory {
//!     fn name(&self) -> String {
//!         "mem".into()
//!     }
//!
//!     /// A place for a store that nobody else sees, and a token to open it by.
//!     async fn create(&self, place: Place<'_>) -> Result<Site> {
//!         Site::without_files(place)
//!     }
//!
//!     async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
//!         let options = MemOptions::named(token);
//!         let options = settings.apply(options, MemOptions::hash, MemOptions::verify, MemOptions::batch_limit);
//!         Ok(Arc::new(options.open().await?))
//!     }
//! }
//!
//! let factory: SharedFactory = Arc::new(InMemory);
//! let report = conformance::run(&factory, &Options::new().case("value/V1-an-empty*"));
//! assert!(report.passed(), "{report}"); // a table of clauses, and each failure in full
//! ```
//!
//! | to | look at |
//! |---|---|
//! | make stores for the suite | [`Factory`], [`Place`], [`Site`], [`Settings`] |
//! | choose cases, seeds, rounds, disks that fail | [`Options`], [`Profile`] |
//! | read what came of it | [`Report`], [`Verdict`]; [`Clause`] for what is promised |
//! | judge a recorded history by itself | [`history`] |
//! | lose answers above a store, or on the way to a server | [`Faulty`]; `proxy` (feature `proxy`) |
//! | test the suite | `broken` (feature `broken-stores`) |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![expect(clippy::similar_names, reason = "`context` and `content` are the suite's and the contract's own words")]

mod attempts;
#[cfg(feature = "broken-stores")]
pub mod broken;
mod calls;
mod case;
mod cases;
mod child;
mod children;
mod clause;
mod clients;
mod content;
mod context;
mod disclosure;
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
mod lock;
mod luck;
mod measured;
mod memory;
mod operations;
mod options;
mod patience;
#[cfg(feature = "proxy")]
pub mod proxy;
mod remote;
mod report;
mod roles;
mod run;
mod script;
mod show;
mod suite;
mod syscalls;
mod work;

use context::Context;

pub use cases::case_ids;
pub use child::child;
pub use children::end_children;
pub use clause::Clause;
pub use disclosure::{disclosed, discloses};
pub use factory::{Factory, Place, Settings, SharedFactory, Site};
pub use faulty::Faulty;
pub use measured::{Crashes, Growth};
pub use options::{Options, Profile, Progress};
pub use report::{BackendReport, CaseReport, Report, Verdict};
pub use run::run;
pub use suite::main;

/// The examples of the README, which are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
