//! Answers of all kinds that no honest service gives, to one kind of request at a time.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt};
use libtest_mimic::Trial;
use store_api::{Append, AtomicWrite, Backend, ContentRead, EntryRead, ErrorKind, HashFunction, Init, Key};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    VALUE,
    scene::{Class, LONGEST, Scene, expect_clear},
    server::{Answer, Request, Server, head, listed_object, listing},
    trial,
};

const TAG: &str = "ETag: \"tag\"\r\n";
const UNTIL_THE_END: &str = "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\n\r\n";

/// What the system takes of an answer by itself, on both ends of a connection.
const IN_BUFFERS: u64 = 24 * MIB;
const MIB: u64 = 1024 * 1024;
/// Of the answers that are no objects and no listings; and of a head.
const LITTLE: u64 = IN_BUFFERS + MIB;
const PAGE: u64 = IN_BUFFERS + 16 * MIB;
/// Bounded by time alone: nothing of it is kept.
const ANY: u64 = u64::MAX;

struct Attack {
    name: &'static str,
    class: Class,
    /// How many bytes the client may take of an answer.
    most: u64,
    answer: fn() -> Answer,
}

const fn attack(class: Class, name: &'static str, most: u64, answer: fn() -> Answer) -> Attack {
    Attack { name, class, most, answer }
}

use Class::{Delete, Get, Head, List, Put};

