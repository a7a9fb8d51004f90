//! What a store does with a real folder: how it takes it, leaves it alone, and lets go of it. What holds on every backend
//! is the target `conformance`.

mod adding;
mod clearing;
mod closing;
mod opening;
#[cfg(target_os = "linux")]
mod permissions;
mod scene;
