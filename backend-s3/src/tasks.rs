//! What runs in a task, and not in the future of a caller: that may be dropped, or kept and never be polled again.

use std::panic;

use backend_kit::UnderWay;
use store_api::{Effect, Error, ErrorKind, Result};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinSet},
};

/// Runs a write to its end, also when its future is dropped: its answer is what the watches and the caches hear of it by
/// (A9). A panic in it goes on in the caller.
pub(crate) async fn to_the_end<T: Send + 'static>(
    runtime: &Handle,
    under_way: UnderWay,
    write: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = runtime.spawn(async move {
        let written = write.await;
        drop(under_way);
        written
    });
    outcome(task.await).map_err(|error| error.with_effect(Effect::Unknown)).flatten()
}

/// Runs what others wait for: it goes on while its future is kept and not polled, and ends where that is dropped.
pub(crate) async fn aside<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    // It aborts its task where it is dropped.
    let mut task = JoinSet::new();
    task.spawn_on(work, runtime);
    task.join_next().await.map_or_else(|| Err(shutting_down()), outcome)
}

fn outcome<T>(joined: Result<T, JoinError>) -> Result<T> {
    joined.map_err(|ended| match ended.try_into_panic() {
        Ok(panicked) => panic::resume_unwind(panicked),
        Err(_) => shutting_down(),
    })
}

fn shutting_down() -> Error {
    Error::new(ErrorKind::Other, "the runtime is shutting down")
}
