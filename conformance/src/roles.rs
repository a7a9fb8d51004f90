//! What children do on the store of a case: each role stands beside the cases that start it.

use std::{fmt::Display, str::FromStr, sync::Arc};

use store_api::Result;

use crate::{
    Settings, SharedFactory,
    calls::Calls,
    case::Running,
    cases,
    context::Instance,
    failure::{Failure, Outcome},
};

/// What a child has: a store to open, and what the case asks of it.
pub(crate) struct Cue {
    pub(crate) factory: SharedFactory,
    pub(crate) token: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) seed: u64,
    /// Takes in what the role asks of the store.
    pub(crate) calls: Arc<Calls>,
}

impl Cue {
    /// The first argument, where that is a number.
    pub(crate) fn number<T: FromStr<Err: Display>>(&self) -> Outcome<T> {
        let argument = self.arguments.first().ok_or_else(|| Failure::harness("a role without its argument"))?;
        argument.parse().map_err(Failure::harness)
    }

    /// A new instance of the store.
    pub(crate) async fn open(&self) -> Outcome<Instance> {
        self.try_open().await.map_err(|error| Failure::from(error).within("open"))
    }

    /// What an `open` answers.
    pub(crate) async fn try_open(&self) -> Result<Instance> {
        Ok(Instance::new(self.calls.open(self.factory.open(&self.token, &Settings::default())).await?))
    }
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
