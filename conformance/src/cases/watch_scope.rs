//! W11 and W12: what a watch covers.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