const ATTACKS: &[Attack] = &[
    attack(Get, "silence", LITTLE, || Answer::Silent(Vec::new())),
    attack(Get, "no_http", LITTLE, || Answer::Bytes(b"\0\0\0 this is no HTTP\r\n\r\n".into())),
    attack(Get, "a_head_byte_by_byte", LITTLE, || Answer::Slow(Vec::new(), head("200 OK", TAG, 5))),
    attack(Get, "a_body_byte_by_byte", LITTLE, || Answer::Slow(head("200 OK", TAG, 1000), vec![b'x'; 1000])),
    attack(Get, "a_body_that_is_cut_short", LITTLE, || Answer::Bytes(with_body(head("200 OK", TAG, 1000), b"short"))),
    attack(Get, "a_body_longer_than_it_says", LITTLE, || {
        Answer::Bytes(with_body(head("200 OK", TAG, 5), &[b'x'; 1000]))
    }),
    attack(Get, "a_body_of_no_length", LITTLE, || Answer::Bytes(with_body(UNTIL_THE_END, b"value"))),
    attack(Get, "an_endless_body", LITTLE, || Answer::Endless(UNTIL_THE_END.into(), vec![b'x'; 65536])),
    attack(Get, "a_length_beyond_all_memory", LITTLE, || Answer::Silent(with_body(head("200 OK", TAG, 1 << 62), b"x"))),
    attack(Get, "a_range_beyond_all_memory", LITTLE, || {
        Answer::Endless(partial("bytes 0-0/9", 1 << 62), vec![b'x'; 65536])
    }),
    attack(Get, "a_range_without_an_end", LITTLE, || {
        Answer::Silent(partial("bytes 0-18446744073709551615/18446744073709551615", 1))
    }),
    attack(Get, "endless_headers", LITTLE, || Answer::Endless(b"HTTP/1.1 200 OK\r\n".into(), padding())),
    attack(Get, "an_endless_header", LITTLE, || Answer::Endless(b"HTTP/1.1 200 OK\r\nX: ".into(), vec![b'x'; 4096])),
    attack(Get, "endless_interim_answers", ANY, || {
        Answer::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))
    }),
    attack(Get, "a_giant_tag", LITTLE, || tagged(&"x".repeat(100_000))),
    attack(Get, "a_tag_that_is_no_text", LITTLE, || tagged("a\tb")),
    attack(Get, "no_tag", LITTLE, || Answer::Bytes(with_body(head("200 OK", "", 5), b"value"))),
    attack(Get, "garbage", LITTLE, || Answer::Bytes(with_body(head("200 OK", TAG, 7), b"garbage"))),
    attack(Get, "an_endless_error", LITTLE, || {
        Answer::Endless(b"HTTP/1.1 403 Forbidden\r\n\r\n".into(), vec![b'x'; 65536])
    }),
    attack(Get, "a_304_to_no_condition", LITTLE, || Answer::Bytes(head("304 Not Modified", TAG, 0))),
    attack(Put, "silence", LITTLE, || Answer::Silent(Vec::new())),
    attack(Put, "no_http", LITTLE, || Answer::Bytes(b"\x16\x03\x01".into())),
    attack(Put, "no_tag", LITTLE, || Answer::Bytes(head("200 OK", "", 0))),
    attack(Put, "a_giant_tag", LITTLE, || tagged(&"x".repeat(100_000))),
    attack(Put, "endless_headers", LITTLE, || Answer::Endless(b"HTTP/1.1 200 OK\r\n".into(), padding())),
    attack(Put, "an_endless_error", LITTLE, || {
        Answer::Endless(b"HTTP/1.1 500 Internal Server Error\r\n\r\n".into(), vec![b'x'; 65536])
    }),
    attack(Put, "a_refusal_of_everything", LITTLE, || Answer::Bytes(head("412 Precondition Failed", "", 0))),
    attack(List, "silence", LITTLE, || Answer::Silent(Vec::new())),
    attack(List, "a_page_byte_by_byte", LITTLE, || Answer::Slow(head("200 OK", "", 1000), vec![b' '; 1000])),
    attack(List, "a_page_without_an_end", PAGE, || {
        let object = listed_object("store/entries/a_", 9, "tag").repeat(100);
        Answer::Endless(with_body(UNTIL_THE_END, b"<ListBucketResult>"), object.into())
    }),
    attack(List, "a_length_beyond_all_memory", PAGE, || {
        Answer::Endless(head("200 OK", "", 1 << 62), vec![b' '; 65536])
    }),
    attack(List, "pages_that_repeat_without_an_end", LITTLE, || {
        page(
            &[listed_object("store/entries/a_", 9, "tag"), listed_object("store/entries/b_", 9, "tag"), more()]
                .concat(),
        )
    }),
    attack(List, "empty_pages_without_an_end", LITTLE, || page(&more())),
    attack(List, "no_xml", LITTLE, || Answer::Bytes(with_body(head("200 OK", "", 6), b"<<<&&&"))),
    attack(List, "a_page_that_is_cut_short", LITTLE, || xml("<ListBucketResult><Contents><Key>a")),
    attack(List, "elements_in_elements", LITTLE, || {
        xml(&("<ListBucketResult>".to_owned() + &"<Contents>".repeat(200_000)))
    }),
    attack(List, "unknown_elements_in_each_other", LITTLE, || {
        xml(&("<ListBucketResult>".to_owned() + &"<x>".repeat(200_000)))
    }),
    attack(List, "a_billion_laughs", LITTLE, || xml(&laughs())),
    attack(List, "a_size_that_is_no_number", LITTLE, || page(&sized("-1"))),
    attack(List, "an_endless_error", LITTLE, || {
        Answer::Endless(b"HTTP/1.1 400 Bad Request\r\n\r\n".into(), vec![b'x'; 65536])
    }),
    attack(Head, "silence", LITTLE, || Answer::Silent(Vec::new())),
    attack(Head, "no_http", LITTLE, || Answer::Bytes(b"\0\0\0".into())),
    attack(Head, "no_tag", LITTLE, || Answer::Bytes(head("200 OK", "", 5))),
    attack(Head, "a_giant_tag", LITTLE, || tagged(&"x".repeat(100_000))),
    attack(Head, "a_304_to_no_condition", LITTLE, || Answer::Bytes(head("304 Not Modified", TAG, 0))),
    attack(Head, "endless_headers", LITTLE, || Answer::Endless(b"HTTP/1.1 200 OK\r\n".into(), padding())),
    attack(Head, "an_error_with_a_body_without_an_end", LITTLE, || {
        Answer::Endless(b"HTTP/1.1 403 Forbidden\r\n\r\n".into(), vec![b'x'; 65536])
    }),
    attack(Delete, "silence", LITTLE, || Answer::Silent(Vec::new())),
    attack(Delete, "no_http", LITTLE, || Answer::Bytes(b"\0\0\0".into())),
    attack(Delete, "endless_headers", LITTLE, || Answer::Endless(b"HTTP/1.1 204 No Content\r\n".into(), padding())),
    attack(Delete, "an_endless_error", LITTLE, || {
        Answer::Endless(b"HTTP/1.1 500 Internal Server Error\r\n\r\n".into(), vec![b'x'; 65536])
    }),
    attack(Delete, "a_head_byte_by_byte", LITTLE, || {
        Answer::Slow(Vec::new(), head("204 No Content", &padding_of(200), 0))
    }),
];

