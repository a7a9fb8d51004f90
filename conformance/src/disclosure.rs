//! Whether a text gives a secret away: for the cases of the suite, and for tests that search the output of a program.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;

/// Shorter ones stand in texts by chance.
const LEAST_BASE64: usize = 6;

/// Whether a text shows a secret in any way that bytes are commonly written: as it is, as a list of numbers, in
/// hexadecimal, percent-encoded, or as a part of something in Base64. Secrets shorter than 8 bytes are not searched for in
/// Base64, and one that is empty or blank in no text.
///
/// ```
/// use conformance::discloses;
///
/// assert!(discloses("user=c29tZXRoaW5nIGhpZGRlbg==", "something hidden"));
/// assert!(discloses("[104, 105, 100, 100, 101, 110]", "hidden") && discloses("68:69%64%64\\x65\\x6E", "hidden"));
/// assert!(!discloses("nothing to see", "hidden"));
/// ```
#[must_use]
pub fn discloses(text: &str, secret: &str) -> bool {
    disclosed(text, [secret]).is_some()
}

/// The first of some secrets that a text gives away, as [`discloses`] says. For long texts: each is looked through once.
#[must_use]
pub fn disclosed<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> Option<&'s str> {
    let flat = without_blanks(text);
    let lower = flat.to_lowercase();
    let decoded = without_blanks(&percent_decode_str(&flat).decode_utf8_lossy().to_lowercase());
    let bare = lower.replace("\\x", "").replace(['%', ':', '-'], "");
    secrets.into_iter().find(|secret| {
        let plain = without_blanks(&secret.to_lowercase());
        let decimal: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        let hexadecimal: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let is_there = lower.contains(&plain)
            || decoded.contains(&plain)
            || lower.contains(&decimal.join(","))
            || bare.contains(&hexadecimal.concat())
            || base64_forms(secret).iter().any(|form| flat.contains(form));
        // Nothing is in every text.
        is_there && !plain.is_empty()
    })
}

fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

/// What Base64 makes of a secret, wherever in the encoded bytes it begins: of its whole groups of three.
fn base64_forms(secret: &str) -> Vec<String> {
    let groups = (0..3).filter_map(|begin| {
        let rest = secret.as_bytes().get(begin..)?;
        Some(&rest[..rest.len() / 3 * 3]).filter(|groups| groups.len() >= LEAST_BASE64)
    });
    groups.flat_map(|groups| [STANDARD_NO_PAD.encode(groups), URL_SAFE_NO_PAD.encode(groups)]).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "Correct/Horse 9";

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_and_however_it_is_written(before in "\\PC{0,40}", after in "\\PC{0,40}") {
            let whole = format!("{before}{SECRET}{after}");
            let bytes = whole.as_bytes();
            let hexadecimal = |between: &str, upper: bool| {
                let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
                bytes.iter().map(digits).collect::<Vec<_>>().join(between)
            };
            let percent: Vec<String> = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            let forms = [
                format!("{bytes:?}"), format!("{bytes:#?}"), hexadecimal("", false), hexadecimal(":", true),
                hexadecimal(" ", true), percent.concat(), STANDARD.encode(bytes), whole.clone(), whole.to_uppercase(),
                utf8_percent_encode(&whole, NON_ALPHANUMERIC).to_string(),
            ];
            for form in forms {
                prop_assert!(discloses(&form, SECRET), "{}", form);
            }
        }

        #[test]
        fn other_texts_disclose_nothing(text in "\\PC{0,200}") {
            prop_assume!(!text.contains("orrect"));
            prop_assert!(!discloses(&text, SECRET));
        }
    }

    #[test]
    fn what_is_no_secret_is_in_no_text() {
        assert!(!discloses("anything", "") && !discloses("any thing", " "));
    }
}
