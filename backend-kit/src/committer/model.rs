//! The committer under loom: every interleaving of its thread with a few callers. The hub's model says how to run it.

use loom::thread;

use super::*;
use crate::sync::{Condvar, wait};

const FAILS_TO_SYNC: u32 = 1;

/// What the engine was told to do.
#[derive(Clone, Default)]
struct Applied(Arc<Mutex<Vec<u32>>>);

impl Applied {
    fn list(&self) -> Vec<u32> {
        self.0.lock().clone()
    }

    fn times(&self, write: u32) -> usize {
        self.list().into_iter().filter(|applied| *applied == write).count()
    }
}

struct List {
    applied: Applied,
    has_failed: bool,
}

impl Engine for List {
    type Write = u32;
    type Outcome = u32;

    fn bytes_of(_: &u32) -> usize {
        1
    }

    fn commit(&mut self, group: &[&u32], _: Patience, _: &mut Wakers) -> Result<Vec<Result<u32>>, Failure> {
        assert!(!self.has_failed, "nothing is committed behind a failed sync");
        if group.contains(&&FAILS_TO_SYNC) {
            self.has_failed = true;
            return Err(Failure::SyncFailed(Error::new(ErrorKind::Other, "EIO")));
        }
        self.applied.0.lock().extend(group.iter().copied());
        Ok(group.iter().map(|write| Ok(**write)).collect())
    }
}

/// The answers to one write.
#[derive(Clone, Default)]
struct Answers(Arc<(Mutex<Vec<Result<u32>>>, Condvar)>);

impl Answers {
    fn wait(&self) {
        let (answers, sent) = &*self.0;
        let mut answers = answers.lock();
        while answers.is_empty() {
            answers = wait(sent, answers);
        }
    }
}

impl Answer<u32> for Answers {
    fn send(self, outcome: Result<u32>) {
        let (answers, sent) = &*self.0;
        answers.lock().push(outcome);
        sent.notify_one();
    }

    fn is_abandoned(&self) -> bool {
        false
    }
}

type Shared = Arc<Core<List, Answers>>;

fn core() -> (Shared, Applied) {
    let applied = Applied::default();
    (Arc::new(Core::new(List { applied: applied.clone(), has_failed: false }, usize::MAX)), applied)
}

fn spawn<T: 'static>(core: &Shared, run: impl FnOnce(&Shared) -> T + 'static) -> thread::JoinHandle<T> {
    let core = Arc::clone(core);
    thread::spawn(move || run(&core))
}

/// Queues a write; where its answers come.
fn enqueue(core: &Shared, write: u32) -> Answers {
    let answers = Answers::default();
    if let Err(error) = core.queue.push(write, answers.clone()) {
        answers.clone().send(Err(error));
    }
    answers
}

/// Writes in place, or queues where that is refused.
fn write(core: &Shared, write: u32) -> Answers {
    match core.write_in_place(write) {
        Ok(outcome) => {
            let answers = Answers::default();
            answers.clone().send(outcome);
            answers
        }
        Err(write) => enqueue(core, write),
    }
}

/// The one answer, which is an acknowledgement if and only if the write was applied, once.
fn answer(answers: &Answers, applied: &Applied, write: u32) -> Result<u32> {
    let answers = answers.0.0.lock();
    let [answer] = &answers[..] else { panic!("{} answers to {write}", answers.len()) };
    assert_eq!(applied.times(write), usize::from(answer.is_ok()), "{write} is applied when it is acknowledged");
    answer.clone()
}

#[test]
fn every_write_is_acknowledged_once_and_applied_once() {
    loom::model(|| {
        let (core, applied) = core();
        let committer = spawn(&core, |core| core.run());
        let queued = spawn(&core, |core| enqueue(core, 10));
        let in_place = write(&core, 11);
        let queued = queued.join().unwrap();
        // Not the close, but the write itself must have woken the thread.
        queued.wait();
        in_place.wait();
        core.queue.close();
        committer.join().unwrap();
        assert_eq!(answer(&queued, &applied, 10).unwrap(), 10);
        assert_eq!(answer(&in_place, &applied, 11).unwrap(), 11);
        assert_eq!(answer(&write(&core, 12), &applied, 12).unwrap_err().kind(), ErrorKind::Closed);
    });
}

/// What is left of the queue needs no second call to be taken.
#[test]
fn writes_that_are_too_many_for_a_group_are_acknowledged_in_order() {
    loom::model(|| {
        let applied = Applied::default();
        let core = Arc::new(Core::new(List { applied: applied.clone(), has_failed: false }, 1));
        let committer = spawn(&core, |core| core.run());
        let queued = [10, 11].map(|write| enqueue(&core, write));
        queued.iter().for_each(Answers::wait);
        core.queue.close();
        committer.join().unwrap();
        for (write, answers) in [10, 11].into_iter().zip(&queued) {
            assert_eq!(answer(answers, &applied, write).unwrap(), write);
        }
        assert_eq!(applied.list(), [10, 11]);
    });
}

#[test]
fn a_write_that_races_a_close_is_acknowledged_or_closed() {
    loom::model(|| {
        let (core, applied) = core();
        let committer = spawn(&core, |core| core.run());
        let queued = spawn(&core, |core| enqueue(core, 10));
        core.queue.close();
        committer.join().unwrap();
        let at_the_end = applied.list();
        let queued = queued.join().unwrap();
        match answer(&queued, &applied, 10) {
            Ok(_) => {}
            Err(error) => assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied)),
        }
        assert_eq!(applied.list(), at_the_end);
    });
}

#[test]
fn a9_nothing_is_written_in_place_after_the_close_has_ended() {
    loom::model(|| {
        let (core, applied) = core();
        let committer = spawn(&core, |core| core.run());
        let in_place = spawn(&core, |core| write(core, 10));
        core.queue.close();
        committer.join().unwrap();
        let at_the_end = applied.list();
        let in_place = in_place.join().unwrap();
        if let Err(error) = answer(&in_place, &applied, 10) {
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied));
        }
        assert_eq!(applied.list(), at_the_end);
    });
}

/// The engine asserts that it is not used behind its failure.
#[test]
fn e3_nothing_is_acknowledged_after_a_failed_sync() {
    loom::model(|| {
        let (core, applied) = core();
        let committer = spawn(&core, |core| core.run());
        let failing = spawn(&core, |core| enqueue(core, FAILS_TO_SYNC));
        let in_place = write(&core, 10);
        let failing = failing.join().unwrap();
        core.queue.close();
        committer.join().unwrap();
        let error = answer(&failing, &applied, FAILS_TO_SYNC).unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::Unknown));
        if let Err(error) = answer(&in_place, &applied, 10) {
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
    });
}

#[test]
fn e3_nothing_is_acknowledged_after_a_sync_that_failed_in_place() {
    loom::model(|| {
        let (core, applied) = core();
        let committer = spawn(&core, |core| core.run());
        let queued = spawn(&core, |core| enqueue(core, 10));
        let failing = write(&core, FAILS_TO_SYNC);
        let queued = queued.join().unwrap();
        core.queue.close();
        committer.join().unwrap();
        assert_eq!(answer(&failing, &applied, FAILS_TO_SYNC).unwrap_err().effect(), Effect::Unknown);
        if let Err(error) = answer(&queued, &applied, 10) {
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
    });
}
