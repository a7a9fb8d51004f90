//! The search for an order: Wing and Gong's, with Lowe's memo, in the order of the returns.
//!
//! A configuration is what a prefix of an order comes to: the state, and which of the pending operations have taken
//! effect. The search goes through the events. At each return it holds every configuration (up to those that another
//! covers) in which all that returned so far has taken effect, and extends those in which the returning operation has
//! not by pending operations, up to that one: nothing takes effect before it has to (Lowe's just-in-time order). Where no
//! configuration is left, the return is impossible; where one is left at the end, there is an order.
//!
//! That alone would do, and be slow: every subset of the pending writes would be a configuration. What is particular
//! about a register makes most of them one:
//!
//! - A **read** that can take effect does so at once: it changes nothing, so doing it later gains nothing.
//! - A **write** needs no state. Just before another write, or where the state is its value already, it could have taken
//!   effect without a trace, and any number of them could together. From there on it is *settled*: it may return, and it
//!   may still take effect, as long as it is pending. So a write is tried only where a pending operation needs its value.
//! - An operation with an **unknown** outcome may take effect once, at any time from its call on, and need not: it is
//!   settled from the start, and stays pending for ever.
//! - Of pending operations that do the same, the one that has to return **first** goes first: whatever follows could take
//!   the other in its place, and has it for longer. (Owed or settled makes no difference: a write settles all others.)
//!
//! So an operation has two bits, open (may still take effect) and settled (may return), and a configuration with more of
//! them covers one with fewer. Whether unknown operations were used up is part of that: fewer used covers more used.
//!
//! The configurations kept at a return are bounded, and so is the memory. Those stay that have used up the fewest of the
//! unknown operations. If none is left where some had to go, that proves nothing by itself: either a part of the history is
//! impossible alone, which takes no search through the rest, or the search begins again with a higher bound.

use std::{
    cmp,
    collections::{BTreeMap, btree_map::Entry},
    mem,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    checker::{Exhausted, Limits},
    configurations::{Configurations, Queue, Shape, clear, is_set, set},
    register::{State, Step},
};

/// An operation as the search sees it: its step, and the events between which it takes effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) step: Step,
    pub(super) call: usize,
    /// Its return; [`usize::MAX`] if it has none.
    pub(super) deadline: usize,
}

impl Timed {
    fn returns(&self) -> bool {
        self.deadline != usize::MAX
    }
}

/// What is left of [`Limits`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    time: Duration,
    until: Option<Instant>,
    memory: usize,
}

impl Budget {
    pub(super) fn start(limits: Limits) -> Self {
        Self { time: limits.time, until: Instant::now().checked_add(limits.time), memory: limits.memory }
    }

    /// A part of what is left, for one of many questions.
    pub(super) fn share(&self) -> Self {
        let now = Instant::now();
        let until = self.until.map(|until| now + until.saturating_duration_since(now) / 8);
        Self { until, memory: cmp::min(self.memory, SHARE), ..*self }
    }

    pub(super) fn check_time(&self) -> Result<(), Exhausted> {
        match self.until {
            Some(until) if Instant::now() >= until => Err(Exhausted::Time(self.time)),
            _ => Ok(()),
        }
    }
}

/// The memory of a question that is one of many: enough for a few dozen operations.
const SHARE: usize = 1 << 20;

/// How many configurations the first attempt keeps at a return, and how many times more each further one.
const FIRST_WIDTH: usize = 16;
const WIDENING: usize = 4;

/// The events that a search goes through between two looks at the clock, and the configurations.
const STEPS_PER_LOOK: usize = 64;

