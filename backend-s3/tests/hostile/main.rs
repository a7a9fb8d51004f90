//! A service that lies, floods, stalls and sends elsewhere: every operation ends with an error that tells what to do, in
//! little memory and in the time that a request may take, and nothing that is secret is shown to anybody.
//!
//! The program runs itself, with credentials in its environment and everything that is logged, and searches all that
//! comes out of it.

mod attacks;
mod elsewhere;
mod names;
mod scene;
mod server;

use std::{
    env,
    process::{Command, ExitCode},
};

use conformance::{disclosed, discloses};
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit, setrlimit};

/// What nobody may be shown: where the client takes its credentials from, and what values are made of.
pub(crate) const CREDENTIALS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIAq7hidden4identity2"),
    ("AWS_SECRET_ACCESS_KEY", "w3hidden9secret5of8the2service"),
    ("AWS_SESSION_TOKEN", "t6hidden1token7of4the9session"),
];
pub(crate) const VALUE: &str = "v2hidden8value3of6an5application";

const CHILD: &str = "IRMINSUL_HOSTILE_CHILD";

/// What the process may take that runs the tests, stacks and the server's part included: many times what they need, and
/// little beside what a service can send.
const MEMORY: u64 = 2 << 30;

fn main() -> ExitCode {
    if env::var_os(CHILD).is_none() {
        return run_and_search();
    }
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    setrlimit(Resource::Data, limit).expect("a process may take less");
    let trials = attacks::trials().into_iter().chain(elsewhere::trials()).chain(names::trials());
    let mut arguments = Arguments::from_args();
    // They wait for time limits, most of the time.
    arguments.test_threads.get_or_insert(12);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs the tests in a process of their own: a process cannot safely change its environment.
fn run_and_search() -> ExitCode {
    let ran = Command::new(env::current_exe().expect("a program knows itself"))
        .args(env::args_os().skip(1))
        .env(CHILD, "1")
        .envs(CREDENTIALS)
        .env("RUST_BACKTRACE", "full")
        .output()
        .expect("this program runs");
    let (told, logged) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    print!("{told}");
    let secrets = || CREDENTIALS.iter().map(|(_, secret)| *secret).chain([VALUE]);
    let shown = disclosed(&told, secrets()).or_else(|| disclosed(&logged, secrets()));
    let code = ran.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let is_logged = logged.contains("irminsul::requests") || env::args_os().len() > 1;
    if code == 0 && shown.is_none() && is_logged {
        return ExitCode::SUCCESS;
    }
    if !is_logged {
        eprintln!("nothing is logged, so that nothing was searched");
    }
    if let Some(secret) = shown {
        let mut lines = told.lines().chain(logged.lines());
        let line = lines.find(|line| discloses(line, secret)).unwrap_or("more than one line");
        eprintln!("{secret} is shown: {line}");
    }
    // What was logged is long.
    let last: Vec<_> = logged.lines().filter(|line| !line.contains(" TRACE ")).collect();
    last.iter().skip(last.len().saturating_sub(200)).for_each(|line| eprintln!("{line}"));
    ExitCode::FAILURE
}

/// A test of an async function.
pub(crate) fn trial<F: Future<Output = ()>>(
    name: impl Into<String>,
    test: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}