fn with_body(head: impl Into<Vec<u8>>, body: &[u8]) -> Vec<u8> {
    let mut answer = head.into();
    answer.extend_from_slice(body);
    answer
}

fn partial(range: &str, len: usize) -> Vec<u8> {
    head("206 Partial Content", &format!("{TAG}Content-Range: {range}\r\n"), len)
}

fn tagged(tag: &str) -> Answer {
    Answer::Bytes(with_body(head("200 OK", &format!("ETag: \"{tag}\"\r\n"), 5), b"value"))
}

fn padding() -> Vec<u8> {
    padding_of(4000).into()
}

fn padding_of(len: usize) -> String {
    format!("X-Padding: {}\r\n", "x".repeat(len))
}

fn xml(body: &str) -> Answer {
    Answer::Bytes(with_body(head("200 OK", "", body.len()), body.as_bytes()))
}

fn page(body: &str) -> Answer {
    xml(&listing(body))
}

fn more() -> String {
    "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>".into()
}

fn sized(size: &str) -> String {
    listed_object("store/entries/a_", 9, "tag").replace("<Size>9", &format!("<Size>{size}"))
}

/// Entities of entities: a name of 10^9 times `ha`.
fn laughs() -> String {
    let mut text = "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e0 \"ha\">".to_owned();
    for i in 1..10 {
        // Writing to a string does not fail.
        let _ = write!(text, "<!ENTITY e{i} \"{}\">", format!("&e{};", i - 1).repeat(10));
    }
    text + "]>" + &listing(&listed_object("&e9;", 9, "tag")).replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "")
}

fn is_of(class: Class, request: &Request) -> bool {
    match class {
        Get => request.is_get(),
        Put => request.is_put(),
        List => request.is_list(),
        Head => request.is_head(),
        Delete => request.is_delete(),
    }
}

/// What is answered while requests of a class are attacked.
fn answer(attack: &Attack, request: &Request) -> Answer {
    if is_of(attack.class, request) {
        return (attack.answer)();
    }
    // Whether a pack is there is asked by who was refused.
    if attack.class == Head && request.is_put() && request.name.contains("/packs/") {
        return Answer::Bytes(head("412 Precondition Failed", "", 0));
    }
    Answer::Honest
}

pub(crate) fn trials() -> Vec<Trial> {
    let one_by_one = ATTACKS.iter().map(|attack| {
        let class = format!("{:?}", attack.class).to_lowercase();
        trial(format!("every_operation_ends_where_a_{class}_is_answered_with_{}", attack.name), move || {
            withstand(attack)
        })
    });
    let others = [
        trial("a_listing_without_an_end_costs_little_memory", fresh_names),
        trial("a_store_that_is_removed_keeps_no_names_of_a_listing_without_an_end", destroy_fresh_names),
        trial("a_close_ends_a_clear_over_a_listing_without_an_end", close_amid_a_clear_without_an_end),
        trial("w7_what_is_kept_of_a_value_holds_no_buffer_of_the_transport", own_bytes),
        trial("sizes_that_no_sum_has_room_for_are_listed", giant_sizes),
        trial("k2_names_that_cannot_be_read_are_passed_over", illegible_names),
    ];
    one_by_one.chain(others).collect()
}

async fn withstand(attack: &'static Attack) {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    server.answers(move |request| answer(attack, request));
    let classes: &[Class] = match attack.class {
        Get => &[Get],
        Put => &[Put],
        List => &[List],
        Head => &[Head],
        Delete => &[Delete],
    };
    scene.do_everything(classes).await;
    assert!(server.taken() > 0 || attack.name == "silence", "nothing was attacked");
    assert!(server.taken() <= attack.most, "{} bytes were taken of an answer", server.taken());
}

