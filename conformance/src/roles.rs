//! What children do on the store of a case: each role stands beside the cases that start it.

use crate::{case::Running, cases, context::Instance};

/// What a child has: the store, opened, and what the case asks of it.
pub(crate) struct Cue {
    pub(crate) instance: Instance,
    pub(crate) arguments: Vec<String>,
    pub(crate) seed: u64,
}

/// A role and its name.
pub(crate) type Role = (&'static str, fn(Cue) -> Running);

/// `role!("name", function)`
macro_rules! role {
    ($name:literal, $body:path) => {
        ($name, |cue| Box::pin($body(cue)))
    };
}

pub(crate) use role;

/// The role of a name.
pub(crate) fn by_name(name: &str) -> Option<fn(Cue) -> Running> {
    cases::roles().find(|(known, _)| *known == name).map(|(_, body)| *body)
}
