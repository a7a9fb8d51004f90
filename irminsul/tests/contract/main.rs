//! The contract, clause by clause, on every store that this crate can open: each test is written once, against the
//! traits, and named for the clause that it proves.
//!
//! What needs an engine's own means is proved in the engine's crate: A11 and A12 (rows damaged in the file), the half
//! of A10 that speaks of the sync (nothing unsynced is shown), L5 for the format's version. L4's `InUse` and E3 need an engine that
//! allows one instance, and a sync that fails. Several processes are in the target `processes`.

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
