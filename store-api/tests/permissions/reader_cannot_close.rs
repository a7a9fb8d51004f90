use store_api::{AtomicWrite, EntryRead};

async fn close(reader: std::sync::Arc<dyn EntryRead>) {
    reader.close().await.unwrap();
}

fn main() {
    let _ = close;
}
