//! How long RocksDB is waited for while it refuses writes: behind a full disk, or behind compactions that lag.
//!
//! What it refuses it has not written; the writer asks again and again whether it takes something, and tells what it met.

use std::time::{Duration, Instant};

/// How long RocksDB needs at most to find out that there is room again: it looks every five seconds. A stall that is over
/// sooner is nobody's concern.
const LOOKS_FOR_ROOM: Duration = Duration::from_secs(8);

/// How long RocksDB is waited for that writes nothing and does nothing about it.
const RESTS: Duration = Duration::from_mins(1);

/// How long RocksDB is waited for while its work does not begin: its threads are the process's, and may have that of
/// other stores to do.
const WAITS_FOR_A_THREAD: Duration = Duration::from_mins(10);

/// What RocksDB says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// The disk is full.
    Full,
    /// A write would wait for compactions or flushes.
    Stalled,
    /// It would, and they found the disk full.
    StalledByFull,
}

/// What RocksDB does about what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It compacts or flushes.
    UnderWay,
    /// It would, and has not begun.
    Pending,
    None,
}

/// What a write of nothing met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) says: Says,
    /// There is the room that RocksDB asks for.
    pub(crate) has_room: bool,
    pub(crate) work: Work,
    /// The store is being closed.
    pub(crate) is_closing: bool,
}

/// Why nobody waits any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no room.
    NoRoom,
    /// RocksDB has lagged behind for long, and does nothing about it.
    Stuck,
    /// There is room, and RocksDB, which is at rest, does not see it.
    RoomUnseen,
    Closed,
}

/// Refusals without a write between them. It outlives the groups that were refused, or each would wait as long (L4).
#[derive(Debug)]
pub(crate) struct Refusal {
    began: Instant,
    /// RocksDB was last seen at work, or with room for none.
    worked: Instant,
    roomy: Option<Roomy>,
}

/// The disk is full in RocksDB's eyes alone, and no work of it is under way.
#[derive(Debug)]
struct Roomy {
    since: Instant,
    /// There was last work that had not begun.
    pending: Instant,
}