/// Ever other names cannot be told from those of a large store: whoever keeps them has a limit, and whoever does not may
/// go on for as long as he likes.
async fn fresh_names() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let told = AtomicU64::new(0);
    server.answers(move |request| if request.is_list() { fresh_page(&told) } else { Answer::Honest });
    let entries = scene.entries();
    let refused = entries.watch(&Key::root(), Init::Current).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    expect_clear("watch", &refused);
    let keys = entries.list(&Key::root()).take(5000).collect::<Vec<_>>().await;
    assert!(keys.len() == 5000 && keys.iter().all(Result::is_ok));
    server.answers(|_| Answer::Honest);
    let found = entries.find(&crate::scene::key("entry")).await.unwrap();
    assert_eq!(found.as_deref(), Some(VALUE.as_bytes()));
}

/// The next thousand names of entries, and that there are more.
fn fresh_page(told: &AtomicU64) -> Answer {
    page_of_fresh(told, "_")
}

/// The next thousand names, which end so.
fn page_of_fresh(told: &AtomicU64, end: &str) -> Answer {
    let first = told.fetch_add(1000, Ordering::Relaxed);
    let names = (first..first + 1000).map(|i| listed_object(&format!("store/entries/k{i}{end}"), 9, "tag"));
    page(&(names.collect::<String>() + &more()))
}

/// Names that are no entry's, without an end: there is nothing to remove, and always more to look at.
async fn close_amid_a_clear_without_an_end() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let (told, listed) = (AtomicU64::new(0), Arc::new(Semaphore::new(0)));
    let pages = Arc::clone(&listed);
    server.answers(move |request| {
        pages.add_permits(usize::from(request.is_list()));
        if request.is_list() { page_of_fresh(&told, "") } else { Answer::Honest }
    });
    let entries = scene.entries();
    let clearing = tokio::spawn(async move { entries.clear().await });
    drop(listed.acquire_many(3).await.unwrap());
    timeout(LONGEST, scene.store.close()).await.expect("the close ends").unwrap();
    assert_eq!(clearing.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

async fn own_bytes() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let found = scene.entries().find(&crate::scene::key("entry")).await.unwrap().unwrap();
    // The cache goes with the store, and the connection some time later.
    drop(scene);
    let buffer = found.try_into_mut().expect("nobody else has it");
    assert_eq!(buffer.capacity(), VALUE.len());
}

async fn giant_sizes() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let giant = sized(&u64::MAX.to_string());
    let objects = [giant.clone(), giant.replace("a_", "b_")].concat();
    server.answers(move |request| if request.is_list() { page(&objects) } else { Answer::Honest });
    let keys: Vec<_> = scene.entries().list(&Key::root()).try_collect().await.unwrap();
    assert_eq!(keys, ["a", "b"].map(crate::scene::key));
}

/// What is listed is removed before more of it is asked for.
async fn destroy_fresh_names() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let (told, deleted) = (AtomicU64::new(0), Arc::new(Semaphore::new(0)));
    let requests = Arc::clone(&deleted);
    server.answers(move |request| {
        requests.add_permits(usize::from(request.is_delete()));
        if request.is_list() { fresh_page(&told) } else { Answer::Honest }
    });
    tokio::select! {
        ended = scene.options().destroy() => panic!("there is no end of them: {ended:?}"),
        enough = deleted.acquire_many(3000) => drop(enough.unwrap()),
    }
}

/// Names that no store makes are no names of this one, and hide none that are.
async fn illegible_names() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    for name in ["entries//a_", "entries/./b_", "entries/../../other", "packs//x", "packs/./y", "index//z"] {
        server.put(&format!("store/{name}"));
    }
    let entries = scene.entries();
    let keys: Vec<_> = entries.list(&Key::root()).try_collect().await.unwrap();
    assert_eq!(keys, [crate::scene::key("entry")]);
    let values: Vec<_> = entries.entries(&Key::root()).try_collect().await.unwrap();
    assert_eq!(values, [(crate::scene::key("entry"), VALUE.into())]);
    drop(entries.watch(&Key::root(), Init::Current).await.unwrap());
    let content = scene.content();
    let keys: Vec<_> = content.keys().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(content.index(&HashFunction::Blake3.hash(b"unknown")).await.unwrap(), None);
    content.add("another".into()).await.unwrap();
    entries.clear().await.unwrap();
    assert!(entries.list(&Key::root()).try_collect::<Vec<_>>().await.unwrap().is_empty());
    scene.options().destroy().await.unwrap();
    let left = server.names();
    assert!(left.iter().all(|name| name.contains("//") || name.contains("/.")), "{left:?}");
}
