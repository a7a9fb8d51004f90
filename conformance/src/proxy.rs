//! A proxy that loses, repeats, delays and spoils what goes through it: for the tests of any backend that speaks HTTP.
//!
//! It listens on 127.0.0.1 before a real server. What is sent goes on as it came, its `Host` too, which some services
//! sign: so a client that was told the proxy's address is understood by the server. Which requests suffer is said by
//! rate, or one by one.
//!
//! ```no_run
//! use conformance::proxy::{Fault, Proxy};
//!
//! # async fn test() -> std::io::Result<()> {
//! let proxy = Proxy::start(([127, 0, 0, 1], 8333).into(), 42).await?;
//! // One PUT in ten takes place, and nobody hears of it.
//! proxy.sometimes(0.1, Fault::LostAnswer, |request| request.method == "PUT");
//! // The next GET of this object is refused once.
//! proxy.next(Fault::StatusBefore(503), |request| request.method == "GET" && request.target.contains("/a?"));
//! let endpoint = format!("http://{}", proxy.address());
//! // .. the backend works at this endpoint; then, since a test that injected nothing has shown nothing:
//! assert!(proxy.injected(Fault::LostAnswer) > 0);
//! # Ok(())
//! # }
//! ```

mod serve;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{net::TcpListener, task::AbortHandle};

use crate::lock::lock;

/// What happens to a request or to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It never arrives: the connection is closed.
    LostRequest,
    /// It takes place, and the connection is closed without an answer.
    LostAnswer,
    /// The connection is closed at once, and the request takes place this much later: around others' writes.
    Late(Duration),
    /// It arrives twice; the second answer is given.
    Repeated,
    /// It never arrives; this status is the answer, such as 409, 429, 500 or 503.
    StatusBefore(u16),
    /// It takes place; this status is the answer.
    StatusAfter(u16),
    /// It arrives this much later.
    Delayed(Duration),
    /// The body of the answer ends in the middle, and so does the connection. An answer without a body is left alone.
    Truncated,
    /// One bit of the answer's body is flipped. An answer without a body is left alone.
    Garbled,
}

/// What is known of a request where it is decided what happens to it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Request<'r> {
    /// Such as `PUT`.
    pub method: &'r str,
    /// The path and the query.
    pub target: &'r str,
}

/// The proxy. It ends when it is dropped, its connections and what is late with it.
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    serving: AbortHandle,
}

impl Proxy {
    /// Starts one before a server. The seed decides what is injected by rate.
    ///
    /// # Errors
    ///
    /// Those of the system, when no port can be had.
    pub async fn start(server: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::new(seed));
        let serving = tokio::spawn(serve::serve(listener, server, Arc::clone(&faults))).abort_handle();
        Ok(Self { address, faults, serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, injects a fault into this share of the requests that are meant: 1 is all of them. Where several
    /// rules hit a request, it suffers from the one that was made first.
    ///
    /// `meant` is asked while the proxy is locked: it must not call the proxy.
    pub fn sometimes(&self, share: f64, fault: Fault, meant: impl Fn(Request<'_>) -> bool + Send + 'static) {
        self.faults.state().rates.push(Rule { share, fault, meant: Box::new(meant) });
    }

    /// Injects a fault into the next request that is meant. Those that wait so come before those by rate, in the order
    /// that they were made.
    ///
    /// `meant` is asked while the proxy is locked: it must not call the proxy.
    pub fn next(&self, fault: Fault, meant: impl Fn(Request<'_>) -> bool + Send + 'static) {
        self.faults.state().script.push_back(Rule { share: 1.0, fault, meant: Box::new(meant) });
    }

    /// Injects nothing more, until it is told to again.
    pub fn heal(&self) {
        let mut state = self.faults.state();
        state.rates.clear();
        state.script.clear();
    }

    /// How often a fault was injected.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> u64 {
        self.faults.state().injected.get(&fault).copied().unwrap_or_default()
    }

    /// How many requests came, whatever became of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.faults.state().requests
    }

    /// How many bytes the bodies of requests and answers had that went through to the server and came back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.faults.state().bytes
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Rule {
    share: f64,
    fault: Fault,
    meant: Box<dyn Fn(Request<'_>) -> bool + Send>,
}

/// Which requests suffer, and which did.
struct Faults(Mutex<State>);

struct State {
    random: fastrand::Rng,
    script: VecDeque<Rule>,
    rates: Vec<Rule>,
    injected: HashMap<Fault, u64>,
    requests: u64,
    bytes: u64,
}

impl Faults {
    fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            random: fastrand::Rng::with_seed(seed),
            script: VecDeque::new(),
            rates: Vec::new(),
            injected: HashMap::new(),
            requests: 0,
            bytes: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn draw(&self, request: Request<'_>) -> Option<Fault> {
        let mut state = self.state();
        state.requests += 1;
        if let Some(next) = state.script.iter().position(|rule| (rule.meant)(request)) {
            return state.script.remove(next).map(|rule| rule.fault);
        }
        let State { random, rates, .. } = &mut *state;
        rates.iter().find(|rule| (rule.meant)(request) && random.f64() < rule.share).map(|rule| rule.fault)
    }

    fn count(&self, fault: Fault) {
        *self.state().injected.entry(fault).or_default() += 1;
    }

    fn went_through(&self, bytes: usize) {
        self.state().bytes += bytes as u64;
    }

    /// A place in a body of this many bytes, and a bit there.
    fn spot(&self, len: usize) -> (usize, u8) {
        let random = &mut self.state().random;
        (random.usize(..len), 1 << random.u8(..8))
    }
}
