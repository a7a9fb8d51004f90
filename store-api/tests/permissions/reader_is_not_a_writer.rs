use std::sync::Arc;

use store_api::{AtomicWrite, EntryRead};

fn downcast(reader: Arc<dyn EntryRead>) -> Arc<dyn AtomicWrite> {
    reader
}

fn main() {
    let _ = downcast;
}
