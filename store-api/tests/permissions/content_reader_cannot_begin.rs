use store_api::{ContentRead, Indexed};

async fn write(reader: std::sync::Arc<dyn ContentRead>) {
    let _ = reader.begin().await;
}

fn main() {
    let _ = write;
}
