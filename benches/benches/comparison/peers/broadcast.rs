//! A bare `tokio::sync::watch`: what a delivery costs without a store.

use std::path::Path;

use async_trait::async_trait;
use benches::{Driven, Facts, Feed, Feeds, Role};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use store_api::{Durability, Result};
use tokio::sync::watch;

use crate::engines::version_of;

pub(crate) const NAME: &str = "tokio watch";

/// One value, and whoever waits for the next.
pub(crate) struct Broadcast;

#[async_trait]
impl Feeds for Broadcast {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME.into(),
            role: Role::Floor,
            durability: Durability::Volatile,
            visibility: None,
            cache: "all".into(),
            version: version_of("tokio"),
            driven: Driven::Tasks,
            beside: None,
            note: Some("one value, no keys: the cost of waking a task".into()),
        }
    }

    async fn open(&self, _: &Path) -> Result<Box<dyn Feed>> {
        Ok(Box::new(Value(watch::Sender::new(Bytes::new()))))
    }
}

struct Value(watch::Sender<Bytes>);

#[async_trait]
impl Feed for Value {
    async fn publish(&self, value: Bytes) -> Result<()> {
        self.0.send_replace(value);
        Ok(())
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let next = |mut value: watch::Receiver<Bytes>| async move {
            // It fails when the sender is gone: the stream ends.
            value.changed().await.ok()?;
            let seen = value.borrow_and_update().clone();
            Some((Ok(seen), value))
        };
        Ok(stream::unfold(self.0.subscribe(), next).boxed())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
