//! Recorded histories.

use serde::Serialize;

/// The shortest part of a history that is impossible.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {}

impl std::fmt::Display for Witness {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
