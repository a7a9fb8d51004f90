//! What a handle may do is the trait that it is held by: the compiler refuses the rest.

#[test]
fn readers_can_neither_write_nor_close() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/permissions/upcasts.rs");
    cases.compile_fail("tests/permissions/reader_*.rs");
    cases.compile_fail("tests/permissions/indexed_*.rs");
    cases.compile_fail("tests/permissions/content_*.rs");
}
