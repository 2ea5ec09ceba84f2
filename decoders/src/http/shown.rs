//! A head as it is shown, and what filters test of it: secrets hidden.

use std::borrow::Cow;

use super::head::{Head, HeaderField};
use super::line;
use crate::decoder::Redaction;
use crate::redact::{self, REDACTED};

/// Returns a request's target as shown.
pub(super) fn target(method: &[u8], target: &[u8], redaction: &Redaction) -> String {
    let text = String::from_utf8_lossy(target);
    if !redaction.enabled {
        text.into_owned()
    } else if method == b"CONNECT" {
        redact::authority(&text)
    } else {
        redact::address(&text)
    }
}

/// Returns the path of a target: without query, and without scheme and authority where it is in absolute form.
pub(super) fn path(target: &str) -> &str {
    let place = target.split(['?', '#']).next().unwrap_or_default();
    let Some(authority) = line::scheme(place.as_bytes()).and_then(|start| place.get(start..)) else {
        return place;
    };
    authority.find('/').and_then(|slash| authority.get(slash..)).unwrap_or("/")
}

/// Returns the host that a request is for, where a header does not say: from its target.
pub(super) fn host(method: &[u8], target: &str) -> String {
    let rest = match line::scheme(target.as_bytes()) {
        Some(start) => target.get(start..).unwrap_or_default(),
        None if method == b"CONNECT" => target,
        None => return String::new(),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

/// Returns a head as shown, with `first` for its first line.
pub(super) fn head(head: &Head<'_>, first: &str, redaction: &Redaction) -> Vec<u8> {
    let mut text = first.as_bytes().to_vec();
    for field in &head.fields {
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&shown(field, redaction));
    }
    text.extend_from_slice(b"\r\n\r\n");
    text
}

fn shown<'a>(field: &HeaderField<'a>, redaction: &Redaction) -> Cow<'a, [u8]> {
    if !redaction.enabled {
        return Cow::Borrowed(field.raw);
    }
    let name = String::from_utf8_lossy(field.name);
    if redact::is_secret_header(&name, &redaction.headers) {
        return Cow::Owned(format!("{name}: {REDACTED}").into_bytes());
    }
    let value = String::from_utf8_lossy(&field.value);
    let hidden = redact::addresses(&value);
    match hidden == value {
        true => Cow::Borrowed(field.raw),
        false if field.name.is_empty() => Cow::Owned(hidden.into_bytes()),
        false => Cow::Owned(format!("{name}: {hidden}").into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_its_first_slash() {
        for (target, expected) in [
            ("/resize/100x50/http://pictures.test/a.png", "/resize/100x50/http://pictures.test/a.png"),
            ("/resize/http://p.test/b.png?size=2", "/resize/http://p.test/b.png"),
            ("/go?to=http://elsewhere.test/x", "/go"),
            ("/archive/https://site.test", "/archive/https://site.test"),
            ("http://shop.test/absolute/form?x=http://y/z", "/absolute/form"),
            ("HTTP://shop.test", "/"),
            ("http://shop.test?x=/y", "/"),
            ("ws://h/http://x/y", "/http://x/y"),
            ("*", "*"),
            ("db:5432", "db:5432"),
            ("//double/x", "//double/x"),
            ("://x/y", "://x/y"),
        ] {
            assert_eq!(path(target), expected, "{target}");
        }
    }

    #[test]
    fn a_host_is_in_the_target_too() {
        assert_eq!(host(b"GET", "http://u:p@shop.test:80/x@y"), "shop.test:80");
        assert_eq!(host(b"CONNECT", "db:5432"), "db:5432");
        assert_eq!(host(b"GET", "/http://x/y"), "");
    }

    #[test]
    fn secrets_are_hidden_however_a_header_is_written() {
        let redaction = Redaction { enabled: true, headers: vec!["x-mine".to_owned()] };
        let text = b"GET / HTTP/1.1\r\nAuthorization : Basic c2VjcmV0\r\nCookie:\r\n s=secret;\r\n\tt=secret\r\n\
            Referer:\r\n http://u:secret@h/?token=secret\r\nLink: <https://h/a?sig=secret>; rel=\"next\", </b>\r\n\
            Origin: http://u:secret@h\r\nX-Forwarded-Uri: go?password=secret\r\nLocation: //u:secret@h/x\r\n\
            X-Mine: secret\r\nRefresh: 5; url=http://h/#access_token=secret\r\nno colon ?key=secret\r\nA:\r\n b\r\n\r\n";
        let shown = head(&Head::parse(text), "GET / HTTP/1.1", &redaction);
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("Link: <https://h/a?sig=[redacted]>; rel=\"next\", </b>\r\n"), "{shown}");
        assert!(
            shown.contains("Location: //[redacted]@h/x\r\n") && shown.ends_with("A:\r\n b\r\n\r\n"),
            "{shown}"
        );
        let redaction = Redaction { enabled: false, headers: Vec::new() };
        assert_eq!(head(&Head::parse(text), "GET / HTTP/1.1", &redaction), text);
    }
}
