//! The checker against recorded histories with known verdicts, and against a reference that tries every order.

mod histories {
    mod format;
    mod generated;
    mod long;
    mod recorded;
    mod recorder;
    mod reference;
    mod simulation;
    mod witnesses;
}
