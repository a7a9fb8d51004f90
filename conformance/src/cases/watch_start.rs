//! W1 and W2: where a watch starts.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
