use store_api::{Indexable, Indexed};

async fn close(indexed: std::sync::Arc<dyn Indexed>) {
    indexed.close().await.unwrap();
}

fn main() {
    let _ = close;
}
