use store_api::{Append, Indexed};

async fn write(indexed: std::sync::Arc<dyn Indexed>) {
    indexed.add("value".into()).await.unwrap();
}

fn main() {
    let _ = write;
}