/// The operation whose return no order explains, or `None` if there is an order of them all.
///
/// Where too many configurations had to go for a proof, `is_refuted` is asked whether there is one at that return.
pub(super) fn impossible_return(
    operations: &[Timed],
    budget: &Budget,
    is_refuted: impl Fn(usize) -> bool,
) -> Result<Option<usize>, Exhausted> {
    let layout = Layout::of(operations);
    // Beside those kept at a return are those that it leads to, up to twice as many, and those on the way.
    let widest = cmp::max(budget.memory / (layout.shape.words * size_of::<u64>() * (3 + ON_THE_WAY)), 1);
    let mut width = cmp::min(FIRST_WIDTH, widest);
    let mut unrefuted = None;
    loop {
        let mut search = Search::new(operations, &layout, width);
        let ControlFlow::Break(stuck) = search.run(budget)? else { return Ok(None) };
        if !search.narrowed || (unrefuted != Some(stuck) && is_refuted(stuck)) {
            return Ok(Some(stuck));
        }
        if width == widest {
            return Err(Exhausted::Memory(budget.memory));
        }
        unrefuted = Some(stuck);
        width = cmp::min(width.saturating_mul(WIDENING), widest);
    }
}

/// How many configurations there may be on the way to a return, in multiples of the width.
const ON_THE_WAY: usize = 4;

/// Where the bits of each operation are in a configuration.
struct Layout {
    events: Vec<(usize, usize)>,
    bits: Vec<Bits>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    open: usize,
    settled: Option<usize>,
}

impl Layout {
    /// Operations that return share places with those that were not pending at the same time. Those that do not come last,
    /// in words of their own.
    fn of(operations: &[Timed]) -> Self {
        let mut events: Vec<_> = operations.iter().enumerate().map(|(i, timed)| (timed.call, i)).collect();
        events.extend(operations.iter().enumerate().filter(|(_, o)| o.returns()).map(|(i, o)| (o.deadline, i)));
        events.sort_unstable();
        let mut bits = vec![Bits::default(); operations.len()];
        let (mut free, mut end) = (Vec::new(), WORD);
        for &(at, i) in events.iter().filter(|&&(_, i)| operations[i].returns()) {
            if at == operations[i].deadline {
                free.push(bits[i]);
            } else {
                bits[i] = free.pop().unwrap_or(Bits { open: end, settled: Some(end + 1) });
                end = cmp::max(end, bits[i].open + 2);
            }
        }
        let precious = end.div_ceil(WORD);
        end = precious * WORD;
        for (bits, _) in bits.iter_mut().zip(operations).filter(|(_, operation)| !operation.returns()) {
            *bits = Bits { open: end, settled: None };
            end += 1;
        }
        let words = end.div_ceil(WORD);
        Self { events, bits, shape: Shape { words, precious: precious..words } }
    }
}

const WORD: usize = u64::BITS as usize;

/// The operations that were called and have not returned, each list in the order of the deadlines.
#[derive(Default)]
struct Pending {
    reads: Vec<usize>,
    writes: BTreeMap<State, Vec<usize>>,
    swaps: BTreeMap<(State, State), Vec<usize>>,
}

impl Pending {
    fn list(&mut self, step: Step) -> &mut Vec<usize> {
        match step {
            Step::Read(_) => &mut self.reads,
            Step::Write(set) => self.writes.entry(set).or_default(),
            Step::Swap { test, set } => self.swaps.entry((test, set)).or_default(),
        }
    }

    fn add(&mut self, operation: usize, operations: &[Timed]) {
        let deadline = operations[operation].deadline;
        let list = self.list(operations[operation].step);
        let at = list.partition_point(|&other| operations[other].deadline <= deadline);
        list.insert(at, operation);
    }

    fn remove(&mut self, operation: usize, step: Step) {
        self.list(step).retain(|&other| other != operation);
        match step {
            Step::Read(_) => {}
            Step::Write(set) => remove_if_empty(&mut self.writes, set),
            Step::Swap { test, set } => remove_if_empty(&mut self.swaps, (test, set)),
        }
    }

