//! A file system for tests.
mod content;
mod control;
mod disk;
mod faults;
mod file;
mod loss;
mod mount;
mod names;
mod protocol;
mod session;
mod tree;
mod words;
pub use crate::{
    control::{Control, ControlError},
    disk::Mode,
    faults::{Failure, Fault, Op, Pages},
    loss::{Keep, Loss},
    mount::{FaultyFs, MountError, Mounted, Unmounter},
    protocol::Stats,
};