impl Refusal {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, worked: now, roomy: None }
    }

    /// Whether the wait ends here.
    pub(crate) fn end(&mut self, now: Instant, met: Met) -> Option<End> {
        let end = match met.says {
            Says::Full => self.end_of_full_disk(now, met),
            Says::Stalled | Says::StalledByFull => self.end_of_stall(now, met),
        };
        let over = met.is_closing && now - self.began > LOOKS_FOR_ROOM;
        end.or(over.then_some(End::Closed))
    }

    fn end_of_stall(&mut self, now: Instant, met: Met) -> Option<End> {
        self.roomy = None;
        if met.says == Says::StalledByFull && !met.has_room {
            return Some(End::NoRoom);
        }
        if met.work == Work::UnderWay {
            self.worked = now;
        }
        let rests = now - self.worked;
        if rests > LOOKS_FOR_ROOM && !met.has_room {
            return Some(End::NoRoom);
        }
        let patience = if met.work == Work::Pending { WAITS_FOR_A_THREAD } else { RESTS };
        (rests > patience).then_some(End::Stuck)
    }

    fn end_of_full_disk(&mut self, now: Instant, met: Met) -> Option<End> {
        self.worked = now;
        if !met.has_room {
            self.roomy = None;
            return Some(End::NoRoom);
        }
        // It found the room, and writes again once it has put into its place what was only in the log.
        if met.work == Work::UnderWay {
            self.roomy = None;
            return None;
        }
        let roomy = self.roomy.get_or_insert(Roomy { since: now, pending: now });
        // It looks for room only behind those of its jobs that have queued.
        if met.work == Work::Pending {
            roomy.pending = now;
        }
        let over = now - roomy.pending > LOOKS_FOR_ROOM || now - roomy.since > WAITS_FOR_A_THREAD;
        over.then_some(End::RoomUnseen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Met = Met { says: Says::Stalled, has_room: true, work: Work::None, is_closing: false };
    const FULL: Met = Met { says: Says::Full, ..STALLED };

    struct Scene {
        began: Instant,
        refusal: Refusal,
    }

    impl Scene {
        fn new() -> Self {
            let began = Instant::now();
            Self { began, refusal: Refusal::new(began) }
        }

        fn after(&mut self, seconds: u64, met: Met) -> Option<End> {
            self.refusal.end(self.began + Duration::from_secs(seconds), met)
        }
    }

    #[test]
    fn a_full_disk_without_room_is_not_waited_for() {
        assert_eq!(Scene::new().after(0, Met { has_room: false, ..FULL }), Some(End::NoRoom));
    }

    #[test]
    fn a_stall_that_tells_of_a_full_disk_is_not_waited_for_without_room() {
        assert_eq!(
            Scene::new().after(0, Met { says: Says::StalledByFull, has_room: false, ..STALLED }),
            Some(End::NoRoom)
        );
    }

    #[test]
    fn a_short_stall_on_a_small_disk_is_waited_for() {
        let mut scene = Scene::new();
        let met = Met { has_room: false, ..STALLED };
        assert_eq!(scene.after(8, met), None);
        assert_eq!(scene.after(100, Met { work: Work::UnderWay, ..met }), None);
        assert_eq!(scene.after(108, met), None);
        assert_eq!(scene.after(109, met), Some(End::NoRoom));
    }

    #[test]
    fn a_disk_that_fills_up_behind_a_long_stall_gets_the_time_to_be_found_roomy() {
        let mut scene = Scene::new();
        assert_eq!(scene.after(50, STALLED), None);
        assert_eq!(scene.after(55, FULL), None);
        assert_eq!(scene.after(63, FULL), None);
        assert_eq!(scene.after(64, FULL), Some(End::RoomUnseen));
    }

    #[test]
    fn room_that_goes_and_comes_starts_the_time_anew() {
        let mut scene = Scene::new();
        assert_eq!(scene.after(0, FULL), None);
        assert_eq!(scene.after(5, Met { has_room: false, ..FULL }), Some(End::NoRoom));
        assert_eq!(scene.after(3600, FULL), None);
        assert_eq!(scene.after(3608, FULL), None);
        assert_eq!(scene.after(3609, FULL), Some(End::RoomUnseen));
    }

    #[test]
    fn what_rocksdb_does_with_room_that_it_found_is_waited_for() {
        let mut scene = Scene::new();
        let at_work = Met { work: Work::UnderWay, ..FULL };
        assert_eq!(scene.after(0, FULL), None);
        assert_eq!(scene.after(8, FULL), None);
        assert_eq!(scene.after(9, at_work), None);
        assert_eq!(scene.after(3600, at_work), None);
        assert_eq!(scene.after(3601, FULL), None);
        assert_eq!(scene.after(3609, FULL), None);
        assert_eq!(scene.after(3610, FULL), Some(End::RoomUnseen));
        assert_eq!(scene.after(3611, at_work), None);
    }

    #[test]
    fn room_that_rocksdb_cannot_look_for_yet_is_waited_for_longer() {
        let mut scene = Scene::new();
        let pending = Met { work: Work::Pending, ..FULL };
        assert_eq!(scene.after(0, FULL), None);
        for second in 1..=500 {
            assert_eq!(scene.after(second, pending), None);
        }
        // From here on it looks.
        assert_eq!(scene.after(508, FULL), None);
        assert_eq!(scene.after(509, FULL), Some(End::RoomUnseen));
        assert_eq!(scene.after(600, pending), None);
        assert_eq!(scene.after(601, pending), Some(End::RoomUnseen));
        assert_eq!(scene.after(602, Met { work: Work::UnderWay, ..FULL }), None);
        assert_eq!(scene.after(603, pending), None);
        assert_eq!(scene.after(1203, pending), None);
        assert_eq!(scene.after(1204, pending), Some(End::RoomUnseen));
    }

    #[test]
    fn a_disk_that_is_full_again_while_rocksdb_works_is_not_waited_for() {
        let met = Met { work: Work::UnderWay, has_room: false, ..FULL };
        assert_eq!(Scene::new().after(0, met), Some(End::NoRoom));
    }

    #[test]
    fn l4_a_close_ends_the_wait_for_room_that_was_found() {
        let mut scene = Scene::new();
        let met = Met { work: Work::UnderWay, is_closing: true, ..FULL };
        assert_eq!(scene.after(8, met), None);
        assert_eq!(scene.after(9, met), Some(End::Closed));
    }

    #[test]
    fn compactions_are_waited_for_while_they_work_and_for_a_minute_behind() {
        let mut scene = Scene::new();
        assert_eq!(scene.after(3600, Met { work: Work::UnderWay, ..STALLED }), None);
        assert_eq!(scene.after(3660, STALLED), None);
        assert_eq!(scene.after(3661, STALLED), Some(End::Stuck));
    }

    #[test]
    fn compactions_that_wait_for_those_of_other_stores_are_waited_for_longer() {
        let mut scene = Scene::new();
        let pending = Met { work: Work::Pending, ..STALLED };
        assert_eq!(scene.after(600, pending), None);
        assert_eq!(scene.after(601, pending), Some(End::Stuck));
        assert_eq!(scene.after(602, Met { work: Work::UnderWay, ..STALLED }), None);
        assert_eq!(scene.after(1202, pending), None);
        assert_eq!(scene.after(1203, pending), Some(End::Stuck));
    }

    #[test]
    fn compactions_that_find_no_room_do_not_begin() {
        let mut scene = Scene::new();
        let met = Met { work: Work::Pending, has_room: false, ..STALLED };
        assert_eq!(scene.after(8, met), None);
        assert_eq!(scene.after(9, met), Some(End::NoRoom));
    }

    #[test]
    fn l4_what_one_group_waited_for_in_vain_the_next_one_does_not_wait_for() {
        let mut scene = Scene::new();
        assert_eq!(scene.after(61, STALLED), Some(End::Stuck));
        assert_eq!(scene.after(61, STALLED), Some(End::Stuck));
    }

    #[test]
    fn l4_a_close_ends_all_waits_but_short_ones() {
        let mut scene = Scene::new();
        let met = Met { work: Work::UnderWay, is_closing: true, ..STALLED };
        assert_eq!(scene.after(8, met), None);
        assert_eq!(scene.after(9, met), Some(End::Closed));
    }
}
