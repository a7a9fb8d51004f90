#![doc = include_str!("contract.md")]

/// The contract's own text, in Markdown: what a program that speaks of clauses by their ids quotes them from.
pub const TEXT: &str = include_str!("contract.md");
