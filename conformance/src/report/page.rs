//! A report as one HTML page.
use crate::Report;
impl Report {
    /// x
    #[must_use]
    pub fn to_html(&self) -> String {
        String::new()
    }
}
