//! A small S3 on a port of its own, which answers as it should until it is told otherwise, byte by byte.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::sleep,
};

/// Between two bytes of a slow answer.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Request {
    pub(crate) method: String,
    /// Below the bucket.
    pub(crate) name: String,
    pub(crate) query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn is_list(&self) -> bool {
        self.query.contains("list-type=2")
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(crate) fn is_delete(&self) -> bool {
        self.method == "DELETE"
    }

    pub(crate) fn is_get(&self) -> bool {
        self.method == "GET" && !self.is_list()
    }

    pub(crate) fn is_put(&self) -> bool {
        self.method == "PUT"
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the server says.
#[derive(Clone)]
pub(crate) enum Answer {
    /// What an honest service says.
    Honest,
    /// These bytes, and then nothing more, while the client waits.
    Silent(Vec<u8>),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// The first at once, the others one by one.
    Slow(Vec<u8>, Vec<u8>),
    /// The first once, and then the others without an end.
    Endless(Vec<u8>, Vec<u8>),
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

struct Shared {
    objects: Mutex<BTreeMap<String, Object>>,
    script: Mutex<Script>,
    writes: AtomicU64,
    connections: AtomicU64,
    /// Bytes that a client took of an answer that was not honest, at the most.
    taken: AtomicU64,
}

struct Object {
    bytes: Vec<u8>,
    tag: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            script: Mutex::new(Arc::new(|_| Answer::Honest)),
            writes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        });
        let serving = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, serving }
    }

    /// What it answers from here on.
    pub(crate) fn answers(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// How many bytes were taken of an answer that was not honest, at the most.
    pub(crate) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// An object of somebody else.
    pub(crate) fn put(&self, name: &str) {
        let object = Object { bytes: b"foreign".into(), tag: "\"foreign\"".into() };
        lock(&self.shared.objects).insert(name.to_owned(), object);
    }

    /// The names of all objects.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.shared.objects).keys().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        // Who is attacked leaves in the middle.
        tokio::spawn(async move { drop(serve(stream, &shared).await) });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let script = Arc::clone(&lock(&shared.script));
        let answer = script(&request);
        if let Answer::Honest = answer {
            stream.write_all(&shared.honest(&request)).await?;
        } else {
            return attack(&mut stream, shared, answer).await;
        }
    }
    Ok(())
}

/// What is sent, and how much of it was taken.
struct Sending<'s> {
    stream: &'s mut BufReader<TcpStream>,
    shared: &'s Shared,
    taken: u64,
}

impl Sending<'_> {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.taken += bytes.len() as u64;
        self.shared.taken.fetch_max(self.taken, Ordering::Relaxed);
        Ok(())
    }
}

async fn attack(stream: &mut BufReader<TcpStream>, shared: &Shared, answer: Answer) -> io::Result<()> {
    let mut sending = Sending { stream, shared, taken: 0 };
    match answer {
        Answer::Honest => Ok(()),
        Answer::Bytes(bytes) => sending.send(&bytes).await,
        Answer::Silent(bytes) => {
            sending.send(&bytes).await?;
            // Until the client leaves.
            sending.stream.read_u8().await.map(drop)
        }
        Answer::Slow(head, bytes) => {
            sending.send(&head).await?;
            for byte in bytes {
                sending.send(&[byte]).await?;
                sleep(PAUSE).await;
            }
            Ok(())
        }
        Answer::Endless(head, bytes) => {
            sending.send(&head).await?;
            loop {
                sending.send(&bytes).await?;
            }
        }
    }
}

/// `None` where the client has left.
async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or_default();
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    let name = path.strip_prefix("/bucket").unwrap_or(path).trim_start_matches('/').to_owned();
    Ok(Some(Request { method: method.to_owned(), name, query: query.to_owned(), headers, body }))
}

impl Shared {
    fn honest(&self, request: &Request) -> Vec<u8> {
        let mut objects = lock(&self.objects);
        match request.method.as_str() {
            "PUT" => self.put(&mut objects, request),
            "DELETE" => {
                objects.remove(&request.name);
                head("204 No Content", "", 0)
            }
            _ if request.is_list() => page(&objects, request),
            _ => get(&objects, request),
        }
    }

    fn put(&self, objects: &mut BTreeMap<String, Object>, request: &Request) -> Vec<u8> {
        let there = objects.get(&request.name).map(|object| object.tag.as_str());
        let is_refused = match (request.header("if-none-match"), request.header("if-match")) {
            (Some(_), _) => there.is_some(),
            (_, Some(tag)) => there != Some(tag),
            _ => panic!("every write is conditional"),
        };
        if is_refused {
            return head("412 Precondition Failed", "", 0);
        }
        let tag = format!("\"{}\"", self.writes.fetch_add(1, Ordering::Relaxed));
        let answer = head("200 OK", &format!("ETag: {tag}\r\n"), 0);
        objects.insert(request.name.clone(), Object { bytes: request.body.clone(), tag });
        answer
    }
}

fn get(objects: &BTreeMap<String, Object>, request: &Request) -> Vec<u8> {
    const NO_KEY: &str = "<Error><Code>NoSuchKey</Code></Error>";
    let is_head = request.method == "HEAD";
    let Some(Object { bytes, tag }) = objects.get(&request.name) else {
        let body = if is_head { "" } else { NO_KEY };
        return [head("404 Not Found", "", body.len()), body.into()].concat();
    };
    if request.header("if-none-match") == Some(tag.as_str()) {
        return head("304 Not Modified", "", 0);
    }
    let (status, range, bytes) = match request.header("range").and_then(|range| parse_range(range, bytes.len())) {
        Some((from, to)) => {
            let shown = format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len());
            ("206 Partial Content", shown, &bytes[from..=to])
        }
        None => ("200 OK", String::new(), &bytes[..]),
    };
    let mut answer = head(status, &format!("ETag: {tag}\r\n{range}"), bytes.len());
    if !is_head {
        answer.extend_from_slice(bytes);
    }
    answer
}

fn parse_range(range: &str, len: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse::<usize>().ok()?.min(len.checked_sub(1)?));
    (from <= to).then_some((from, to))
}

fn page(objects: &BTreeMap<String, Object>, request: &Request) -> Vec<u8> {
    let parameter = |name: &str| {
        let found = request.query.split('&').find_map(|parameter| parameter.strip_prefix(name));
        found.unwrap_or_default().replace("%2F", "/")
    };
    let (prefix, behind) = (parameter("prefix="), parameter("start-after="));
    let listed = objects.iter().filter(|(name, _)| name.starts_with(&prefix) && **name > behind);
    let body: String = listed.map(|(name, object)| listed_object(name, object.bytes.len(), &object.tag)).collect();
    let body = listing(&body);
    [head("200 OK", "", body.len()), body.into()].concat()
}

/// What a listing says of an object.
pub(crate) fn listed_object(name: &str, size: usize, tag: &str) -> String {
    format!(
        "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>{tag}</ETag>\
         <Size>{size}</Size></Contents>"
    )
}

pub(crate) fn listing(body: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>{body}</ListBucketResult>")
}

/// The head of an answer whose body has so many bytes.
pub(crate) fn head(status: &str, headers: &str, len: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n{headers}");
    // Writing to a string does not fail.
    let _ = write!(head, "Content-Length: {len}\r\n\r\n");
    head.into()
}
