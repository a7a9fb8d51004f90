//! The servers start, serve, and end with those who use them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use test_servers::{Endpoint, Kind, Server, Shared};

fn request(endpoint: Endpoint, method: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port())).unwrap();
    let (bucket, len) = (endpoint.bucket(), body.len());
    write!(
        stream,
        "{method} /{bucket}/object HTTP/1.1\r\nHost: server\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn listens(endpoint: Endpoint) -> bool {
    TcpStream::connect(("127.0.0.1", endpoint.port())).is_ok()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn keeps_its_files_when_it_is_killed(kind: Kind) {
    let mut server = Server::start(kind).unwrap();
    let endpoint = server.endpoint();
    assert!(request(endpoint, "PUT", "kept").starts_with("HTTP/1.1 200"));
    server.kill().unwrap();
    assert!(!listens(endpoint));
    server.restart().unwrap();
    assert_eq!(server.endpoint().port(), endpoint.port());
    let mut answer = String::new();
    wait_until("it can say what it has", || {
        answer = request(endpoint, "GET", "");
        !answer.starts_with("HTTP/1.1 5")
    });
    assert!(answer.ends_with("kept"), "{answer}");
}

#[test]
fn seaweedfs_keeps_its_files_when_it_is_killed() {
    keeps_its_files_when_it_is_killed(Kind::SeaweedFs);
}

#[test]
fn ministack_keeps_its_files_when_it_is_killed() {
    keeps_its_files_when_it_is_killed(Kind::Ministack);
}

#[test]
fn ministack_leaves_nothing_outside_its_folder_when_it_is_killed() {
    let mut server = Server::start(Kind::Ministack).unwrap();
    let name = format!("ministack-{}.pid", server.endpoint().port());
    let (inside, outside) = (server.folder().join(&name), std::env::temp_dir().join(&name));
    assert!(inside.exists(), "it says nowhere what runs");
    server.kill().unwrap();
    assert!(!outside.exists());
}

#[test]
fn azurite_starts_again_where_it_was() {
    let mut server = Server::start(Kind::Azurite).unwrap();
    server.restart().unwrap();
    assert!(listens(server.endpoint()));
}

#[test]
fn a_server_and_its_files_go_when_it_is_dropped() {
    let server = Server::start(Kind::S3rver).unwrap();
    let (endpoint, folder) = (server.endpoint(), server.folder().to_owned());
    drop(server);
    assert!(!listens(endpoint) && !folder.exists());
}

#[test]
fn one_server_is_shared_while_it_is_used() {
    let (one, other) = (Shared::get(Kind::Ministack).unwrap(), Shared::get(Kind::Ministack).unwrap());
    assert_eq!(one.endpoint().port(), other.endpoint().port());
    drop(one);
    assert!(request(other.endpoint(), "PUT", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_server_ends_with_a_process_that_is_killed() {
    let mut user = Command::new(env!("CARGO_BIN_EXE_test-servers"))
        .arg("s3rver")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(user.stdout.take().unwrap()).lines();
    let store = lines.map(Result::unwrap).find(|line| line.starts_with("export STORE=")).expect("it serves");
    let port: u16 = store.trim_end_matches('\'').rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    user.kill().unwrap();
    user.wait().unwrap();
    wait_until("the server ends with the last who uses it", || TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn files_that_a_killed_process_left_are_swept() {
    let server = Server::start(Kind::S3rver).unwrap();
    let left = server.folder().with_file_name("s3rver-left");
    std::fs::create_dir_all(&left).unwrap();
    File::create(left.join("kept")).unwrap();
    let _next = Server::start(Kind::S3rver).unwrap();
    assert!(!left.exists() && server.folder().exists());
}
