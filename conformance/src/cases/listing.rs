//! A7: what a listing contains while others write.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
