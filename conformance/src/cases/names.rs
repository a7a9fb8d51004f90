//! X1: names and the content behind them.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
