//! What a store does with its files: what it finds of them after a crash, or when they rotted, and which it takes.
//! What holds on every backend is put to the test by the conformance suite.
#![cfg(unix)]

mod crashes;
mod opening;
mod rewriting;
mod rot;
mod scene;
