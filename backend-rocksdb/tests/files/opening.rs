//! Which folders are taken, and which are left alone.

use std::fs;

use backend_rocksdb::RocksdbOptions;
use bytes::Bytes;
use store_api::{AtomicWrite, Backend, ContentKey, ErrorKind, HashFunction};

use crate::scene::{Scene, key, refused, value};

#[tokio::test]
async fn l4_a_second_instance_is_refused_and_told_who_has_it() {
    let scene = Scene::new();
    let store = scene.open().await;
    let refusal = refused(ErrorKind::InUse, scene.options().open().await);
    assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
    store.close().await.unwrap();
    scene.open().await;
}

#[tokio::test]
async fn l5_another_hash_function_is_refused_and_nothing_is_touched() {
    let scene = Scene::new();
    let store = scene.options().hash(HashFunction::Sha256).open().await.unwrap();
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    store.close().await.unwrap();
    let before = scene.files();
    let refusal = refused(ErrorKind::Incompatible, scene.options().hash(HashFunction::Blake3).open().await);
    assert!(refusal.contains("sha256") && refusal.contains("blake3"), "{refusal}");
    assert_eq!(scene.files(), before);
    assert_eq!(scene.open().await.indexable().unwrap().hash_function(), HashFunction::Sha256);
}

#[tokio::test]
async fn l5_a_later_format_is_refused_with_both_versions_named() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let marker = backend_kit::frame::seal(b"irminsul", b"irminsul-rocksdb 2 blake3 and more\n");
    fs::write(scene.inside().join("irminsul"), marker).unwrap();
    let before = scene.files();
    let refusal = refused(ErrorKind::Incompatible, scene.options().open().await);
    assert!(refusal.contains("version 2") && refusal.contains("writes 1"), "{refusal}");
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn a_folder_of_something_else_is_left_alone() {
    let scene = Scene::new();
    fs::create_dir(scene.store()).unwrap();
    fs::write(scene.store().join("notes.txt"), "mine").unwrap();
    let before = scene.files();
    refused(ErrorKind::Incompatible, scene.options().open().await);
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let scene = Scene::new();
    let foreign = rocksdb::DB::open_default(scene.store()).unwrap();
    foreign.put("k", "v").unwrap();
    drop(foreign);
    let before = scene.files();
    refused(ErrorKind::Incompatible, scene.options().open().await);
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn a_file_is_no_folder() {
    let scene = Scene::new();
    fs::write(scene.store(), "a file").unwrap();
    refused(ErrorKind::InvalidInput, scene.options().open().await);
    assert_eq!(fs::read(scene.store()).unwrap(), b"a file");
}

#[tokio::test]
async fn what_is_not_there_is_created_only_when_asked() {
    let scene = Scene::new();
    refused(ErrorKind::InvalidInput, scene.options().create(false).open().await);
    assert!(!scene.store().exists());
    refused(ErrorKind::InvalidInput, RocksdbOptions::new(scene.store().join("below")).open().await);
    scene.open().await.close().await.unwrap();
    scene.options().create(false).open().await.unwrap();
}

#[tokio::test]
async fn a_creation_that_crashed_is_begun_anew() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let marker = fs::read(scene.inside().join("irminsul")).unwrap();
    for left in [None, Some(&[][..]), Some(&marker[..10]), Some(&marker)] {
        let scene = Scene::new();
        let new = scene.store().join("irminsul.new");
        fs::create_dir_all(&new).unwrap();
        fs::write(scene.store().join("irminsul.lock"), "").unwrap();
        if let Some(marker) = left {
            fs::write(new.join("irminsul"), marker).unwrap();
        }
        scene.open().await.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
        assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
    }
}

#[tokio::test]
async fn data_that_is_not_found_any_more_is_not_removed() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    store.close().await.unwrap();
    let current = scene.inside().join("CURRENT");
    let aside = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    let before = scene.files();
    refused(ErrorKind::Corrupt, scene.options().open().await);
    assert_eq!(scene.files(), before);
    fs::write(current, aside).unwrap();
    assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
}

