//! Pages that are written from code: a test holds each against its source, and writes it anew when
//! asked to.

use std::path::Path;

/// Compares the page at `path` with what it should say; with `UPDATE_DOCS` set, writes it.
pub(crate) fn assert_current(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, expected).expect("the page is writable");
    }
    let present = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        present == expected,
        "{path} is stale: run the tests with UPDATE_DOCS=1 and commit it"
    );
}
