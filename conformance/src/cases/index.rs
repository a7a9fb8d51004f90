//! I1 to I6 and I8: content under the hash of it.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
