//! Watches that are read on threads of their own while others write.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::{sync::watch, task::JoinHandle};

use super::Follower;
use crate::{
    clients::beside,
    context::Context,
    failure::Outcome,
    luck::{Hopes, Luck},
};

/// Tells the readers of watches that the writing is over.
pub(crate) struct Reading {
    over: watch::Sender<bool>,
    following: Vec<JoinHandle<Outcome<Follower>>>,
    /// What they were told meanwhile.
    told: Arc<Luck>,
}

/// How much the readers are to be told while others write: a store may tell little of much, and a reader that is starved has
/// all of it told as one change.
const TOLD: Hopes = Hopes { floor: 60, enough: 400, rounds: [60, 20_000] };

impl Reading {
    pub(crate) fn new(context: &Context) -> Self {
        Self { over: watch::channel(false).0, following: Vec::new(), told: context.luck(TOLD) }
    }

    /// The rounds of each that writes: they go on until the readers were told enough.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = usize> + Send + use<> {
        self.told.rounds()
    }

    /// Reads a watch, on a thread of its own, until the writing is over.
    pub(crate) async fn follow(&mut self, mut follower: Follower) -> Outcome {
        let (mut over, told) = (self.over.subscribe(), Arc::clone(&self.told));
        let reading = async move {
            // Without its sender nobody writes any more, either.
            let ended = async { drop(over.wait_for(|over| *over).await) };
            follower.read_until(ended, || told.meet()).await.inspect_err(|_| told.give_up())?;
            Ok(follower)
        };
        self.following.push(beside(reading).await?);
        Ok(())
    }

    /// The watches, once the writing is over, and what counted what they were told.
    pub(crate) async fn end(self) -> Outcome<(Vec<Follower>, Arc<Luck>)> {
        self.over.send_replace(true);
        let followers: Outcome<Vec<Follower>> = try_join_all(self.following).await?.into_iter().collect();
        Ok((followers?, self.told))
    }
}
