//! The keys below a path, as one range of an engine that keeps keys in the order of their bytes.

use std::ops::Bound;

use store_api::Key;

/// The range of keys strictly below `under`, in the order of bytes. The path's own key is not in it: `a!` sorts between
/// `a` and `a/b`, and is not below `a`.
///
/// ```
/// # use std::ops::Bound::{Excluded, Included};
/// # use store_api::Key;
/// let under = Key::new("a")?;
/// assert_eq!(backend_kit::range_below(&under), (Included("a/".into()), Excluded("a0".into())));
/// # Ok::<(), store_api::Error>(())
/// ```
#[must_use]
pub fn range_below(under: &Key) -> (Bound<String>, Bound<String>) {
    if under.is_root() {
        return (Bound::Unbounded, Bound::Unbounded);
    }
    // '0' is the byte behind '/'.
    (Bound::Included(format!("{under}/")), Bound::Excluded(format!("{under}0")))
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn w12_the_range_is_what_the_scope_covers(under in "([ab/.!0]{0,4})", key in "[ab/.!0]{1,6}") {
            let (Ok(under), Ok(key)) = (Key::new(under), Key::new(key)) else { return Ok(()) };
            let below = range_below(&under).contains(&key.as_str().to_owned());
            prop_assert_eq!(below, under.covers(&key) && under != key);
        }
    }
}
