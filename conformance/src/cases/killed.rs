//! A10, I7 and X1 after a kill.

use crate::{case::Case, roles::Role};

pub(super) const CASES: &[Case] = &[];

pub(super) const ROLES: &[Role] = &[];
