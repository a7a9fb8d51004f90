use std::sync::Arc;

use store_api::{AtomicWrite, ContentRead, EntryRead, Indexable, Indexed};

fn entries(writer: Arc<dyn AtomicWrite>) -> Arc<dyn EntryRead> {
    writer
}

fn content(store: Arc<dyn Indexable>) -> Arc<dyn ContentRead> {
    let batches: Arc<dyn Indexed> = store;
    batches
}

fn shared<T: Send + Sync + ?Sized>() {}

fn main() {
    let _ = (entries, content);
    shared::<dyn AtomicWrite>();
    shared::<dyn Indexable>();
    shared::<Arc<dyn EntryRead>>();
}
