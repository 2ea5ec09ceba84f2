//! Which names announce a secret.

use super::Dialect;
use crate::redact;

/// Longest name that is looked at: those of options, columns and functions are shorter.
const MAX_NAME: usize = 128;

/// Last words of the names of secrets: `master_password`, `password`.
const LAST_WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "pw",
    "secret",
    "token",
    "credential",
    "credentials",
    "signature",
];

/// Ends of such names that are written as one word: `sslpassword`, `accessToken`.
const SECRET_ENDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "secretkey",
    "accesskey",
    "accountkey",
    "privatekey",
];

/// Words before `key` that make it a secret: a primary key is none.
const KEY_WORDS: [&str; 10] =
    ["secret", "access", "account", "api", "private", "symmetric", "encryption", "auth", "signing", "shared"];

/// Names of secrets that follow no rule.
const SECRET_NAMES: [&str; 6] = [
    "authentication_string",
    "auth_header",
    "password_hash",
    "password_digest",
    "passphrase_command",
    // User and password of a cluster's state transfer.
    "sst_auth",
];

/// Parts of the names of functions whose literals are secrets.
const FUNCTION_PARTS: [&str; 4] = ["password", "passwd", "secret", "credential"];

/// Functions whose literals are secrets: keys, and the texts that are encrypted with them.
const SECRET_FUNCTIONS: [&str; 23] = [
    "aes_decrypt",
    "aes_encrypt",
    "asymmetric_decrypt",
    "asymmetric_encrypt",
    "asymmetric_sign",
    "crypt",
    "decrypt",
    "decrypt_iv",
    "des_decrypt",
    "des_encrypt",
    "encrypt",
    "encrypt_iv",
    "hmac",
    "keyring_key_store",
    "pgp_pub_decrypt",
    "pgp_pub_decrypt_bytea",
    "pgp_pub_encrypt",
    "pgp_pub_encrypt_bytea",
    "pgp_sym_decrypt",
    "pgp_sym_decrypt_bytea",
    "pgp_sym_encrypt",
    "pgp_sym_encrypt_bytea",
    "raw_crypt",
];

/// Parts of every name and every mark by which a literal's content may hold a secret, lower case.
const SECRET_MARKS: [&[u8]; 14] = [
    b"://",
    b"auth",
    b"code",
    b"credential",
    b"crypt",
    b"hmac",
    b"identified",
    b"key",
    b"pass",
    b"pgp_",
    b"pw",
    b"secret",
    b"sig",
    b"token",
];

/// Tells whether what `name` is set to is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let mark = |letter: char| !letter.is_alphanumeric();
    let mut words = name.trim_end_matches(mark).rsplit(mark);
    let last = words.next().unwrap_or_default();
    let before = words.next().unwrap_or_default();
    LAST_WORDS.contains(&last)
        || last == "key" && KEY_WORDS.contains(&before)
        || SECRET_ENDS.iter().any(|end| last.ends_with(end))
        || SECRET_NAMES.iter().any(|whole| name.ends_with(whole))
}

/// Tells whether the value of `name` in an address's query is a secret.
pub(super) fn is_secret_in_query(name: &str) -> bool {
    is_secret(name) || redact::is_secret_name(name)
}

/// Tells whether the literals among the arguments of a function are secrets.
pub(super) fn is_secret_function(name: &str, dialect: Dialect) -> bool {
    SECRET_FUNCTIONS.contains(&name)
        || FUNCTION_PARTS.iter().any(|part| name.contains(part))
        || dialect == Dialect::Mysql && matches!(name, "encode" | "decode")
}

/// Tells whether a function takes pairs of names and values.
pub(super) fn is_of_pairs(name: &str) -> bool {
    name.starts_with("json") || matches!(name, "set_config" | "hstore" | "map")
}

/// Tells whether a function puts its arguments together to one text.
pub(super) fn is_of_text(name: &str) -> bool {
    matches!(name, "concat" | "concat_ws" | "format")
}

/// Tells whether what follows says how to connect to a server of `PostgreSQL`.
pub(super) fn is_connection(name: &str) -> bool {
    name.starts_with("dblink") || name.ends_with("conninfo") || name == "connection"
}

/// Words and signs of statements whose secrets need no such name: those about accounts, connections, programs, and
/// literals that may hide how they are written.
const STATEMENT_MARKS: [&[u8]; 14] = [
    b"\\",
    b"0x",
    b"alter",
    b"challenge",
    b"clone",
    b"conn",
    b"create",
    b"dblink",
    b"execute",
    b"grant",
    b"prepare",
    b"program",
    b"u&",
    b"x'",
];

/// Tells whether nothing in `content` can be a secret by what stands around it.
pub(super) fn is_free(content: &[u8]) -> bool {
    !content.iter().enumerate().any(|(at, byte)| match byte.to_ascii_lowercase() {
        first @ (b':' | b'a' | b'c' | b'h' | b'i' | b'k' | b'p' | b's' | b't') => {
            is_marked(content, at, first, &SECRET_MARKS)
        }
        _ => false,
    })
}

/// Tells whether nothing in `statement` can be a secret: most statements need no further look.
pub(super) fn is_free_statement(statement: &[u8]) -> bool {
    let marked = statement.iter().enumerate().any(|(at, byte)| match byte.to_ascii_lowercase() {
        first @ (b'\\' | b'0' | b'a' | b'c' | b'd' | b'e' | b'g' | b'p' | b'u' | b'x') => {
            // `x` within a literal introduces none.
            let before = at.checked_sub(1).and_then(|at| statement.get(at));
            let within = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"'\"".contains(byte));
            is_marked(statement, at, first, &STATEMENT_MARKS) && !(first == b'x' && within)
        }
        _ => false,
    });
    !marked && is_free(statement)
}

/// Tells whether one of `marks` stands at `at`, where the letter is `first`.
fn is_marked(content: &[u8], at: usize, first: u8, marks: &[&[u8]]) -> bool {
    marks.iter().any(|mark| {
        mark.first() == Some(&first)
            && content
                .get(at..at.saturating_add(mark.len()))
                .is_some_and(|here| here.eq_ignore_ascii_case(mark))
    })
}

/// Tells whether `text` begins as statements do that may hold a secret.
pub(super) fn begins_statement(text: &[u8]) -> bool {
    const WORDS: [&str; 18] = [
        "alter", "begin", "call", "change", "copy", "create", "declare", "do", "execute", "grant", "insert",
        "prepare", "select", "set", "start", "update", "with", "backup",
    ];
    let text = text.trim_ascii_start();
    let word = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let spaced = text.get(word).is_some_and(u8::is_ascii_whitespace);
    spaced && text.get(..word).is_some_and(|word| WORDS.contains(&lower(word).as_str()))
}

/// Returns a name as the functions above take it: in lower case; of one that is too long, nothing.
pub(super) fn lower(name: &[u8]) -> String {
    let name = if name.len() <= MAX_NAME { name } else { b"" };
    String::from_utf8_lossy(name).to_ascii_lowercase()
}
