//! Stores in a bucket, by their addresses: on an emulator of S3 and on one of Azure Blob.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use conformance::proxy::Proxy;
use serde_json::{Value, json};
use test_servers::{Endpoint, Kind, Shared};
use tokio::runtime::{Builder, Runtime};

use crate::sandbox::{Ran, Sandbox};

/// A prefix of a server's bucket, behind a proxy that counts.
struct Bucket {
    server: Shared,
    proxy: Proxy,
    prefix: String,
    sandbox: Sandbox,
    _runtime: Runtime,
}

impl Bucket {
    fn of(kind: Kind) -> Self {
        let server = Shared::get(kind).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = ([127, 0, 0, 1], server.endpoint().port()).into();
        let proxy = runtime.block_on(Proxy::start(address, 0)).unwrap();
        let prefix = format!("cli-{:016x}", fastrand::u64(..));
        Self { server, proxy, prefix, sandbox: Sandbox::new(), _runtime: runtime }
    }

    fn endpoint(&self) -> Endpoint {
        self.server.endpoint()
    }

    fn address(&self, options: &str) -> String {
        let (direct, through) = (self.endpoint().url(), self.endpoint().url_through(self.proxy.address().port()));
        let address = self.endpoint().address(&self.prefix).replace(&direct, &through);
        format!("{address}&region=us-east-1{options}")
    }

    /// A command upon the store: the address follows its name.
    fn command(&self, name: &str, options: &str, args: &[&str]) -> Command {
        let address = self.address(options);
        let mut command = self.sandbox.command(&[&[name, &address], args].concat());
        command.envs(self.endpoint().credentials());
        command
    }

    fn run(&self, name: &str, options: &str, args: &[&str]) -> Ran {
        self.command(name, options, args).output().unwrap().into()
    }

    #[track_caller]
    fn ok(&self, name: &str, args: &[&str]) -> String {
        self.run(name, "", args).expect(0)
    }

    /// What the server answers to anybody who asks for something in the bucket.
    fn request(&self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.endpoint().port())).unwrap();
        let (bucket, len) = (self.endpoint().bucket(), body.len());
        let head = format!("{method} /{bucket}{target} HTTP/1.1\r\nHost: server\r\nContent-Length: {len}\r\n");
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
        answer.split_off(end + 4)
    }

    /// The names below the prefix.
    fn objects(&self) -> Vec<String> {
        let listed = self.request("GET", &format!("?list-type=2&prefix={}", self.prefix), b"");
        let listed = String::from_utf8(listed).unwrap();
        let names = listed.split("<Key>").skip(1);
        names.map(|rest| rest.split_once("</Key>").expect("an element ends").0.to_owned()).collect()
    }

    /// A byte of the one pack rots.
    fn rot(&self, at: impl FnOnce(&[u8]) -> usize) {
        let is_pack = |name: &String| name.contains("/packs/");
        let [pack] = self.objects().into_iter().filter(is_pack).collect::<Vec<_>>().try_into().unwrap();
        let mut bytes = self.request("GET", &format!("/{pack}"), b"");
        let at = at(&bytes);
        bytes[at] ^= 1;
        self.request("PUT", &format!("/{pack}"), &bytes);
    }
}

fn is_used_by_its_address(kind: Kind) {
    let bucket = Bucket::of(kind);
    bucket.ok("put", &["key", "value"]);
    assert_eq!(bucket.ok("get", &["key"]), "value");
    bucket.ok("cas", &["key", "--test", "value", "--set", "other"]);
    bucket.run("cas", "", &["key", "--test", "value", "--set", "another"]).expect(1);
    assert_eq!(bucket.ok("ls", &[]), "key\n");
    bucket.ok("add", &[&bucket.sandbox.write("file", "content")]);
    let before = bucket.proxy.requests();
    let told: Value = serde_json::from_str(&bucket.ok("info", &["--requests", "--json"])).unwrap();
    let on_the_wire = bucket.proxy.requests() - before;
    assert_eq!(told["durability"], "Service");
    assert_eq!(told["visibility"], "Cluster");
    assert_eq!((&told["entries"]["count"], &told["content"]["count"]), (&json!(1), &json!(1)));
    // Of the open: GET, 4 PUT, DELETE. Then a list and an entry; the root, a list, a pack's end, a value.
    assert_eq!(told["requests"], json!({"delete": 1, "get": 5, "list": 2, "put": 4}));
    assert_eq!(on_the_wire, 12);
}

#[test]
fn a_store_on_s3_is_used_by_its_address_and_counts_what_it_sends() {
    is_used_by_its_address(Kind::Ministack);
}

#[test]
fn a_store_on_azure_is_used_by_its_address_and_counts_what_it_sends() {
    is_used_by_its_address(Kind::Azurite);
}

#[test]
fn what_another_process_added_to_a_bucket_is_not_stored_again_unless_it_is_to_be_repaired() {
    let bucket = Bucket::of(Kind::Ministack);
    let file = bucket.sandbox.write("file", "content");
    let added = bucket.ok("add", &[&file]);
    let before = bucket.objects();
    assert_eq!(bucket.ok("add", &[&file]), added);
    assert_eq!(bucket.ok("add", &["--repair", &file]), added);
    assert_eq!(bucket.objects(), before);
    bucket.rot(|pack| pack.windows(7).position(|window| window == b"content").expect("it is in the pack"));
    assert_eq!(bucket.ok("add", &[&file]), added);
    assert_eq!(bucket.objects(), before);
    let repaired = bucket.ok("add", &["--repair", &file]);
    assert_eq!(bucket.objects().len(), before.len() + 1);
    let key = repaired.split('\t').next().expect("a line has a key");
    assert_eq!(bucket.ok("cat", &[key]), "content");
}

#[test]
fn a_damaged_pack_in_a_bucket_keeps_nobody_from_adding_what_it_may_hold() {
    let bucket = Bucket::of(Kind::Ministack);
    bucket.ok("add", &[&bucket.sandbox.write("file", "content")]);
    // The end of a pack says what is in it.
    bucket.rot(|pack| pack.len() - 1);
    let other = bucket.sandbox.write("other", "other content");
    let added = bucket.ok("add", &[&other]);
    let key = added.split('\t').next().expect("a line has a key");
    assert_eq!(bucket.ok("cat", &[key]), "other content");
}

#[test]
fn the_options_of_an_address_reach_the_store_in_a_bucket() {
    let bucket = Bucket::of(Kind::Ministack);
    bucket.run("put", "&create=off", &["key", "value"]).refused("create");
    assert_eq!(bucket.objects(), [""; 0]);
    for key in ["a", "b"] {
        bucket.ok("put", &[key, "value"]);
    }
    bucket.run("watch", "&watch_limit=1", &["--count", "1"]).refused("at most 1 objects");
    bucket.run("ls", "&patience=0", &[]).refused("it is written patience=MS (at least 1)");
    bucket.run("ls", "&shelf=top", &[]).refused("the option `shelf` is not known");
    let nowhere = bucket.sandbox.run(&["ls", "s3://"]);
    nowhere.refused("names a bucket");
}

#[test]
fn a_scratch_store_in_a_bucket_is_removed_with_all_its_objects() {
    let bucket = Bucket::of(Kind::Ministack);
    bucket.ok("put", &["key", "value"]);
    let before = bucket.objects();
    assert!(!before.is_empty());
    let sent = bucket.proxy.requests();
    bucket.ok("conform", &["--case", "atomic/A2-*", "--seed", "7"]);
    assert!(bucket.proxy.requests() > sent + 20, "nothing was tried there");
    assert_eq!(bucket.objects(), before);
}