    /// The writes that have to return, which stand before those that need not.
    fn returning_writes(&self, operations: &[Timed]) -> impl Iterator<Item = usize> {
        self.writes.values().flat_map(|list| list.iter().copied().take_while(|&write| operations[write].returns()))
    }

    /// The swaps that can take effect in a state, by what they make of it.
    fn swaps_of(&self, state: State) -> impl Iterator<Item = &Vec<usize>> {
        self.swaps.range((state, State(0))..=(state, State(usize::MAX))).map(|(_, list)| list)
    }
}

fn remove_if_empty<K: Ord>(lists: &mut BTreeMap<K, Vec<usize>>, key: K) {
    if let Entry::Occupied(list) = lists.entry(key)
        && list.get().is_empty()
    {
        list.remove();
    }
}

struct Search<'s> {
    operations: &'s [Timed],
    layout: &'s Layout,
    width: usize,
    /// Whether a configuration had to go because there were too many.
    narrowed: bool,
    pending: Pending,
    /// Where the search is at the last return, on the way to the next, and there.
    reached: Configurations,
    on_the_way: Queue,
    beyond: Configurations,
}

impl<'s> Search<'s> {
    fn new(operations: &'s [Timed], layout: &'s Layout, width: usize) -> Self {
        let mut reached = Configurations::new(&layout.shape);
        reached.insert(&vec![0; layout.shape.words]);
        Self {
            operations,
            layout,
            width,
            narrowed: false,
            pending: Pending::default(),
            reached,
            on_the_way: Queue::new(&layout.shape),
            beyond: Configurations::new(&layout.shape),
        }
    }

