//! The example `leader`, run as programs: one leads at a time, and another one takes over when it is killed.
#![cfg(all(unix, feature = "sqlite"))]

mod program;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use self::program::program;

/// Many times what a lease lasts: who waits longer waits for nothing.
const LONGEST: Duration = Duration::from_mins(2);

/// A candidate, by its name, and the term that it leads in.
type Led = (String, u64);

/// Programs that would like to lead, and what they say of it.
struct Candidates {
    store: String,
    environment: Vec<(&'static str, &'static str)>,
    running: HashMap<String, Child>,
    tell: Sender<String>,
    told: Receiver<String>,
}

impl Candidates {
    fn of(store: String, environment: &[(&'static str, &'static str)]) -> Self {
        let (tell, told) = channel();
        Self { store, environment: environment.to_vec(), running: HashMap::new(), tell, told }
    }

    fn start(&mut self, name: &str) {
        let mut command = Command::new(program("leader"));
        command.args([&self.store, name]).envs(self.environment.iter().copied()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        self.hear(child.stdout.take().unwrap());
        self.hear(child.stderr.take().unwrap());
        self.running.insert(name.to_owned(), child);
    }

    fn hear(&self, output: impl Read + Send + 'static) {
        let (lines, tell) = (BufReader::new(output).lines(), self.tell.clone());
        // Nobody hears the last words of those that the test leaves behind.
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    }

    /// The next line that says something.
    fn next<T>(&self, what: impl Fn(&str) -> Option<T>) -> T {
        let next = || self.told.recv_timeout(LONGEST).expect("a candidate says something");
        std::iter::repeat_with(next).find_map(|line| what(&line)).expect("the lines have no end")
    }

    fn kill(&mut self, name: &str) {
        let mut killed = self.running.remove(name).unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
}

impl Drop for Candidates {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // One that has ended needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a line says of who leads.
fn led(line: &str) -> Option<Led> {
    let (name, term) = line.split_once(": leading in term ")?;
    Some((name.to_owned(), term.parse().unwrap()))
}

/// Two stand; each that leads is killed, and comes back as another's successor.
fn takes_over(mut candidates: Candidates) {
    candidates.start("one");
    candidates.start("other");
    let (mut leader, mut term) = candidates.next(led);
    assert_eq!(term, 1);
    for _ in 0..2 {
        candidates.kill(&leader);
        let (next, next_term) = candidates.next(led);
        assert!(next != leader && next_term > term, "{next} leads in term {next_term} behind {leader} in {term}");
        candidates.start(&leader);
        (leader, term) = (next, next_term);
    }
    // What was told before anybody was killed.
    assert_eq!(candidates.told.try_iter().filter_map(|line| led(&line)).collect::<Vec<_>>(), []);
}

#[test]
fn another_one_leads_in_a_later_term_when_the_leader_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    takes_over(Candidates::of(format!("sqlite:{}", folder.path().join("shared.db").display()), &[]));
}

#[cfg(feature = "s3")]
#[test]
fn another_one_leads_in_a_later_term_when_the_leader_is_killed_on_another_machine() {
    let server = test_servers::Shared::get(test_servers::Kind::Ministack).unwrap();
    let endpoint = server.endpoint();
    let store =
        format!("{}&region=us-east-1&poll=100", endpoint.address(&format!("leader-{:016x}", fastrand::u64(..))));
    takes_over(Candidates::of(store, &endpoint.credentials()));
}

/// A store that gives no answer for a while is no reason to stand no more.
#[cfg(feature = "s3")]
#[test]
fn a_candidate_outlives_a_service_that_is_away() {
    let mut server = test_servers::Server::start(test_servers::Kind::Ministack).unwrap();
    let endpoint = server.endpoint();
    let store = format!("{}&region=us-east-1&poll=100&busy=100&patience=1000", endpoint.address("leader"));
    let mut candidates = Candidates::of(store, &endpoint.credentials());
    candidates.start("one");
    let (_, first) = candidates.next(led);
    server.kill().unwrap();
    candidates.next(|line| line.ends_with("no longer leading").then_some(()));
    candidates.next(|line| line.starts_with("one: ").then_some(()));
    server.restart().unwrap();
    let (_, second) = candidates.next(led);
    assert!(second > first);
}
