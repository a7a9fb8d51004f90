//! The contract, clause by clause, on every store that this crate can open: each test is written once, against the
//! traits, and named for the clause that it proves.
//!
//! What needs an engine's own means is proved in the crates of the engines: A11 and A12 (a file that rotted), the half of
//! A10 that speaks of the sync (nothing unsynced is shown), L5 for the format's version; E3 where a sync is made to fail,
//! in the kit. L4's `InUse` needs an engine that allows one instance. Several processes are in the target `processes`.

#[macro_use]
mod store;

mod batches;
mod clearing;
mod content;
mod errors;
mod folding;
mod following;
mod handles;
mod keys;
mod listing;
mod model;
mod watches;
mod writes;
