//! The store over an object store in memory, in virtual time: what it does with every answer that it can get, and how
//! many requests it takes.

mod clearing;
mod content;
mod faulty;
mod logging;
mod opening;
mod requests;
mod rot;
mod settling;
mod unreadable;
mod watching;
