//! Handles over what an engine has: the checks, the life cycle and the context of errors are the same for all.
//!
//! An instance implements [`EntryStore`] and [`ContentStore`], and hands out an [`EntryHandle`] and a [`ContentHandle`],
//! each with a gate of its own (L1, L2).

mod content;
mod entries;

pub use content::{ContentHandle, ContentStore};
pub use entries::{EntryHandle, EntryStore};
