//! What a case is: an id that names its clause, what it needs of a backend, and a body.

use std::{pin::Pin, time::Duration};

use store_api::{Backend, Durability, Guarantees, Visibility};

use crate::{Context, Settings, failure::Outcome};

pub(crate) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One demand of the contract, put to the test.
#[derive(Debug)]
pub(crate) struct Case {
    /// `area/CLAUSE-what-is-demanded`.
    pub(crate) id: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) body: fn(Context) -> Running,
}

/// `case!("atomic/A2-test-and-set-truth-table", [Entries], function)`
macro_rules! case {
    ($id:literal, [$($need:ident),* $(,)?], $body:path) => {
        $crate::case::Case {
            id: $id,
            needs: &[$($crate::case::Need::$need),*],
            body: |context| Box::pin($body(context)),
        }
    };
}

pub(crate) use case;

/// What a backend must claim for a case to apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// An atomic-write store.
    Entries,
    /// An indexable store.
    Content,
    /// Content is verified when it is read, unless a case asks for the opposite.
    Verified,
    /// Two instances of one process share a store.
    SharedInstances,
    /// Two processes share a store.
    SharedProcesses,
    /// An instance that is alone with its data: nobody else sees them while it is open.
    LoneInstance,
    /// It keeps its data itself, on a disk of its own if any, and has let go of them once it is closed.
    Embedded,
    /// A process that is alone with its data: no other one sees them while it has the store open.
    LoneProcess,
    /// What is written is there when the store is opened again.
    Reopens,
    /// What is acknowledged survives a killed process.
    SurvivesKill,
    /// What is acknowledged survives a power loss, and the backend itself sees to it.
    SurvivesPowerLoss,
}

impl Case {
    /// The id of its clause.
    pub(crate) fn clause(&self) -> &'static str {
        let name = self.id.split_once('/').map_or(self.id, |(_, name)| name);
        name.split_once('-').map_or(name, |(clause, _)| clause)
    }

    /// Whether it is asked for by a pattern: a part of its id, or with a `*` for any text the whole of it.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        if !pattern.contains('*') {
            return self.id.contains(pattern);
        }
        let mut parts = pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|start| self.id.strip_prefix(start)) else { return false };
        let mut last = "";
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
            last = part;
        }
        rest.is_empty() || last.is_empty() || self.id.ends_with(last)
    }
}

/// What a backend claims.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a claim of its own, made or not")]
pub(crate) struct Claims {
    pub(crate) guarantees: Guarantees,
    entries: bool,
    content: bool,
    verified: bool,
    /// How long it takes for an answer, as it showed before the cases.
    pace: Duration,
    /// Whether its files are where its factory is told to put them.
    heeds_places: bool,
}

/// The patience is extended by the time of this many answers.
const ANSWERS: u32 = 50;

/// How often a store has to answer for two clients to meet once: clients that get in each other's way wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As clients do whose calls meet now and then.
    Clients = 1000,
    /// As processes do, each of which waits for the others at nearly every call, and tries it again where it came too late.
    Processes = 100,
}

/// Not fewer meetings than this are asked for, however slow the store is.
const FEWEST_MEETINGS: usize = 5;

impl Claims {
    /// Of a backend that is opened with its factory's own settings, and answers at this pace.
    pub(crate) fn of(backend: &dyn Backend, settings: &Settings, pace: Duration) -> Self {
        Self {
            guarantees: backend.guarantees(),
            entries: backend.atomic_write().is_some(),
            content: backend.indexable().is_some(),
            verified: settings.verifies(),
            pace,
            heeds_places: true,
        }
    }

    /// The same of a factory that was seen to heed a [`Place::Directory`](crate::Place::Directory), or not to.
    pub(crate) fn heeding_places(self, heeds_places: bool) -> Self {
        Self { heeds_places, ..self }
    }

    /// Whether its files are where its factory is told to put them.
    pub(crate) fn heeds_places(&self) -> bool {
        self.heeds_places
    }

    /// How long what must happen is waited for at a given patience: a change may be late by the declared lag, and what
    /// takes many answers of a remote store by all of them.
    pub(crate) fn patience(&self, patience: Duration) -> Duration {
        let lag = self.guarantees.watch_lag;
        let late = lag.own.max(lag.others.unwrap_or_default()).saturating_mul(10);
        patience.saturating_add(late).saturating_add(self.answers())
    }

