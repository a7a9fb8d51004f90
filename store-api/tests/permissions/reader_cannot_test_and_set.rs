use store_api::{AtomicWrite, EntryRead, Key};

async fn write(reader: std::sync::Arc<dyn EntryRead>) {
    let _ = reader.test_and_set(&Key::root(), None, None).await;
}

fn main() {
    let _ = write;
}
