//! The checker against recorded histories with known verdicts, and against a reference that tries every order.

mod histories {
    mod recorded;
}
