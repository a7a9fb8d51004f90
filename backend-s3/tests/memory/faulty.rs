//! An object store that fails on command: the next requests take their faults from a script.

use std::{
    collections::VecDeque,
    fmt, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

/// What happens to a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It never arrives; the answer is a 500.
    LostBefore,
    /// It takes place; the answer is lost.
    LostAfter,
    /// It takes place when the next PUT is sent; the answer is a timeout.
    LandsAtNextPut,
    /// It takes place when all is over; the answer is a timeout.
    LandsAtTheEnd,
    /// It takes no place, for contention that the service has inside: a 409, whatever there is.
    Contended,
    /// Something on the way sends it twice; the second answer is given.
    Repeated,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault::None,
    Fault::LostBefore,
    Fault::LostAfter,
    Fault::LandsAtNextPut,
    Fault::LandsAtTheEnd,
    Fault::Contended,
    Fault::Repeated,
];

type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A PUT, and what others do before and behind it.
pub(crate) struct Step {
    pub(crate) fault: Fault,
    pub(crate) before: Hook,
    pub(crate) behind: Hook,
}

struct Put {
    at: Path,
    payload: PutPayload,
    options: PutOptions,
}

#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    /// What happens to the next PUT of an object whose name begins so.
    step_of: Option<(String, Step)>,
    /// Under way, to land at the next PUT, or at the end.
    at_next: Vec<Put>,
    at_end: Vec<Put>,
    /// The payloads that took place, in order.
    landed: Vec<PutPayload>,
    /// So many of the next GET fail with a 503, of objects whose names begin so.
    failing_gets: usize,
    failing_below: String,
    /// So many of the next GET get a body that was garbled on its way, each otherwise.
    garbled_gets: usize,
}

impl Script {
    fn next_step(&mut self, at: &Path) -> Option<Step> {
        match self.step_of.take() {
            Some((of, step)) if at.as_ref().starts_with(&of) => Some(step),
            other => {
                self.step_of = other;
                self.steps.pop_front()
            }
        }
    }
}

pub(crate) struct Faulty {
    inner: Arc<InMemory>,
    script: Mutex<Script>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<InMemory>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    pub(crate) fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.script().steps.extend(steps);
    }

    /// The next PUT of an object whose name begins so is this one. Others are let through, and take no part.
    pub(crate) fn when_put(&self, at: &str, step: Step) {
        self.script().step_of = Some((at.to_owned(), step));
    }

    pub(crate) fn fail_gets(&self, count: usize) {
        self.script().failing_gets = count;
    }

    /// As above, of the objects below a name alone.
    pub(crate) fn fail_gets_below(&self, below: &str, count: usize) {
        let mut script = self.script();
        script.failing_gets = count;
        script.failing_below = below.into();
    }

    pub(crate) fn garble_gets(&self, count: usize) {
        self.script().garbled_gets = count;
    }

    /// The payloads that took place since it was asked last.
    pub(crate) fn take_landed(&self) -> Vec<PutPayload> {
        std::mem::take(&mut self.script().landed)
    }

    /// What is still under way lands.
    pub(crate) async fn land(&self) {
        let puts = {
            let mut script = self.script();
            let mut puts = std::mem::take(&mut script.at_next);
            puts.append(&mut script.at_end);
            puts
        };
        for put in puts {
            // A condition that does not hold is an answer that nobody hears.
            let _ = self.perform(&put).await;
        }
    }

    async fn perform(&self, put: &Put) -> Result<PutResult> {
        let answer = self.inner.put_opts(&put.at, put.payload.clone(), put.options.clone()).await;
        if answer.is_ok() {
            self.script().landed.push(put.payload.clone());
        }
        answer
    }

    async fn perform_with(&self, put: Put, fault: Fault) -> Result<PutResult> {
        match fault {
            Fault::None => self.perform(&put).await,
            Fault::LostBefore => Err(lost()),
            Fault::LostAfter => {
                // What the answer would have been is lost.
                let _ = self.perform(&put).await;
                Err(lost())
            }
            Fault::LandsAtNextPut => {
                self.script().at_next.push(put);
                future::pending().await
            }
            Fault::LandsAtTheEnd => {
                self.script().at_end.push(put);
                future::pending().await
            }
            Fault::Contended => Err(contended(&put)),
            Fault::Repeated => {
                // The first answer goes nowhere.
                let _ = self.perform(&put).await;
                self.perform(&put).await
            }
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing that others do.
pub(crate) fn nothing() -> Hook {
    Box::new(|| future::ready(()).boxed())
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "500, or no answer".into() }
}

fn contended(put: &Put) -> Error {
    Error::AlreadyExists { path: put.at.to_string(), source: "409".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        assert!(options.mode != PutMode::Overwrite, "every write is conditional");
        let put = Put { at: at.clone(), payload, options };
        let step = self.script().next_step(at);
        let Some(Step { fault, before, behind }) = step else { return self.perform(&put).await };
        let waiting = std::mem::take(&mut self.script().at_next);
        for put in waiting {
            // As above.
            let _ = self.perform(&put).await;
        }
        before().await;
        if matches!(fault, Fault::LandsAtNextPut | Fault::LandsAtTheEnd) {
            behind().await;
            self.perform_with(put, fault).await
        } else {
            let answer = self.perform_with(put, fault).await;
            behind().await;
            answer
        }
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let garbled = {
            let mut script = self.script();
            if script.failing_gets > 0 && at.as_ref().starts_with(&script.failing_below) {
                script.failing_gets -= 1;
                return Err(lost());
            }
            let garbled = script.garbled_gets;
            script.garbled_gets = garbled.saturating_sub(1);
            garbled
        };
        let answer = self.inner.get_opts(at, options).await?;
        if garbled == 0 {
            return Ok(answer);
        }
        let (meta, range) = (answer.meta.clone(), answer.range.clone());
        let (attributes, extensions) = (answer.attributes.clone(), answer.extensions.clone());
        let mut bytes = answer.bytes().await?.to_vec();
        let at = bytes.len() - garbled;
        bytes[at] ^= 1;
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes.into())]).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("a condition holds for single PUT only")
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}
