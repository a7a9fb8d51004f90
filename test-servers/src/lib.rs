#![doc = include_str!("../README.md")]

mod account;
mod installed;
mod kind;
mod ports;
mod request;
mod server;
mod supervised;

pub use crate::{
    kind::Kind,
    server::{Endpoint, Server, Shared, StartError},
};
