//! L4, L5 and A10: opening again, and opening what must be refused.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
