//! I7: batches.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
