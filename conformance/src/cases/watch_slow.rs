//! W7 and W8: slow, dropped and panicking watchers.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
