//! Work that is too long for an async worker: I/O that may block, hashing and copying of large values.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use bytes::Bytes;
use store_api::{ContentHash, Error, ErrorKind, HashFunction, Result};
use tokio::{runtime::Handle, sync::oneshot};

/// Values longer than this leave the async worker: 256 KiB.
pub const OFFLOAD_LEN: usize = 256 * 1024;

/// Runs `work` on a thread that may block: one of the tokio runtime's that the caller runs in, else one of its own, so
/// that a store works under any executor. Work whose future was dropped goes on to its end.
///
/// # Errors
///
/// `Other` when no thread could be had, or the runtime is shutting down. A panic in `work` goes on in the caller.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (job, answer) = Job::of(work);
    start(Handle::try_current().ok().as_ref(), move || job.run())?;
    answered(answer).await
}

/// Work, and where its answer goes.
pub(crate) struct Job<W, T> {
    work: W,
    reply: oneshot::Sender<thread::Result<T>>,
}

impl<T, W: FnOnce() -> T> Job<W, T> {
    pub(crate) fn of(work: W) -> (Self, oneshot::Receiver<thread::Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work, reply }, answer)
    }

    /// Whether somebody waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    pub(crate) fn run(self) {
        // The answer may have nobody waiting for it: the caller's future was dropped.
        let _ = self.reply.send(catch_unwind(AssertUnwindSafe(self.work)));
    }
}

/// Starts what blocks on a thread of the runtime, or on one of its own. It is dropped where that cannot be had, and where
/// the runtime is shutting down.
pub(crate) fn start(runtime: Option<&Handle>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let refused = || Error::new(ErrorKind::Other, "no thread could be started");
    let Some(runtime) = runtime else {
        let started = thread::Builder::new().name("irminsul-offload".into()).spawn(work);
        return started.map(drop).map_err(|error| refused().with_source(error));
    };
    // It panics where the system has no thread for it.
    catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn_blocking(work)))).map_err(|_| refused())
}

/// What work came to that was started.
pub(crate) async fn answered<T>(answer: oneshot::Receiver<thread::Result<T>>) -> Result<T> {
    match answer.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Error::new(ErrorKind::Other, "no thread could be had, or the runtime is shutting down")),
    }
}

/// Runs `work` upon so many bytes: where the caller runs, or as [`offload`] does where they are more than [`OFFLOAD_LEN`].
///
/// # Errors
///
/// Those of [`offload`].
pub async fn offload_long<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if bytes <= OFFLOAD_LEN { Ok(work()) } else { offload(work).await }
}

/// The hash of a value, computed off the async worker when the value is large.
///
/// # Errors
///
/// Those of [`offload`].
pub async fn hash(function: HashFunction, value: &Bytes) -> Result<ContentHash> {
    let value = value.clone();
    offload_long(value.len(), move || function.hash(&value)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_without_a_runtime() {
        assert_eq!(futures_executor::block_on(offload(|| 42)).unwrap(), 42);
    }

    #[tokio::test]
    async fn it_works_on_a_runtime() {
        assert_eq!(offload(|| 42).await.unwrap(), 42);
    }

    #[tokio::test]
    async fn only_work_upon_much_leaves_the_worker() {
        let here = thread::current().id();
        assert_eq!(offload_long(OFFLOAD_LEN, || thread::current().id()).await.unwrap(), here);
        assert_ne!(offload_long(OFFLOAD_LEN + 1, || thread::current().id()).await.unwrap(), here);
    }

    #[tokio::test]
    async fn a_large_value_has_the_same_hash() {
        let value = Bytes::from(vec![7; OFFLOAD_LEN + 1]);
        let function = HashFunction::Blake3;
        assert_eq!(hash(function, &value).await.unwrap(), function.hash(&value));
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn a_panic_goes_on_in_the_caller() {
        futures_executor::block_on(offload(|| panic!("inside"))).unwrap();
    }
}
