//! A12: an object whose bytes rotted is an error that names the key, never another value, and can be repaired.

use std::sync::Arc;

use backend_s3::S3Options;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use store_api::{AtomicWrite, Backend, Diff, EntryRead, ErrorKind, Event, Init, Key};

struct Scene {
    bucket: Arc<InMemory>,
    entries: Arc<dyn AtomicWrite>,
}

fn key() -> Key {
    Key::new("k").unwrap()
}

impl Scene {
    async fn new() -> Self {
        let bucket = Arc::new(InMemory::new());
        let entries = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap().atomic_write().unwrap();
        entries.set(&key(), "value".into()).await.unwrap();
        entries.set(&Key::new("l").unwrap(), "beside".into()).await.unwrap();
        Self { bucket, entries }
    }

    async fn rot(&self) {
        let at = Path::from("entries/k_");
        let mut bytes = self.bucket.get(&at).await.unwrap().bytes().await.unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        self.bucket.put(&at, bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a12_a_rotten_entry_is_corrupt_and_compared_with_nothing() {
    let scene = Scene::new().await;
    scene.rot().await;
    let entries = &scene.entries;
    let found = entries.find(&key()).await.unwrap_err();
    assert_eq!((found.kind(), found.key()), (ErrorKind::Corrupt, Some("k")));
    for test in [None, Some("value".into())] {
        assert_eq!(entries.test_and_set(&key(), test, None).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let told: Vec<_> = entries.entries(&Key::root()).map(|entry| entry.map_err(|e| e.kind())).collect().await;
    assert_eq!(told, [Err(ErrorKind::Corrupt), Ok((Key::new("l").unwrap(), "beside".into()))]);
}

#[tokio::test]
async fn a12_set_remove_and_clear_repair() {
    for repair in 0..3 {
        let scene = Scene::new().await;
        scene.rot().await;
        match repair {
            0 => scene.entries.set(&key(), "again".into()).await.unwrap(),
            1 => scene.entries.remove(&key()).await.unwrap(),
            _ => scene.entries.clear().await.unwrap(),
        }
        let expected = (repair == 0).then(|| "again".into());
        assert_eq!(scene.entries.find(&key()).await.unwrap(), expected);
        let listed: Vec<_> = scene.entries.list(&key()).try_collect().await.unwrap();
        assert_eq!(listed.len(), usize::from(repair == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn w10_a_watch_is_told_of_rot_once_and_then_of_the_repair() {
    let scene = Scene::new().await;
    let mut watch = scene.entries.watch_key(&key(), Init::Known(Some("value".into()))).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
    scene.rot().await;
    assert_eq!(watch.next().await.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    scene.entries.set(&key(), "again".into()).await.unwrap();
    let repaired = Diff::Updated { old: Some("value".into()), new: "again".into() };
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Changed { key: key(), diff: repaired });
}

#[tokio::test(start_paused = true)]
async fn a12_a_watch_that_must_tell_a_rotten_value_at_its_start_is_refused() {
    let scene = Scene::new().await;
    scene.rot().await;
    for init in [Init::Known(None), Init::Known(Some("value".into()))] {
        assert_eq!(scene.entries.watch_key(&key(), init).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let mut watch = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
    scene.entries.set(&key(), "again".into()).await.unwrap();
    let repaired = Diff::Updated { old: None, new: "again".into() };
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Changed { key: key(), diff: repaired });
}
