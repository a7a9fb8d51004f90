//! A12 and I6: an object whose bytes rotted is an error that names the key, never another value, and can be repaired.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use store_api::{
    Append, AtomicWrite, Backend, ContentHash, ContentRead, Diff, EntryRead, ErrorKind, Event, HashFunction, Init, Key,
};

use crate::faulty::Faulty;

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
async fn a12_bytes_that_are_garbled_on_their_way_are_no_rot() {
    let scene = Scene::new().await;
    let faulty = Arc::new(Faulty::over(Arc::clone(&scene.bucket)));
    let entries = S3Options::over(Arc::clone(&faulty) as _).open().await.unwrap().atomic_write().unwrap();
    faulty.garble_gets(3);
    assert_eq!(entries.find(&key()).await.unwrap(), Some("value".into()));
}

#[tokio::test(start_paused = true)]
async fn a12_an_entry_that_was_cut_to_nothing_is_there_and_corrupt() {
    let scene = Scene::new().await;
    scene.bucket.put(&Path::from("entries/k_"), Bytes::new().into()).await.unwrap();
    let entries = &scene.entries;
    assert!(entries.mem(&key()).await.unwrap());
    assert_eq!(entries.find(&key()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    for scope in [key(), Key::root()] {
        let listed: Vec<_> = entries.list(&scope).try_collect().await.unwrap();
        assert!(listed.contains(&key()));
        let told: Vec<_> = entries.entries(&scope).map(|entry| entry.map_err(|error| error.kind())).collect().await;
        assert_eq!(told.iter().filter(|told| **told == Err(ErrorKind::Corrupt)).count(), 1, "{told:?}");
    }
    entries.set(&key(), "again".into()).await.unwrap();
    assert_eq!(entries.find(&key()).await.unwrap(), Some("again".into()));
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

#[tokio::test(start_paused = true)]
async fn w3_an_entry_that_appeared_as_rot_is_there_for_the_watches_that_begin_behind_it() {
    for repair in [Some("well"), None] {
        let Scene { bucket, entries } = Scene::new().await;
        let key = Key::new("m").unwrap();
        let mut first = entries.watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(first.next().await.unwrap().unwrap(), Event::CaughtUp);
        bucket.put(&Path::from("entries/m_"), "rotten".into()).await.unwrap();
        assert_eq!(first.next().await.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
        let known = Init::Known(vec![(key.clone(), "well".into())]);
        let refused = entries.watch(&Key::root(), known).await.unwrap_err();
        assert_eq!((refused.kind(), refused.key()), (ErrorKind::Corrupt, Some("m")));
        let mut second = entries.watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(second.next().await.unwrap().unwrap(), Event::CaughtUp);
        let (told_first, told_second) = if let Some(value) = repair {
            entries.set(&key, value.into()).await.unwrap();
            (Some(Diff::Added { new: value.into() }), Diff::Updated { old: None, new: value.into() })
        } else {
            entries.remove(&key).await.unwrap();
            (None, Diff::Removed { old: None })
        };
        let changed = |diff| Event::Changed { key: key.clone(), diff };
        assert_eq!(second.next().await.unwrap().unwrap(), changed(told_second));
        let told = first.next().now_or_never().map(|told| told.unwrap().unwrap());
        assert_eq!(told, told_first.map(changed));
    }
}

/// What a store has in all kinds of objects: entries, one of them removed, and content in packs, most of them indexed.
struct Kept {
    entries: BTreeMap<Key, Bytes>,
    content: BTreeMap<ContentHash, Bytes>,
}

impl Kept {
    /// Fills a store below which an index is due: one of 64 packs, and some that it does not cover.
    async fn in_bucket(bucket: &Arc<InMemory>) -> Self {
        let store = S3Options::over(Arc::clone(bucket) as _).open().await.unwrap();
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let mut kept = Self { entries: BTreeMap::new(), content: BTreeMap::new() };
        for (path, value) in [("a", ""), ("a/b", "value"), ("c", "another"), ("removed", "value")] {
            entries.set(&Key::new(path).unwrap(), value.into()).await.unwrap();
            kept.entries.insert(Key::new(path).unwrap(), value.into());
        }
        entries.remove(&Key::new("removed").unwrap()).await.unwrap();
        kept.entries.remove("removed");
        for i in 0..67 {
            let value = Bytes::from(format!("value {i}"));
            kept.content.insert(content.add(value.clone()).await.unwrap().to_hash(), value);
        }
        store.close().await.unwrap();
        kept
    }

    /// Every answer is right, or `Corrupt`; where the object is none that holds values, none is `Corrupt`.
    async fn is_read_from(&self, store: &S3, holds_values: bool) {
        let right = |found: store_api::Result<Option<Bytes>>, value: &Bytes| match found {
            Ok(found) => assert_eq!(found.as_ref(), Some(value)),
            Err(error) => assert!(holds_values && error.kind() == ErrorKind::Corrupt, "{error:?}"),
        };
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        for (key, value) in &self.entries {
            right(entries.find(key).await, value);
        }
        let removed = entries.find(&Key::new("removed").unwrap()).await;
        assert!(removed.is_ok_and(|found| found.is_none()) || holds_values);
        let mut told = entries.entries(&Key::root());
        while let Some(entry) = told.next().await {
            match entry {
                Ok((key, value)) => assert_eq!(self.entries.get(&key), Some(&value)),
                Err(error) => assert!(holds_values && error.kind() == ErrorKind::Corrupt, "{error:?}"),
            }
        }
        let listed: BTreeSet<Key> = entries.list(&Key::root()).try_collect().await.unwrap();
        assert!(listed.iter().eq(self.entries.keys()));
        for (hash, value) in &self.content {
            match content.index(hash).await {
                Ok(key) => right(content.find(&key.expect("it was added")).await, value),
                Err(error) => assert!(holds_values && error.kind() == ErrorKind::Corrupt, "{error:?}"),
            }
            right(content.find(&(*hash).into()).await, value);
        }
        let unknown = content.index(&HashFunction::Blake3.hash(b"unknown")).await;
        assert!(unknown.is_ok_and(|found| found.is_none()) || holds_values);
        let mut keys = content.keys();
        let mut found = 0;
        while let Some(key) = keys.next().await {
            match key {
                Ok(key) => found += usize::from(self.content.contains_key(&key.to_hash())),
                Err(error) => assert!(holds_values && error.kind() == ErrorKind::Corrupt, "{error:?}"),
            }
        }
        assert!(found == self.content.len() || (holds_values && found + 1 == self.content.len()));
    }
}

/// The objects of a bucket, with their bytes.
async fn objects(bucket: &InMemory) -> Vec<(Path, Vec<u8>)> {
    let listed: Vec<_> = bucket.list(None).try_collect().await.unwrap();
    let mut objects = Vec::new();
    for object in listed {
        let bytes = bucket.get(&object.location).await.unwrap().bytes().await.unwrap();
        objects.push((object.location, bytes.to_vec()));
    }
    objects
}

/// A bucket with these objects, one of them in other bytes.
async fn bucket_with(objects: &[(Path, Vec<u8>)], damaged: (&Path, Vec<u8>)) -> Arc<InMemory> {
    let bucket = Arc::new(InMemory::new());
    for (at, bytes) in objects {
        let bytes = if at == damaged.0 { &damaged.1 } else { bytes };
        bucket.put(at, bytes.clone().into()).await.unwrap();
    }
    bucket
}

/// Flips some bits, or cuts the end off. An entry is not cut at random: a listing tells a removed one by its length.
fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng, cut: bool) {
    if cut {
        return bytes.truncate(random.usize(..bytes.len()));
    }
    for _ in 0..random.usize(1..32) {
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u32(..8);
    }
}

#[tokio::test(start_paused = true)]
async fn a12_i6_rot_in_any_object_is_never_another_value() {
    let whole = Arc::new(InMemory::new());
    let kept = Kept::in_bucket(&whole).await;
    let objects = objects(&whole).await;
    let runs = objects.iter().filter(|(at, _)| at.as_ref().starts_with("index/")).count();
    assert!(runs == 2 && objects.len() > 64 + 4, "a root, a run, packs and entries");
    let mut random = fastrand::Rng::with_seed(12);
    for (at, bytes) in &objects {
        let (is_header, is_entry) = (at.as_ref() == "store", at.as_ref().starts_with("entries/"));
        for cut in [false, true].into_iter().filter(|cut| !(*cut && is_entry)) {
            let mut damaged = bytes.clone();
            while damaged == *bytes {
                damage(&mut damaged, &mut random, cut);
            }
            let opened = S3Options::over(bucket_with(&objects, (at, damaged)).await).open().await;
            if is_header {
                let refusal = opened.unwrap_err();
                assert_eq!(refusal.kind(), ErrorKind::Incompatible);
                assert!(refusal.to_string().contains("`store`"), "{refusal}");
            } else {
                let holds_values = is_entry || at.as_ref().starts_with("packs/");
                let store = opened.unwrap();
                kept.is_read_from(&store, holds_values).await;
                store.close().await.unwrap();
            }
        }
    }
}
