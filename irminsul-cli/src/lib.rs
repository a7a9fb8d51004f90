//! The command `irminsul`, as a library, so that an application can have it with engines of its own.
//!
//! ```no_run
//! let registry = irminsul::Registry::default(); // and `register` an engine of your own
//! irminsul_cli::run(registry);
//! ```
//!
//! What it does is in its `--help`. It exits with 0 when all is fine, with 1 when something is absent, does not match or
//! failed a check, with 2 on an error, with 130 when a `conform` or `bench` was interrupted, and with 141 when the reader of its output went away.
//! `RUST_LOG` sets what it logs to standard error: with `irminsul=info`, each operation on a store.

/// The example of the readme.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch_writer;
mod checked_read;
mod commands;
mod duration;
mod failure;
mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod outcome;
mod output;
mod progress;
mod record;
mod requests;
mod scratch_stores;
mod signal;
mod store;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::{
    CommandFactory, FromArgMatches, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use irminsul::{OptionSpec, Registry};
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{commands::Command, failure::Failure, outcome::Outcome, output::Output, scratch_stores::ScratchStores};

/// Read, write, watch, verify, copy and test a store
///
/// STORE is an address, such as `sqlite:data/app.db`. The exit code is 0 when all is fine; 1 when something is absent,
/// does not match or failed a check; 2 on an error.
#[derive(Parser)]
#[command(name = "irminsul", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Runs the command that the process's arguments name, on stores that `registry` can open, and says how to exit.
///
/// It starts a tokio runtime of its own, so it is called outside of any.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the last thing a `main` does with its registry")]
pub fn run(registry: Registry) -> ExitCode {
    // This program is also the other processes that `conform` tests a store with.
    conformance::child(|name| ScratchStores::of_child(&registry, name));
    let arguments = Cli::command().after_long_help(schemes(&registry)).try_get_matches();
    match arguments.and_then(|arguments| Cli::from_arg_matches(&arguments)) {
        Ok(cli) => {
            log_to_stderr();
            execute(cli.command, &registry).map_or_else(|failure| failure.report(), ExitCode::from)
        }
        Err(error) => refuse_usage(&error),
    }
}

fn execute(command: Command, registry: &Registry) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    let mut output = Output::stdout();
    let outcome = runtime.block_on(command.run(registry, &mut output))?;
    output.flush()?;
    Ok(outcome)
}

/// What an address can be, for the help: the schemes of the registry, each with its options.
fn schemes(registry: &Registry) -> String {
    let option = |spec: &OptionSpec| format!("    {spec:<20}  {} [default: {}]", spec.help, spec.default);
    let scheme = |scheme| {
        let options = registry.options(scheme).unwrap_or_default().iter().map(option);
        [format!("\n  {scheme}:")].into_iter().chain(options)
    };
    let title = "Schemes of addresses, and the options behind `?`, as in `sqlite:data/app.db?sync=off`:".to_owned();
    [title].into_iter().chain(registry.schemes().flat_map(scheme)).collect::<Vec<_>>().join("\n")
}

/// Help and errors of usage are clap's; an argument that its own type refused is named in one line, without its value.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    match (error.kind(), std::error::Error::source(error)) {
        (ErrorKind::ValueValidation, Some(source)) => {
            let problem = failure::with_causes(source);
            Failure::Refused(match error.get(ContextKind::InvalidArg) {
                Some(argument) => format!("{argument}: {problem}"),
                None => problem,
            })
            .report()
        }
        (ErrorKind::UnknownArgument, _) if !is_about_an_option(error) => Failure::Refused(
            "there is an argument too many, which is not shown, since it may be a value: quote what has spaces in it, \
             or see --help"
                .to_owned(),
        )
        .report(),
        _ => error.print().map_or_else(
            |unprinted| Failure::Output(unprinted).report(),
            |()| ExitCode::from(if error.use_stderr() { 2 } else { 0 }),
        ),
    }
}

fn is_about_an_option(error: &clap::Error) -> bool {
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(argument)) if argument.starts_with('-'))
}

fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    // The spans of `Traced` are told when they close: an operation with its outcome and its time.
    let log = tracing_subscriber::fmt::layer().with_span_events(FmtSpan::CLOSE);
    let log = log.with_writer(io::stderr);
    let log = if io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    // An application that has its own subscriber keeps it.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter)).with(requests::counting()).try_init();
}
