//! What compiles as a row and what does not, with the messages in `ui/fail/*.stderr`. After a change of a message, or
//! of the compiler, `TRYBUILD=overwrite cargo test -p aerostore_macros --test ui` writes them anew: read the difference.

#[test]
fn rows_compile_or_say_why_not() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
