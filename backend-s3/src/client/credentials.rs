//! The credentials of the machine, where the environment has none: who has no role either is told so, and soon.

use std::{
    error::Error as StdError,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use object_store::{CredentialProvider, Error, Result};
use tokio::{runtime::Handle, time::timeout};

use super::{
    FailureKind,
    answer::{Answer, chain, one_line},
};
use crate::tasks::aside;

/// The service that knows a machine's role is on the machine, or next to it; some take their time for the first answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Credentials that are asked for in a task: those that expire are kept behind a lock, which is held while new ones come.
#[derive(Debug)]
pub(crate) struct InTask<C>(pub(crate) Arc<dyn CredentialProvider<Credential = C>>);

#[async_trait]
impl<C: fmt::Debug + Send + Sync + 'static> CredentialProvider for InTask<C> {
    type Credential = C;

    async fn get_credential(&self) -> Result<Arc<C>> {
        let asked = Arc::clone(&self.0);
        let asked = aside(&Handle::current(), async move { asked.get_credential().await }).await;
        asked.unwrap_or_else(|ended| Err(Error::Generic { store: "credentials", source: Box::new(ended) }))
    }
}

/// Credentials that the machine is asked for.
#[derive(Debug)]
pub(crate) struct OfMachine<C> {
    asked: Arc<dyn CredentialProvider<Credential = C>>,
    /// What to do where there are none.
    advice: &'static str,
    were_found: AtomicBool,
}

impl<C> OfMachine<C> {
    pub(crate) fn new(asked: Arc<dyn CredentialProvider<Credential = C>>, advice: &'static str) -> Self {
        Self { asked, advice, were_found: AtomicBool::new(false) }
    }

    /// Whether a failure says that there are none: one that passes does not.
    fn are_none(&self, failure: Option<&Error>) -> bool {
        let passes = failure.and_then(Answer::of).is_some_and(|answer| answer.kind() == FailureKind::Ambiguous);
        !passes && !self.were_found.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl<C: fmt::Debug + Send + Sync> CredentialProvider for OfMachine<C> {
    type Credential = C;

    async fn get_credential(&self) -> Result<Arc<C>> {
        let cause = match timeout(LIMIT, self.asked.get_credential()).await {
            Ok(Ok(credential)) => {
                self.were_found.store(true, Ordering::Relaxed);
                return Ok(credential);
            }
            Ok(Err(error)) if !self.are_none(Some(&error)) => return Err(error),
            Ok(Err(error)) => cause_of(&error),
            Err(_) if !self.are_none(None) => {
                return Err(Error::Generic { store: "credentials", source: "no answer in time".into() });
            }
            Err(_) => "the machine gave no answer in time".to_owned(),
        };
        Err(Error::Generic { store: "credentials", source: Box::new(NoCredentials { advice: self.advice, cause }) })
    }
}

fn cause_of(error: &Error) -> String {
    let deepest = || chain(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    Answer::of(error).map_or_else(|| one_line(&deepest()), |answer| answer.cause())
}

/// There are no credentials.
#[derive(Debug)]
pub(super) struct NoCredentials {
    pub(super) advice: &'static str,
    pub(super) cause: String,
}

impl NoCredentials {
    /// The one that an error is about.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.advice)
    }
}

impl StdError for NoCredentials {}

#[cfg(test)]
mod tests {
    use store_api::{Effect, ErrorKind};

    use super::{super::Failure, *};

    /// A machine that answers so, or, with `None`, not at all.
    #[derive(Debug)]
    struct Machine(std::sync::Mutex<Vec<Option<Result<(), &'static str>>>>);

    #[async_trait]
    impl CredentialProvider for Machine {
        type Credential = ();

        async fn get_credential(&self) -> Result<Arc<()>> {
            let answer = self.0.lock().unwrap().pop().expect("no more questions than there are answers");
            match answer {
                Some(Ok(())) => Ok(Arc::new(())),
                Some(Err(shown)) => Err(Error::Generic { store: "machine", source: shown.into() }),
                None => std::future::pending().await,
            }
        }
    }

    fn machine<const N: usize>(mut answers: [Option<Result<(), &'static str>>; N]) -> OfMachine<()> {
        answers.reverse();
        OfMachine::new(Arc::new(Machine(std::sync::Mutex::new(answers.into()))), "set some")
    }

    async fn failure(machine: &OfMachine<()>) -> FailureKind {
        Failure::of(&machine.get_credential().await.unwrap_err()).kind
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_without_a_role_is_told_apart_from_one_that_is_busy() {
        const NONE: FailureKind = FailureKind::NoCredentials("set some");
        let refused = "Server returned non-2xx status code: 403 Forbidden: ";
        let busy = "Server returned non-2xx status code: 503 Service Unavailable: ";
        assert_eq!(failure(&machine([Some(Err(refused))])).await, NONE);
        assert_eq!(failure(&machine([Some(Err("no connection"))])).await, NONE);
        let asked = tokio::time::Instant::now();
        assert_eq!(failure(&machine([None])).await, NONE);
        assert!(asked.elapsed() <= LIMIT * 2);
        assert_eq!(failure(&machine([Some(Err(busy))])).await, FailureKind::Ambiguous);
        let had = machine([Some(Ok(())), None, Some(Err("no connection"))]);
        had.get_credential().await.unwrap();
        assert_eq!(failure(&had).await, FailureKind::Ambiguous);
        assert_eq!(failure(&had).await, FailureKind::Ambiguous);
    }

    /// Holds a lock while it waits, as a keeper of credentials that expire does.
    #[derive(Debug, Default)]
    struct Keeper(tokio::sync::Mutex<()>);

    #[async_trait]
    impl CredentialProvider for Keeper {
        type Credential = ();

        async fn get_credential(&self) -> Result<Arc<()>> {
            let _held = self.0.lock().await;
            tokio::task::yield_now().await;
            Ok(Arc::new(()))
        }
    }

    #[tokio::test]
    async fn a_question_that_nobody_polls_holds_up_no_other() {
        let credentials = InTask(Arc::new(Keeper::default()));
        let mut kept = credentials.get_credential();
        assert!(futures_util::poll!(&mut kept).is_pending());
        credentials.get_credential().await.unwrap();
        kept.await.unwrap();
    }

    #[tokio::test]
    async fn who_has_no_credentials_is_told_what_to_set() {
        let error = machine([Some(Err("no connection"))]).get_credential().await.unwrap_err();
        let error = Failure::of(&error).into_error(Effect::NotApplied);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Denied, "set some"));
    }
}
