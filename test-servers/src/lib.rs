#![doc = include_str!("../README.md")]

mod account;
mod environment;
mod installed;
mod kind;
mod ports;
mod request;
mod server;
mod supervised;

pub use crate::{
    environment::with_credentials,
    kind::Kind,
    server::{Endpoint, Server, Shared, StartError},
};