    /// How long it takes for what may take many answers.
    pub(crate) fn answers(&self) -> Duration {
        self.pace.saturating_mul(ANSWERS)
    }

    /// How many meetings to ask for: `wanted`, or as many as a slow store has time for `within` this time. Fewer show less:
    /// the report says how many there were.
    pub(crate) fn meetings(&self, wanted: usize, pace: Pace, within: Duration) -> usize {
        let answers = within.as_nanos().checked_div(self.pace.as_nanos()).unwrap_or(u128::MAX);
        let possible = usize::try_from(answers / pace as u128).unwrap_or(usize::MAX);
        wanted.min(possible.max(FEWEST_MEETINGS))
    }

    /// Why a case does not apply to the backend.
    pub(crate) fn lack(&self, case: &Case) -> Option<&'static str> {
        case.needs.iter().find_map(|need| self.lack_of(*need))
    }

    fn lack_of(&self, need: Need) -> Option<&'static str> {
        let Guarantees { durability, visibility, .. } = self.guarantees;
        let (met, lack) = match need {
            Need::Entries => (self.entries, "it has no atomic-write store"),
            Need::Content => (self.content, "it has no indexable store"),
            Need::Verified => (self.verified, "it is opened without verification"),
            Need::SharedInstances => (visibility >= Visibility::Process, "its instances do not share a store"),
            Need::SharedProcesses => (visibility >= Visibility::Host, "processes do not share a store"),
            Need::LoneInstance => (visibility == Visibility::Instance, "its instances share a store"),
            Need::Embedded => (durability != Durability::Service, "a service keeps its data"),
            Need::LoneProcess => (visibility < Visibility::Host, "processes share a store"),
            Need::Reopens | Need::SurvivesKill => (durability.survives_kill(), "it declares `Volatile`"),
            Need::SurvivesPowerLoss => (durability == Durability::Power, "it does not declare `Power`"),
        };
        (!met).then_some(lack)
    }
}

#[cfg(test)]
mod tests {
    use store_api::{IndexLevel, WatchLag};

    use super::*;

    fn at_pace(pace: Duration) -> Claims {
        let lag = WatchLag::new(Duration::MAX, Some(Duration::MAX));
        let guarantees = Guarantees::new(Durability::Volatile, Visibility::Instance, IndexLevel::Exact, lag);
        Claims { guarantees, entries: true, content: true, verified: true, heeds_places: true, pace }
    }

    #[test]
    fn there_is_no_patience_that_is_too_long() {
        assert_eq!(at_pace(Duration::MAX).patience(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_slow_store_is_asked_for_fewer_meetings_but_for_some() {
        let asked = |pace| at_pace(pace).meetings(1000, Pace::Clients, Duration::from_secs(30));
        assert_eq!(asked(Duration::ZERO), 1000);
        assert_eq!(asked(Duration::from_micros(20)), 1000);
        assert_eq!(asked(Duration::from_micros(200)), 150);
        assert_eq!(asked(Duration::from_secs(1)), 5);
        assert_eq!(at_pace(Duration::from_secs(1)).meetings(3, Pace::Clients, Duration::from_secs(30)), 3);
        let of_processes = |pace| at_pace(pace).meetings(500, Pace::Processes, Duration::from_secs(30));
        assert_eq!(of_processes(Duration::from_micros(500)), 500);
        assert_eq!(of_processes(Duration::from_millis(10)), 30);
    }

    fn case(id: &'static str) -> Case {
        Case { id, needs: &[], body: |_| Box::pin(async { Ok(()) }) }
    }

    #[test]
    fn an_id_names_its_clause() {
        assert_eq!(case("atomic/A10-what-was-acknowledged").clause(), "A10");
    }

    #[test]
    fn a_pattern_is_a_part_or_has_stars() {
        let case = case("watch/W7-slow-watcher");
        for pattern in ["W7", "watch/", "", "watch/*", "*slow*", "*W7*watcher", "watch/W7-slow-watcher", "*"] {
            assert!(case.matches(pattern), "{pattern}");
        }
        for pattern in ["W8", "atch/*", "watch*slow", "*W7", "slow*"] {
            assert!(!case.matches(pattern), "{pattern}");
        }
    }
}
