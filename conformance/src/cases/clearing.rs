//! A8: `clear`, alone and amid writes.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
