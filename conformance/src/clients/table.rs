//! Clients that meet again and again, to go on at the same moment each time.

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::yield_now,
};

use super::{have_a_core_each, is_given_up};

/// A client's seat at a table where all meet over and over, to go on at the same moment each time.
pub(crate) struct Seat {
    table: Arc<Table>,
    meetings: usize,
}

struct Table {
    seats: usize,
    arrivals: AtomicUsize,
    /// Whether somebody has left, for whom the others need not wait.
    left: AtomicBool,
    /// After so many looks a core is given away.
    spins: u32,
}

/// The seats of a table.
pub(crate) fn table(seats: usize) -> Vec<Seat> {
    let spins = if have_a_core_each(seats) { Seat::SPINS } else { 100 };
    let table = Arc::new(Table { seats, arrivals: AtomicUsize::new(0), left: AtomicBool::new(false), spins });
    (0..seats).map(|_| Seat { table: Arc::clone(&table), meetings: 0 }).collect()
}

impl Seat {
    /// How often it is looked who is there before others may have the core: on a machine that is busy with other programs,
    /// who gives it away each time is never there when the others come. Where there are fewer cores than seats, they
    /// are waiting for it.
    const SPINS: u32 = 20_000;

    /// Waits until all are there, on the thread, since what is woken comes too late to meet anybody; false where somebody
    /// has left, or nobody waits any more for those of [`together`](super::together), of whom one may hang.
    pub(crate) fn meet(&mut self) -> bool {
        self.meetings += 1;
        self.table.arrivals.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.table.arrivals.load(Ordering::Acquire) < self.table.seats * self.meetings {
            if self.table.left.load(Ordering::Acquire) {
                return false;
            }
            spins += 1;
            if !spins.is_multiple_of(self.table.spins) {
                spin_loop();
            } else if is_given_up() {
                return false;
            } else {
                yield_now();
            }
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.left.store(true, Ordering::Release);
    }
}
