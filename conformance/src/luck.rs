//! What depends on luck, and whether there was any: what meets by chance is counted, and a case in which too little met has
//! shown nothing, and says so.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    clients::have_a_core_each,
    failure::{Failure, Outcome},
    measured::Measured,
};

/// What a case hopes for, as a quick run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hopes {
    /// What has met less often has shown nothing.
    pub(crate) floor: usize,
    /// What has met so often need not go on.
    pub(crate) enough: usize,
    /// How many rounds there are at least, and at most where the floor was reached.
    pub(crate) rounds: [usize; 2],
}

impl Hopes {
    /// The same without a floor where so many clients have no core each: they hardly ever meet there.
    pub(crate) fn of_clients(self, clients: usize) -> Self {
        let floor = if have_a_core_each(clients) { self.floor } else { 0 };
        Self { floor, ..self }
    }
}

/// How long luck is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// In any case, as far as there are rounds.
    pub(crate) moment: Duration,
    /// Until enough has met.
    pub(crate) a_while: Duration,
    /// Until the floor is reached.
    pub(crate) at_last: Duration,
}

/// How often something met that was to meet by chance.
#[derive(Debug)]
pub(crate) struct Luck {
    hopes: Hopes,
    times: Times,
    began: Instant,
    met: AtomicUsize,
    given_up: AtomicBool,
    measured: Arc<Measured>,
}

impl Luck {
    pub(crate) fn new(hopes: Hopes, times: Times, measured: Arc<Measured>) -> Self {
        let (met, given_up) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { hopes, times, began: Instant::now(), met, given_up, measured }
    }

    /// Counts that something met.
    pub(crate) fn meet(&self) {
        self.met.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets nobody wait for what would meet: who was to has failed.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether there is to be a round of this number.
    pub(crate) fn goes_on(&self, round: usize) -> bool {
        let [least, most] = self.hopes.rounds;
        let given_up = self.given_up.load(Ordering::Relaxed);
        !given_up && (round < least || self.is_below_floor() || round < most && self.is_wanted())
    }

    /// The numbers of the rounds.
    pub(crate) fn rounds(self: &Arc<Self>) -> impl Iterator<Item = usize> + Send + use<> {
        let luck = Arc::clone(self);
        (0..).take_while(move |round| luck.goes_on(*round))
    }

    /// Whether more of it is of use, and there is time.
    pub(crate) fn is_wanted(&self) -> bool {
        let elapsed = self.began.elapsed();
        elapsed < self.times.moment
            || elapsed < self.times.a_while && self.met() < self.hopes.enough
            || self.is_below_floor()
    }

    fn is_below_floor(&self) -> bool {
        self.met() < self.hopes.floor && self.began.elapsed() < self.times.at_last
    }

    fn met(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }

    /// Reports, at the end, how often something met, and demands that this shows something.
    #[track_caller]
    pub(crate) fn judge(&self, what: impl Display) -> Outcome {
        let (met, floor) = (self.met(), self.hopes.floor);
        self.measured.count_met(met);
        if met >= floor {
            return Ok(());
        }
        Err(Failure::inconclusive(format_args!("{met} {what}, and {floor} are needed: run the case alone")))
    }
}

/// The calls that are under way, of those that may meet.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(AtomicUsize);

impl UnderWay {
    /// Makes a call, and counts it where it begins while another one is under way.
    pub(crate) async fn beside<T>(&self, luck: &Luck, call: impl Future<Output = T>) -> T {
        if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
            luck.meet();
        }
        let done = call.await;
        self.0.fetch_sub(1, Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    const HOPES: Hopes = Hopes { floor: 3, enough: 5, rounds: [2, 10] };
    const NO_TIME: Times = Times { moment: Duration::ZERO, a_while: Duration::ZERO, at_last: Duration::ZERO };

    fn after(met: usize, times: Times) -> Luck {
        let luck = Luck::new(HOPES, times, Arc::default());
        (0..met).for_each(|_| luck.meet());
        luck
    }

    #[test]
    fn what_never_met_has_shown_nothing() {
        let luck = after(2, NO_TIME);
        assert!(luck.goes_on(1) && !luck.goes_on(2));
        assert_eq!(luck.judge("calls met another").expect_err("it must not pass").kind(), Kind::Inconclusive);
    }

    #[test]
    fn what_met_least_is_reported() {
        let measured = Arc::new(Measured::default());
        for met in [5, 3, 4] {
            let luck = Luck::new(HOPES, NO_TIME, Arc::clone(&measured));
            (0..met).for_each(|_| luck.meet());
            luck.judge("calls met another").expect("the floor is reached");
        }
        assert_eq!(measured.met(), Some(3));
    }

    #[test]
    fn below_the_floor_it_goes_on_beyond_the_most_rounds() {
        let times = Times { at_last: Duration::MAX, ..NO_TIME };
        assert!(after(2, times).goes_on(1_000));
        assert!(!after(3, times).goes_on(2));
        after(3, times).judge("calls met another").expect("the floor is reached");
    }

    #[test]
    fn once_who_was_to_meet_has_failed_nothing_goes_on() {
        let luck = after(0, Times { at_last: Duration::MAX, ..NO_TIME });
        assert!(luck.goes_on(0));
        luck.give_up();
        assert!(!luck.goes_on(0));
    }

    #[test]
    fn once_enough_has_met_it_goes_on_for_a_moment_only() {
        let times = Times { a_while: Duration::MAX, ..NO_TIME };
        assert!(after(4, times).goes_on(9) && !after(4, times).goes_on(10));
        assert!(!after(5, times).goes_on(2));
        assert!(after(5, Times { moment: Duration::MAX, ..times }).goes_on(2));
    }
}
