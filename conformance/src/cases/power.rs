//! A10, I7, X1 and E3 on a disk that loses power and fails.

use crate::{case::Case, roles::Role};

pub(super) const CASES: &[Case] = &[];

pub(super) const ROLES: &[Role] = &[];
