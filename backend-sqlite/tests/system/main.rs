//! What a store does where the system refuses: another user's files, read-only and full file systems, and where two
//! processes begin at once. The target is its own child: with a case in the environment it plays that.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use self::another::{Case, Place};

mod another;
mod full_disk;
mod permissions;
mod read_only;
#[path = "../files/refusal.rs"]
mod refusal;
mod temporary;
mod together;

/// A case by the name of its function, in its place; what prepares the folder runs as whoever runs the tests.
macro_rules! case {
    ($place:ident, $module:ident :: $act:ident) => {
        case!($place, $module::$act, |_| {})
    };
    ($place:ident, $module:ident :: $act:ident, $prepare:expr) => {
        Case {
            name: concat!(stringify!($module), "::", stringify!($act)),
            place: Place::$place,
            prepare: $prepare,
            act: |directory| another::run($module::$act(directory)),
        }
    };
}

const CASES: &[Case] = &[
    case!(Nobody, permissions::e1_a_file_that_cannot_be_read_is_denied, permissions::sealed_file),
    case!(Nobody, permissions::e1_a_folder_that_cannot_be_entered_is_denied, permissions::sealed_folder),
    case!(Nobody, permissions::e1_a_folder_that_takes_no_file_is_denied, permissions::unwritable_folder),
    case!(Nobody, permissions::e1_a_folder_that_takes_no_log_makes_its_store_read_only, permissions::unwritable_folder),
    case!(Nobody, permissions::e1_a_file_that_cannot_be_written_is_read_only, permissions::unwritable_file),
    case!(Nobody, permissions::e1_a_temporary_store_without_a_place_is_denied, permissions::no_place),
    case!(Mounting, read_only::e1_a_store_on_a_read_only_file_system_is_read_only),
    case!(Mounting, read_only::e1_a_store_cannot_be_created_on_a_read_only_file_system),
    case!(Mounting, full_disk::e1_a_full_disk_refuses_writes_and_loses_nothing),
    case!(Mounting, full_disk::a5_a_write_that_does_not_fit_fails_no_neighbour),
    case!(Mounting, full_disk::i7_a_batch_that_does_not_fit_leaves_nothing),
    case!(Mounting, full_disk::e1_a_full_disk_refuses_a_store_until_there_is_space),
    case!(Mounting, full_disk::l4_a_close_on_a_full_disk_loses_nothing),
    case!(Here, temporary::l4_a_temporary_store_is_gone_with_its_last_handle),
    case!(Here, temporary::l4_a_watch_keeps_a_temporary_store_alive),
    case!(Here, temporary::l4_temporary_stores_share_nothing),
    case!(Twice, together::l4_two_processes_that_create_one_store_share_it),
    case!(Twice, together::l5_two_processes_that_create_one_store_agree_on_its_hash_function),
];

fn main() -> ExitCode {
    if another::play_assigned(CASES) {
        return ExitCode::SUCCESS;
    }
    let trials = CASES.iter().map(|case| {
        Trial::test(case.name, || {
            case.start();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
