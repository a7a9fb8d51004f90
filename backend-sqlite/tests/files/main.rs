//! What a store does with real files: how it takes them, leaves them alone, waits for them, and finds out that they
//! rotted. What holds on every backend is the target `conformance`.

mod change_log;
mod closing;
mod contradictions;
mod foreign;
mod group_commit;
mod locks;
mod opening;
mod refusal;
mod replaced;
mod rot_of_content;
mod rot_of_entries;
mod scene;
mod watching;
