//! Publishes a page once: content first, then the name that leads to it, by compare-and-set.

use irminsul::{Event, Init, Key, TestAndSet, prelude::*};

#[tokio::main]
async fn main() -> irminsul::Result<()> {
    let store = irminsul::open("sqlite:app.db").await?; // or "mem:", and nothing below changes
    let (names, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let home = Key::new("pages/home")?;

    // Content first, then its name: whoever reads the name finds the content.
    let page = content.add("<h1>Hello</h1>".into()).await?;
    match names.test_and_set(&home, None, Some(page.to_bytes().into())).await? {
        TestAndSet::Applied => println!("published {page}"),
        TestAndSet::Mismatch { .. } => println!("it is there already"), // a second run, or somebody was faster
    }

    // What is there, then what changes, whichever process changes it.
    let mut watch = names.watch_key(&home, Init::Known(None)).await?;
    while let Some(event) = watch.next().await {
        match event? {
            Event::Changed { key, diff } => println!("{key}: {diff:?}"),
            Event::CaughtUp => break, // all that was there is told; without this line the loop follows every change
            _ => {}
        }
    }
    store.close().await
}
