use store_api::{AtomicWrite, EntryRead, Key};

async fn write(reader: std::sync::Arc<dyn EntryRead>) {
    reader.set(&Key::root(), "value".into()).await.unwrap();
}

fn main() {
    let _ = write;
}
