//! Two processes that create the same stores at once (L4, L5).

use std::path::{Path, PathBuf};

use backend_sqlite::SqliteOptions;
use store_api::{Backend, Diff, ErrorKind, Event, HashFunction, Init, Key};

use crate::refusal::{refused, value};

const STORES: usize = 30;

fn options(directory: &Path, store: usize) -> SqliteOptions {
    SqliteOptions::new(directory.join(format!("{store}.db")))
}

/// Each store is created by one of them, and both find what the other wrote.
pub(crate) async fn l4_two_processes_that_create_one_store_share_it(directory: PathBuf) {
    let own = Key::new(std::process::id().to_string()).unwrap();
    for i in 0..STORES {
        let store = options(&directory, i).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        entries.set(&own, value(i)).await.unwrap();
        let mut watch = entries.watch(&Key::root(), Init::Known(vec![(own.clone(), value(i))])).await.unwrap();
        let (other, diff) = loop {
            if let Event::Changed { key, diff } = watch.next().await.unwrap().unwrap() {
                break (key, diff);
            }
        };
        assert_ne!(other, own);
        assert_eq!(diff, Diff::Added { new: value(i) });
        store.close().await.unwrap();
    }
}

/// What was created is one of the two, for both of them.
pub(crate) async fn l5_two_processes_that_create_one_store_agree_on_its_hash_function(directory: PathBuf) {
    for i in 0..STORES {
        let wanted = HashFunction::ALL[(std::process::id() as usize + i) % 2];
        let opened = options(&directory, i).hash(wanted).open().await;
        let store = options(&directory, i).open().await.unwrap();
        let found = store.indexable().unwrap().hash_function();
        if wanted == found {
            opened.unwrap();
        } else {
            refused(ErrorKind::Incompatible, opened);
        }
    }
}
