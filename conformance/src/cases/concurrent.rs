//! A1, A4 and A6: many clients at once, judged by a counter and by the linearizability of what they recorded.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
