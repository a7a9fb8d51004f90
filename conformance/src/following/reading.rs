//! Watches that are read on threads of their own while others write.

use futures_util::future::try_join_all;
use tokio::{sync::watch, task::JoinHandle};

use super::Follower;
use crate::{clients::beside, failure::Outcome};

/// Tells the readers of watches that the writing is over.
pub(crate) struct Reading {
    over: watch::Sender<bool>,
    following: Vec<JoinHandle<Outcome<Follower>>>,
}

impl Reading {
    pub(crate) fn new() -> Self {
        Self { over: watch::channel(false).0, following: Vec::new() }
    }

    /// Reads a watch, on a thread of its own, until the writing is over.
    pub(crate) async fn follow(&mut self, mut follower: Follower) -> Outcome {
        let mut over = self.over.subscribe();
        let reading = async move {
            // Without its sender nobody writes any more, either.
            let ended = async { drop(over.wait_for(|over| *over).await) };
            follower.read_until(ended).await?;
            Ok(follower)
        };
        self.following.push(beside(reading).await?);
        Ok(())
    }

    /// The watches, once the writing is over.
    pub(crate) async fn end(self) -> Outcome<Vec<Follower>> {
        self.over.send_replace(true);
        try_join_all(self.following).await?.into_iter().collect()
    }
}
