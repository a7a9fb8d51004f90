//! The words of the control protocol: each value of a small enumeration has one.

/// A value that the protocol writes as one word.
pub(crate) trait Word: Copy + PartialEq + Sized + 'static {
    /// Every value with its word.
    const WORDS: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(value, _)| *value == self);
        known.expect("every value has a word").1
    }

    /// The value of a word, or what could have been said.
    fn from_word(word: &str) -> Result<Self, String> {
        let known = Self::WORDS.iter().find(|(_, known)| *known == word);
        known.map(|(value, _)| *value).ok_or_else(|| {
            let choice: Vec<_> = Self::WORDS.iter().map(|(_, word)| *word).collect();
            format!("expected one of {}", choice.join(", "))
        })
    }
}

impl Word for bool {
    const WORDS: &'static [(Self, &'static str)] = &[(true, "on"), (false, "off")];
}
