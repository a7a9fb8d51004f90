//! W3 to W6: what a watch tells folds to the store.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
