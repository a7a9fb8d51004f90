//! The command as a script sees it: the real binary, its output and its exit codes.

mod bad_input;
mod bench;
#[cfg(feature = "azure")]
mod bucket;
mod check_history;
mod conform;
mod content;
mod copy;
mod entries;
mod info;
mod log;
mod pipes;
mod private;
mod read_only;
mod sandbox;
mod secrets;
mod verify;
mod watch;