#[tokio::test]
async fn a12_what_names_no_manifest_any_more_is_corrupt_and_left_as_it_is() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let rotten: [&[u8]; 5] = [b"", b"MANIFEST-00\x00004\n", b"MANIFEST-/../4\n", b"/dev/null\n", b"MANIFEST-\xff\n"];
    for bytes in rotten {
        fs::write(scene.inside().join("CURRENT"), bytes).unwrap();
        let before = scene.files();
        let refusal = refused(ErrorKind::Corrupt, scene.options().open().await);
        assert!(refusal.contains("manifest"), "{refusal}");
        assert_eq!(scene.files(), before);
    }
}

/// A refused open, and one that crashed, leave what is known of the last close.
#[tokio::test]
async fn a12_a_manifest_that_was_cut_between_a_close_and_a_later_open_is_corrupt() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    store.close().await.unwrap();
    // RocksDB cannot lock a folder.
    let lock = scene.inside().join("LOCK");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    scene.options().open().await.unwrap_err();
    fs::remove_dir(&lock).unwrap();
    let name = fs::read_to_string(scene.inside().join("CURRENT")).unwrap();
    let manifest = scene.inside().join(name.trim_end());
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    let refusal = refused(ErrorKind::Corrupt, scene.options().open().await);
    assert!(refusal.contains("not as it was when it was closed"), "{refusal}");
    fs::write(&manifest, whole).unwrap();
    assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
}

/// Where the records of a file begin that has one block.
fn records(bytes: &[u8]) -> Vec<usize> {
    let behind =
        |at: &usize| Some(at + 7 + usize::from(u16::from_le_bytes([*bytes.get(at + 4)?, *bytes.get(at + 5)?])));
    std::iter::successors(Some(0), behind).take_while(|at| at + 7 <= bytes.len()).collect()
}

/// RocksDB would read these without end.
#[tokio::test]
async fn a12_a_record_that_rotted_into_that_of_a_recycled_log_is_corrupt_and_left_as_it_is() {
    let scene = Scene::new();
    let store = scene.open().await;
    for number in 0..3 {
        store.atomic_write().unwrap().set(&key("k"), value(number)).await.unwrap();
    }
    // Dropped, it leaves a log, as in a crash.
    drop(store);
    let current = fs::read_to_string(scene.inside().join("CURRENT")).unwrap();
    let read = |(path, _)| scene.store().join::<std::path::PathBuf>(path);
    let logs = scene.logs().map(read).filter(|log| fs::metadata(log).unwrap().len() > 0);
    for path in logs.chain([scene.inside().join(current.trim_end())]).collect::<Vec<_>>() {
        let whole = fs::read(&path).unwrap();
        let last = *records(&whole).last().unwrap();
        for kind in [5, 8, 11, 131] {
            let mut rotten = whole.clone();
            rotten[last + 6] = kind;
            fs::write(&path, rotten).unwrap();
            let before = scene.files();
            let refusal = refused(ErrorKind::Corrupt, scene.options().open().await);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(refusal.contains(name) && refusal.contains(&format!("byte {last};")), "{refusal}");
            assert_eq!(scene.files(), before);
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(2)));
}

/// RocksDB makes its files by their paths: they would lie beside those of whatever is there by then.
#[tokio::test]
async fn a_store_that_is_moved_while_it_is_open_writes_nothing_where_it_was() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        entries.set(&key("k"), value(1)).await.unwrap();
        let elsewhere = scene.store().with_file_name("elsewhere");
        fs::rename(scene.store(), &elsewhere).unwrap();
        fs::create_dir_all(scene.inside()).unwrap();
        let error = entries.set(&key("k"), value(2)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Other && error.to_string().contains("moved or removed"), "{error:?}");
        assert!(scene.files().is_empty());
        fs::remove_dir_all(scene.store()).unwrap();
        fs::rename(elsewhere, scene.store()).unwrap();
        entries.set(&key("k"), value(3)).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(3)));
    }
}

