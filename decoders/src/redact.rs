//! Which parts of HTTP messages and addresses are secrets.

mod address;

pub(crate) use address::{address, addresses, authority, is_secret_name};

/// What stands in a secret's place.
pub(crate) const REDACTED: &str = "[redacted]";

/// Headers whose values are secrets, lower case.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Says whether a header's value is a secret; `more` are further names, lower case.
pub(crate) fn is_secret_header(name: &str, more: &[String]) -> bool {
    SECRET_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known))
        || more.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_compare_without_case() {
        assert!(is_secret_header("AUTHORIZATION", &[]));
        assert!(!is_secret_header("X-Trace", &[]));
        assert!(is_secret_header("X-Trace", &["x-trace".to_owned()]));
    }
}
