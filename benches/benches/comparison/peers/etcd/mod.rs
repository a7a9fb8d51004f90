//! etcd, a server of its own on the loopback interface: compare-and-swap and watches are what it is for.

mod connection;
mod messages;

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use benches::{Client, Driven, Facts, Feed, Feeds, Role, Store, Subject};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use store_api::{Durability, Error, ErrorKind, Key, Result, TestAndSet};

use self::connection::Connection;
use crate::engines::failed;

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// How many connections the clients share: one alone would be what they wait for.
const CONNECTIONS: usize = 8;
/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(30);
/// How many writes are under way while it is filled.
const FILLING: usize = 64;

/// A server for each store, as it comes from the distribution.
pub(crate) struct Etcd {
    version: String,
}

impl Etcd {
    /// The server that is installed here, if one is.
    pub(crate) fn find() -> Option<Self> {
        let told = Command::new("etcd").arg("--version").stdin(Stdio::null()).output().ok()?;
        let told = String::from_utf8(told.stdout).ok()?;
        Some(Self { version: told.lines().next()?.replace("etcd Version:", "etcd") })
    }

    fn facts(&self) -> Facts {
        Facts {
            name: "etcd".into(),
            role: Role::Peer,
            durability: Durability::Power,
            visibility: None,
            cache: "all".into(),
            version: self.version.clone(),
            driven: Driven::Tasks,
            beside: None,
            note: Some("one member, reached over the loopback interface; keeps old revisions".into()),
        }
    }
}

impl Subject for Etcd {
    type Store = Server;

    fn facts(&self) -> Facts {
        self.facts()
    }

    async fn open(&self, place: &Path) -> Result<Server> {
        Server::start(place).await
    }
}

/// A server that runs, with connections to it.
pub(crate) struct Server {
    process: Running,
    connections: Vec<Connection>,
    next: AtomicUsize,
}

/// A process that ends when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    async fn start(place: &Path) -> Result<Self> {
        let [clients, peers] = [free_address()?, free_address()?];
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(place.join("etcd"))
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let process = Running(process);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(connect(&clients).await?);
        }
        Ok(Self { process, connections, next: AtomicUsize::new(0) })
    }

    fn connection(&self) -> Connection {
        self.connections[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS].clone()
    }
}

/// An address that nothing listens at.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    Ok(format!("http://{}", listener.local_addr().map_err(failed)?))
}

/// Connects as soon as the server answers a request.
async fn connect(address: &str) -> Result<Connection> {
    let began = Instant::now();
    loop {
        let connected = async {
            let mut connection = Connection::open(address).await?;
            connection.call(RANGE, messages::range("up")).await.map(|_| connection)
        };
        match connected.await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() > START => {
                return Err(Error::new(ErrorKind::Timeout, "the etcd server does not answer").with_source(error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Store for Server {
    type Client = Connection;

    const DRIVEN: Driven = Driven::Tasks;

    fn client(&self) -> Result<Connection> {
        Ok(self.connection())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let put = |(key, value): (Key, Bytes)| {
            let mut connection = self.connection();
            async move { connection.set(&key, value).await }
        };
        stream::iter(entries).map(put).buffer_unordered(FILLING).try_collect().await
    }

    async fn close(self) -> Result<()> {
        drop(self.process);
        Ok(())
    }
}

impl Client for Connection {
    type Value = Bytes;

    async fn find(&mut self, key: &Key) -> Result<Option<Bytes>> {
        let answer = self.call(RANGE, messages::range(key.as_str())).await?;
        Ok(messages::values(answer)?.pop())
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.call(PUT, messages::put(key.as_str(), &value)).await.map(drop)
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        let message = messages::compare_and_set(key.as_str(), test.as_deref(), set.as_deref());
        Ok(match messages::applied(self.call(TXN, message).await?)? {
            Ok(()) => TestAndSet::Applied,
            Err(current) => TestAndSet::Mismatch { current },
        })
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let answer = self.call(RANGE, messages::range_below(under.as_str())).await?;
        Ok(messages::values(answer)?.len())
    }
}

#[async_trait]
impl Feeds for Etcd {
    fn facts(&self) -> Facts {
        self.facts()
    }

    async fn open(&self, place: &Path) -> Result<Box<dyn Feed>> {
        Ok(Box::new(Server::start(place).await?))
    }
}

const WATCHED: &str = "watched";

#[async_trait]
impl Feed for Server {
    async fn publish(&self, value: Bytes) -> Result<()> {
        self.connections[0].clone().call(PUT, messages::put(WATCHED, &value)).await.map(drop)
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut watch = self.connection().follow(WATCH, messages::watch(WATCHED)).await?;
        // The first answer says that it watches.
        let created = watch.message().await.map_err(failed)?;
        created.ok_or_else(|| Error::new(ErrorKind::Other, "the etcd server refused a watch"))?;
        let values = |message: std::result::Result<Bytes, tonic::Status>| {
            let changes = message.map_err(failed).and_then(messages::changes);
            stream::iter(changes.map_or_else(|error| vec![Err(error)], |values| values.into_iter().map(Ok).collect()))
        };
        Ok(watch.flat_map(values).boxed())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Store::close(*self).await
    }
}