/// What is in no table yet is gone with the log.
#[tokio::test]
async fn a12_a_store_that_was_not_closed_and_has_no_log_is_corrupt_and_left_as_it_is() {
    let scene = Scene::new();
    for number in 0..3 {
        // Dropped, it puts nothing into its place, as in a crash.
        let store = scene.open().await;
        store.atomic_write().unwrap().set(&key("k"), value(number)).await.unwrap();
        drop(store);
        let logs: Vec<_> = scene.logs().collect();
        for (name, _) in &logs {
            fs::remove_file(scene.store().join(name)).unwrap();
        }
        let before = scene.files();
        let refusal = refused(ErrorKind::Corrupt, scene.options().open().await);
        assert!(refusal.contains("write-ahead log of the store is missing"), "{refusal}");
        assert_eq!(scene.files(), before);
        for (name, bytes) in &logs {
            fs::write(scene.store().join(name), bytes).unwrap();
        }
        let store = scene.open().await;
        assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(number)));
        if number == 1 {
            store.close().await.unwrap();
        }
    }
}

/// RocksDB makes a manifest before its first log.
#[tokio::test]
async fn a_first_open_that_crashed_is_taken_up() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let marker = fs::read(scene.inside().join("irminsul")).unwrap();
    let crashed = Scene::new();
    drop(rocksdb::DB::open_default(crashed.store()).unwrap());
    let scene = Scene::new();
    fs::create_dir_all(scene.inside()).unwrap();
    fs::write(scene.inside().join("irminsul"), marker).unwrap();
    for (name, bytes) in crashed.files() {
        if name.extension().is_none_or(|end| end != "log") {
            fs::write(scene.inside().join(name), bytes).unwrap();
        }
    }
    scene.open().await.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    assert_eq!(scene.open().await.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
}

#[tokio::test]
async fn a_crash_behind_a_close_and_an_open_is_not_taken_for_rot() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    for number in 0..3 {
        // Dropped, it leaves no note, as a crash.
        let store = scene.open().await;
        store.atomic_write().unwrap().set(&key("k"), value(number)).await.unwrap();
        drop(store);
        let store = scene.open().await;
        assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(number)));
    }
}

#[tokio::test]
async fn each_damaged_or_missing_file_is_corrupt_or_does_not_matter() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    let long = store.indexable().unwrap().add(long_value()).await.unwrap();
    store.close().await.unwrap();
    let whole = scene.files();
    for (name, bytes) in &whole {
        for damaged in [None, Some(Vec::new()), Some(vec![0xa5; bytes.len()]), Some(bytes[..bytes.len() / 2].to_vec())]
        {
            let copy = Scene::new();
            fs::create_dir_all(copy.inside()).unwrap();
            for (other, bytes) in &whole {
                fs::write(copy.store().join(other), bytes).unwrap();
            }
            match &damaged {
                Some(damaged) => fs::write(copy.store().join(name), damaged).unwrap(),
                None => fs::remove_file(copy.store().join(name)).unwrap(),
            }
            read_or_refuse(&copy, long)
                .await
                .unwrap_or_else(|why| panic!("{} with {damaged:.20?}: {why}", name.display()));
        }
    }
}

/// What was written is there, or the open or the read is refused with a reason.
async fn read_or_refuse(scene: &Scene, long: ContentKey) -> Result<(), String> {
    let store = match scene.options().open().await {
        Ok(store) => store,
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) => return Ok(()),
        Err(error) => return Err(format!("the open: {error:?}")),
    };
    match store.atomic_write().unwrap().find(&key("k")).await {
        Ok(Some(found)) if found == value(1) => {}
        Err(error) if error.kind() == ErrorKind::Corrupt => {}
        other => return Err(format!("the entry: {other:?}")),
    }
    match store.indexable().unwrap().find(&long).await {
        Ok(Some(found)) if found == long_value() => Ok(()),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
        other => Err(format!("the content: {:?}", other.map(|found| found.map(|found| found.len())))),
    }
}

fn long_value() -> Bytes {
    vec![7; 100_000].into()
}
