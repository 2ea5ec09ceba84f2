//! Which parts of HTTP messages and addresses are secrets.

/// What stands in a secret's place.
pub(crate) const REDACTED: &str = "[redacted]";

/// Headers whose values are secrets, lower case.
const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Last words of the names of query values that are secrets.
const QUERY_WORDS: [&str; 10] =
    ["token", "key", "password", "passwd", "pwd", "secret", "signature", "sig", "credential", "apikey"];

/// Ends of such names that are written as one word, as in `accessToken`.
const QUERY_ENDS: [&str; 5] = ["token", "password", "secret", "signature", "apikey"];

/// Says whether a header's value is a secret; `more` are further names, lower case.
pub(crate) fn is_secret_header(name: &str, more: &[String]) -> bool {
    HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known))
        || more.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns an address, or a request's target, without user information and without the secrets of its query.
pub(crate) fn address(address: &str) -> String {
    let (place, query) = match address.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (address, None),
    };
    let mut shown = without_user(place);
    if let Some(query) = query {
        shown.push('?');
        let (query, fragment) =
            query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
        let pairs: Vec<String> = query.split('&').map(pair).collect();
        shown.push_str(&pairs.join("&"));
        if let Some(fragment) = fragment {
            shown.push('#');
            shown.push_str(fragment);
        }
    }
    shown
}

fn without_user(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{path}"),
        None => place.to_owned(),
    }
}

fn pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_name(name) => format!("{name}={REDACTED}"),
        Some(_) | None => pair.to_owned(),
    }
}

/// Says whether the value of a name in an address's query is a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit(['-', '_', '.', '[']).next().unwrap_or_default();
    QUERY_WORDS.contains(&last) || QUERY_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_hidden() {
        assert_eq!(address("http://u:p@h:80/x?y=1"), "http://[redacted]@h:80/x?y=1");
        assert_eq!(address("/x@y"), "/x@y");
    }

    #[test]
    fn secret_query_values_are_hidden_and_others_are_not() {
        assert_eq!(address("/a?token=1&b=2"), "/a?token=[redacted]&b=2");
        assert_eq!(address("/a?X-Amz-Signature=1#f"), "/a?X-Amz-Signature=[redacted]#f");
        assert_eq!(
            address("/a?accessToken=1&api_key=2&pass_key="),
            "/a?accessToken=[redacted]&api_key=[redacted]&pass_key="
        );
        assert_eq!(address("/a?monkey=1&turnkeys=2"), "/a?monkey=1&turnkeys=2");
    }

    #[test]
    fn headers_compare_without_case() {
        assert!(is_secret_header("AUTHORIZATION", &[]));
        assert!(!is_secret_header("X-Trace", &[]));
        assert!(is_secret_header("X-Trace", &["x-trace".to_owned()]));
    }
}
