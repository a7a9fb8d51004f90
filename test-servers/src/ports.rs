//! Ports that nobody listens on.

use std::{io, net::TcpListener, ops::Range};

/// Below those that systems hand out to clients, so that no client takes the port of a server that is restarted.
const RANGE: Range<u16> = 20_000..32_000;

const TRIES: usize = 1000;

/// Some free ports of the loopback address. They may be taken before the server listens on them: who starts one has to
/// see whether it lives.
pub(crate) fn free(count: usize) -> io::Result<Vec<u16>> {
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..TRIES {
        if listeners.len() == count {
            break;
        }
        listeners.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(RANGE))));
    }
    if listeners.len() < count {
        return Err(io::Error::other("too few ports are free between 20000 and 32000"));
    }
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
