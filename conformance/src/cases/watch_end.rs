//! W9 and W10: how a watch ends.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
