//! What an operation costs on a store behind a network: requests and bytes, which a service bills, besides time.

use std::time::{Duration, Instant};

use serde::Serialize;
use store_api::Result;

use crate::driver::{no_times, record};

/// What counts between a client and its service.
pub trait Traffic: Sync {
    /// The requests so far.
    fn requests(&self) -> u64;

    /// The bytes of their bodies and of those of the answers.
    fn bytes(&self) -> u64;
}

/// What was found of one operation of one subject, by one client.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Remote {
    /// What was done.
    pub operation: String,
    /// The name of the subject.
    pub subject: String,
    /// How often.
    pub times: u64,
    /// How many requests one took.
    pub requests: f64,
    /// How many bytes one took, both ways.
    pub bytes: f64,
    /// How long half of them took at the most, in microseconds.
    pub p50_us: f64,
}

/// Does something `times` times, one after another; `act` is told how often it was done before.
///
/// # Errors
///
/// The first of `act`.
pub async fn measure_remote(
    operation: &str,
    subject: &str,
    traffic: &impl Traffic,
    times: u64,
    mut act: impl AsyncFnMut(u64) -> Result<()>,
) -> Result<Remote> {
    let mut taken = no_times();
    let (requests, bytes) = (traffic.requests(), traffic.bytes());
    for time in 0..times {
        let began = Instant::now();
        act(time).await?;
        record(&mut taken, began.elapsed());
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let each = |count: u64| count as f64 / times as f64;
    let median = Duration::from_nanos(taken.value_at_quantile(0.5));
    Ok(Remote {
        operation: operation.to_owned(),
        subject: subject.to_owned(),
        times,
        requests: each(traffic.requests() - requests),
        bytes: each(traffic.bytes() - bytes),
        p50_us: median.as_secs_f64() * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use store_api::{Error, ErrorKind};

    use super::*;

    struct Counted(AtomicU64);

    impl Traffic for Counted {
        fn requests(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn bytes(&self) -> u64 {
            10 * self.requests()
        }
    }

    #[tokio::test]
    async fn what_was_sent_before_is_not_counted() {
        let traffic = Counted(AtomicU64::new(7));
        let found = measure_remote("set", "ours", &traffic, 4, async |time| {
            traffic.0.fetch_add(time, Ordering::Relaxed);
            Ok(())
        });
        let found = found.await.unwrap();
        assert_eq!((found.times, found.requests, found.bytes), (4, 1.5, 15.0));
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let traffic = Counted(AtomicU64::new(0));
        let failed =
            measure_remote("set", "ours", &traffic, 4, async |_| Err(Error::new(ErrorKind::Unavailable, "no answer")))
                .await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
