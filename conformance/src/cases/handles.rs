//! L1 to L3: closed handles, and those beside them.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
