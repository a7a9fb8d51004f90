//! What a backend of irminsul would otherwise write by hand.
//!
//! | part | what it takes over | clauses |
//! |---|---|---|
//! | [`Hub`] | who watches what; baselines, conflation, order, ends | W1 to W10, W12 |
//! | [`Gate`] | closed handles, instances and batches | L1, L2 |
//! | [`EntryHandle`], [`ContentHandle`] | the traits of the contract, over what an engine has | L1, L2, K3, V1 |
//! | [`Committer`] | one thread that applies what has queued as one transaction, and syncs once | A9, A10, L3, E3 |
//! | [`Detached`] | writes that go on when their future is dropped, for a close to wait for | A9 |
//! | [`BufferedBatch`] | a batch that holds no lock while it is open | I7 |
//! | [`Pages`] | streams that hold no snapshot and no lock | A7, L1 |
//! | [`range_below`] | scopes as ranges of ordered engines | W12 |
//! | [`folder`] | a store that is a folder: its lock, which says who has it; its sync | L4 |
//! | [`frame`] | bytes with a checksum over key and value | A12 |
//! | [`offload()`], [`offload_long`], [`hash()`] | long work leaves the async worker | |
//! | [`Lanes`] | so much of it at a time | |
//! | [`Decision`] | what a write does, given what is there | A2, A3 |
//! | [`Context`], [`io_error`] | where an error came from, and what to do about it | E1 |
//! | [`Addition`], [`false_value`] | content and the hash that it is stored under | I4, I6 |
//! | [`check_entry_key`], [`check_value`], [`check_hash`] | the limits | K3, V1, L5 |
//!
//! Nothing here knows an engine. The interface is unstable: it follows what the backends need.
//!
//! Where to begin: [the template], a complete backend that is made of these parts, and [writing a backend], the way from
//! there to one that passes the conformance suite.
//!
//! [the template]: https://github.com/irminsul-rs/irminsul/tree/main/examples/backend-template
//! [writing a backend]: https://github.com/irminsul-rs/irminsul/blob/main/docs/writing-a-backend.md

mod addition;
mod batch;
mod committer;
mod context;
mod decision;
mod detached;
pub mod folder;
pub mod frame;
mod gate;
mod handle;
mod hub;
mod io;
mod lanes;
mod limits;
mod offload;
mod pages;
mod range;
mod sync;

pub use addition::{Addition, ROW_BYTES, false_value};
pub use batch::{BatchTarget, BufferedBatch, DEFAULT_BATCH_LIMIT};
pub use committer::{Committer, Engine, Failure, Patience};
pub use context::Context;
pub use decision::{Decision, Test};
pub use detached::{Detached, UnderWay};
pub use gate::Gate;
pub use handle::{ContentHandle, ContentStore, EntryHandle, EntryStore};
pub use hub::{Change, Hub, Old, Prepared, Priming, Scope, Wakers, known_entry};
pub use io::{io_error, io_error_kind};
pub use lanes::Lanes;
pub use limits::{check_entry_key, check_hash, check_value};
pub use offload::{OFFLOAD_LEN, hash, offload, offload_long};
pub use pages::{Page, Pages};
pub use range::range_below;
