//! Statements that client programs and drivers send by themselves right after the log-in, to find out what the server can
//! do. Servers may refuse them, and clients go on.

/// Texts that no user types first: the `mysql` program's.
const PROGRAM_TEXTS: [&[u8]; 2] = [b"select @@version_comment limit 1", b"select $$"];

/// Comments by which drivers sign their own statements: `MySQL`'s for Java, by its old and its new name.
const DRIVER_SIGNATURES: [&[u8]; 2] = [b"/* mysql-connector-java-", b"/* mysql-connector-j-"];

/// Tells whether a client library sent `statement` by itself.
pub(super) fn is_own(statement: &[u8]) -> bool {
    let signed = DRIVER_SIGNATURES.iter().any(|signature| statement.starts_with(signature));
    PROGRAM_TEXTS.contains(&statement) || signed && memchr::memmem::find(statement, b"*/").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_a_librarys_is_its_own() {
        for (statement, own) in [
            ("select @@version_comment limit 1", true),
            ("select $$", true),
            (
                "/* mysql-connector-java-8.0.33 (Revision: 7d6b) */SELECT  @@session.auto_increment_increment AS a",
                true,
            ),
            ("/* mysql-connector-j-9.1.0 (Revision: cf29) */SELECT @@session.time_zone", true),
            ("select @@version_comment", false),
            ("SELECT $$ FROM t", false),
            ("SET NAMES utf8mb4", false),
            ("/* mysql-connector-j-9.1.0", false),
            ("/* my app */ SELECT 1", false),
            ("SELECT 1 /* mysql-connector-java-8.0.33 */", false),
        ] {
            assert_eq!(is_own(statement.as_bytes()), own, "{statement}");
        }
    }
}
