//! The clauses that need several processes: stores that a host shares, writers that are killed, watchers that are
//! stopped. The target is its own child: with a role in the environment it plays that, otherwise it runs the trials.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod child;
mod roles;
mod trials;

fn main() -> ExitCode {
    if let Some(role) = roles::assigned() {
        return roles::play(&role);
    }
    let mut list = Vec::new();
    for sync in ["full", "normal"] {
        let mut add = |name: &str, trial: fn(&str)| {
            list.push(Trial::test(format!("{name}::sync_{sync}"), move || {
                trial(sync);
                Ok(())
            }));
        };
        add("a1_eight_processes_lose_no_increment", trials::eight_processes_lose_no_increment);
        add("a10_a_killed_writer_loses_nothing_acknowledged", trials::a_killed_writer_loses_nothing_acknowledged);
        add("i7_a_killed_writer_leaves_whole_batches", trials::a_killed_writer_leaves_whole_batches);
        add(
            "x1_a_killed_writer_leaves_no_name_without_content",
            trials::a_killed_writer_leaves_no_name_without_content,
        );
        add("w11_another_process_is_told_every_final_value", trials::another_process_is_told_every_final_value);
    }
    list.push(Trial::test("w5_a_stopped_watcher_catches_up_past_the_trimmed_log", || {
        trials::a_stopped_watcher_catches_up_past_the_trimmed_log("normal");
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), list).exit_code()
}
