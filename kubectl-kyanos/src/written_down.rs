//! Texts that users read, kept in files so that a change of them is seen.

use std::path::Path;

/// Compares a text with a file of this crate's folder; `KYANOS_BLESS=1` writes the file anew.
pub(crate) fn must_be(file: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("KYANOS_BLESS").is_some() {
        std::fs::write(&file, text).expect("written");
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(known, text, "{} differs; bless with KYANOS_BLESS=1", file.display());
}
