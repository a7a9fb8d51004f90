//! The conformance suite of irminsul: whether a backend keeps the contract, clause by clause.

pub mod history;
