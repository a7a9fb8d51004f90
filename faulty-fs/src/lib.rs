#![doc = include_str!("../README.md")]

mod content;
mod control;
mod disk;
mod faults;
mod file;
mod loss;
mod mount;
mod names;
mod protocol;
mod serve;
mod session;
mod tree;
mod trials;
mod words;

pub use crate::{
    control::{Control, ControlError},
    disk::Mode,
    faults::{Failure, Fault, Op, Pages},
    loss::{Keep, Loss},
    mount::{FaultyFs, MountError, Mounted, serve_if_asked},
    protocol::Stats,
    serve::serve,
    trials::run_trials,
};