    /// Goes through the events, up to a return that no configuration gets past.
    fn run(&mut self, budget: &Budget) -> Result<ControlFlow<usize>, Exhausted> {
        for (count, &(at, operation)) in self.layout.events.iter().enumerate() {
            if count % STEPS_PER_LOOK == 0 {
                budget.check_time()?;
            }
            if at == self.operations[operation].call {
                self.call(operation);
                continue;
            }
            self.go_to_return(operation, budget)?;
            if self.reached.is_empty() {
                return Ok(ControlFlow::Break(operation));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn call(&mut self, operation: usize) {
        self.pending.add(operation, self.operations);
        if self.operations[operation].step.becomes().is_some() {
            self.reached.set_in_all(self.layout.bits[operation].open);
        }
    }

    /// Extends what was reached up to the return of an operation: from configurations with much left first, until enough
    /// are beyond that any other would have less left than they.
    fn go_to_return(&mut self, returning: usize, budget: &Budget) -> Result<(), Exhausted> {
        self.on_the_way.clear();
        self.beyond.clear();
        let reached = mem::replace(&mut self.reached, Configurations::new(&self.layout.shape));
        let (mut from, mut to, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        for configuration in reached.iter() {
            from.clear();
            from.extend_from_slice(configuration);
            self.settle(&mut from);
            self.arrive(&from, returning);
        }
        let mut poorest = u32::MAX;
        for count in 1.. {
            let Some(wealth) = self.on_the_way.pop(&mut from) else { break };
            if wealth < poorest && self.beyond.count_richer(wealth) >= self.width {
                self.narrowed = true;
                break;
            }
            poorest = wealth;
            if count % STEPS_PER_LOOK == 0 {
                budget.check_time()?;
            }
            self.moves(&from, returning, &mut moves);
            for &operation in &moves {
                to.clone_from(&from);
                self.apply(operation, &mut to);
                self.settle(&mut to);
                if operation == returning { self.pass(&to, returning) } else { self.arrive(&to, returning) }
            }
        }
        self.pending.remove(returning, self.operations[returning].step);
        mem::swap(&mut self.reached, &mut self.beyond);
        self.narrowed |= self.reached.narrow(self.width);
        Ok(())
    }

    /// Takes in a configuration: it gets past the return if the operation is settled, and goes on if that is open.
    fn arrive(&mut self, configuration: &[u64], returning: usize) {
        let settled = self.is_settled(configuration, returning);
        if settled {
            self.pass(configuration, returning);
        }
        if settled && !self.is_open(configuration, returning) {
            return;
        }
        if self.on_the_way.places() < self.width.saturating_mul(ON_THE_WAY) {
            self.on_the_way.push(configuration);
        } else {
            self.narrowed = true;
        }
    }

    /// Takes in a configuration that gets past the return, where the place of the operation is free again.
    fn pass(&mut self, configuration: &[u64], returning: usize) {
        let mut beyond = configuration.to_vec();
        let bits = self.layout.bits[returning];
        clear(&mut beyond, bits.open);
        bits.settled.into_iter().for_each(|bit| clear(&mut beyond, bit));
        self.beyond.insert(&beyond);
        if self.beyond.places() > self.width.saturating_mul(2) {
            self.narrowed |= self.beyond.narrow(self.width);
        }
    }

    /// Settles what takes effect in this state without changing it.
    fn settle(&self, configuration: &mut [u64]) {
        let state = state(configuration);
        for &read in &self.pending.reads {
            if self.operations[read].step.observes(state) {
                self.set_settled(configuration, read);
            }
        }
        for &write in self.pending.writes.get(&state).into_iter().flatten() {
            self.set_settled(configuration, write);
        }
    }

    fn apply(&self, operation: usize, configuration: &mut [u64]) {
        let step = self.operations[operation].step;
        if let Step::Write(_) = step {
            self.pending.returning_writes(self.operations).for_each(|write| self.set_settled(configuration, write));
        }
        if let Some(State(state)) = step.becomes() {
            configuration[0] = state as u64;
        }
        self.set_settled(configuration, operation);
        clear(configuration, self.layout.bits[operation].open);
    }

    /// The operations that are worth trying next, which is one of each kind: the one with the first deadline.
    fn moves(&self, configuration: &[u64], returning: usize, moves: &mut Vec<usize>) {
        let first = |list: &Vec<usize>| list.iter().copied().find(|&operation| self.is_open(configuration, operation));
        moves.clear();
        moves.extend(self.pending.swaps_of(state(configuration)).filter_map(first));
        if matches!(self.operations[returning].step, Step::Write(_)) {
            moves.push(returning);
        }
        let looks = |&read: &usize| !self.is_settled(configuration, read);
        if self.pending.swaps.is_empty() && !self.pending.reads.iter().any(looks) {
            return;
        }
        for (&set, list) in &self.pending.writes {
            let write = first(list).filter(|&write| write != returning && self.is_wanted(set, configuration));
            moves.extend(write);
        }
    }

    /// Whether a pending operation needs a write of this value. Where the state is that already, such a write helps only
    /// by settling other writes.
    fn is_wanted(&self, value: State, configuration: &[u64]) -> bool {
        let read = |&read: &usize| self.operations[read].step.observes(value) && !self.is_settled(configuration, read);
        let swap = |list: &Vec<usize>| list.iter().any(|&swap| self.is_open(configuration, swap));
        let owed = |write| !self.is_settled(configuration, write);
        self.pending.reads.iter().any(read)
            || ((value != state(configuration) || self.pending.returning_writes(self.operations).any(owed))
                && self.pending.swaps_of(value).any(swap))
    }

    fn is_open(&self, configuration: &[u64], operation: usize) -> bool {
        is_set(configuration, self.layout.bits[operation].open)
    }

    fn is_settled(&self, configuration: &[u64], operation: usize) -> bool {
        self.layout.bits[operation].settled.is_none_or(|bit| is_set(configuration, bit))
    }

    fn set_settled(&self, configuration: &mut [u64], operation: usize) {
        if let Some(bit) = self.layout.bits[operation].settled {
            set(configuration, bit);
        }
    }
}

fn state(configuration: &[u64]) -> State {
    State(usize::try_from(configuration[0]).unwrap_or(usize::MAX))
}
