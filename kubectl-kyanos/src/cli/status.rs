//! Which statuses a protocol can have: `--status` with any other would wait for what never comes.

use proto::v1;

use super::values::nearest;
use crate::failure::Failure;

/// What statuses of a protocol look like.
struct Statuses {
    /// Registry name.
    protocol: &'static str,
    /// Says whether a status can be one of this protocol.
    fits: fn(&str) -> bool,
    /// What is allowed, in words that follow the protocol's name.
    allowed: &'static str,
    /// Words to which a misspelt one may be near.
    words: &'static [&'static str],
}

/// Protocols that are not listed have any status.
const STATUSES: [Statuses; 5] = [
    Statuses {
        protocol: "http",
        fits: is_http,
        allowed: "has numbers from 100 to 599 and the classes 1xx to 5xx",
        words: &[],
    },
    Statuses {
        protocol: "redis",
        fits: is_redis,
        allowed: "has OK and the first words of errors, such as ERR, WRONGTYPE or MOVED",
        words: &["OK", "ERR", "WRONGTYPE", "NOAUTH", "NOPERM", "MOVED", "NOSCRIPT", "READONLY"],
    },
    Statuses {
        protocol: "mysql",
        fits: |status| is_sql(status, is_mysql_code),
        allowed: "has OK, ERR for every error, and `ERR NUMBER` for one, such as `ERR 1062`",
        words: &["OK", "ERR", "TLS", "COMPRESSED"],
    },
    Statuses {
        protocol: "postgres",
        fits: |status| is_sql(status, is_sqlstate),
        allowed: "has OK, ERR for every error, and `ERR SQLSTATE` for one, such as `ERR 23505`",
        words: &["OK", "ERR", "SKIPPED", "TLS", "GSS"],
    },
    Statuses {
        protocol: "dns",
        fits: is_dns,
        allowed: "has response codes by name, such as NOERROR, NXDOMAIN, SERVFAIL or RCODE24",
        words: &RCODES,
    },
];

/// Response codes by name (IANA, "Domain Name System (DNS) Parameters", DNS RCODEs).
const RCODES: [&str; 21] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "BADVERS",
    "BADSIG",
    "BADKEY",
    "BADTIME",
    "BADMODE",
    "BADNAME",
    "BADALG",
    "BADTRUNC",
    "BADCOOKIE",
];

/// Refuses statuses that no protocol which passes the filter can have.
pub(super) fn check(filter: &v1::Filter) -> Result<(), Failure> {
    let known = protocols(filter);
    if known.is_empty() {
        return Ok(());
    }
    for status in &filter.statuses {
        let own: Vec<&Statuses> = known.iter().filter_map(|name| listed(name)).collect();
        if own.len() < known.len() || own.iter().any(|statuses| (statuses.fits)(status)) {
            continue;
        }
        return Err(refused(status, &own));
    }
    Ok(())
}

/// The protocols that pass; none where that can be any.
fn protocols(filter: &v1::Filter) -> Vec<String> {
    let mut known = filter.protocols.clone();
    for test in &filter.fields {
        if known.is_empty() {
            known.clone_from(&test.protocols);
        } else {
            known.retain(|name| test.protocols.contains(name));
        }
    }
    known
}

fn listed(protocol: &str) -> Option<&'static Statuses> {
    const ALL: &[Statuses] = &STATUSES;
    ALL.iter().find(|statuses| statuses.protocol == protocol)
}

fn refused(status: &str, own: &[&Statuses]) -> Failure {
    let names: Vec<&str> = own.iter().map(|statuses| statuses.protocol).collect();
    let what = format!("`--status {status}` never matches {}", names.join(" or "));
    let capitals = status.to_ascii_uppercase();
    let fitting = [capitals.clone(), format!("ERR {capitals}")]
        .into_iter()
        .find(|other| other != status && own.iter().any(|statuses| (statuses.fits)(other)));
    let near = fitting.or_else(|| {
        let words: Vec<&str> = own.iter().flat_map(|statuses| statuses.words.iter().copied()).collect();
        nearest(&capitals, &words).map(str::to_owned)
    });
    let allowed: Vec<String> =
        own.iter().map(|statuses| format!("{} {}", statuses.protocol, statuses.allowed)).collect();
    let allowed = allowed.join("; ");
    Failure::usage(what).hint(match near {
        Some(near) => format!("did you mean `{near}`? {allowed}"),
        None => allowed,
    })
}

/// RFC 9110, section 15: three digits, of which the first is 1 to 5.
fn is_http(status: &str) -> bool {
    match status.as_bytes() {
        [b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => true,
        [b'1'..=b'5', rest @ ..] => rest.len() == 2 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Errors of scripts and modules begin with any word of theirs.
fn is_redis(status: &str) -> bool {
    status.starts_with(|letter: char| letter.is_alphabetic()) && !status.contains(' ')
}

/// One word in capitals, or `ERR` with a code.
fn is_sql(status: &str, is_code: fn(&str) -> bool) -> bool {
    match status.split_once(' ') {
        Some((word, code)) => word == "ERR" && is_code(code),
        None => status.starts_with(|letter: char| letter.is_ascii_uppercase()) && is_capitals(status),
    }
}

fn is_mysql_code(code: &str) -> bool {
    code.parse::<u16>().is_ok_and(|number| number.to_string() == code)
}

/// Five digits and capitals (ISO 9075, SQLSTATE).
fn is_sqlstate(code: &str) -> bool {
    code.len() == 5 && is_capitals(code)
}

fn is_dns(status: &str) -> bool {
    let number = status.strip_prefix("RCODE").is_some_and(is_mysql_code);
    number || RCODES.contains(&status)
}

fn is_capitals(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::USAGE;

    fn checked(protocol: &str, status: &str) -> Result<(), Failure> {
        let filter = v1::Filter {
            protocols: vec![protocol.to_owned()],
            statuses: vec![status.to_owned()],
            ..v1::Filter::default()
        };
        check(&filter)
    }

    #[test]
    fn what_can_be_is_accepted() {
        for (protocol, status) in [
            ("http", "200"),
            ("http", "599"),
            ("http", "100"),
            ("http", "5xx"),
            ("http", "4XX"),
            ("redis", "OK"),
            ("redis", "ERR"),
            ("redis", "WRONGTYPE"),
            ("redis", "my-script"),
            ("mysql", "OK"),
            ("mysql", "ERR"),
            ("mysql", "ERR 1062"),
            ("mysql", "COMPRESSED"),
            ("postgres", "ERR 23505"),
            ("postgres", "ERR 42P01"),
            ("postgres", "SKIPPED"),
            ("postgres", "N"),
            ("dns", "NXDOMAIN"),
            ("dns", "NOERROR"),
            ("dns", "BADCOOKIE"),
            ("dns", "RCODE24"),
            ("kafka", "700"),
        ] {
            assert_eq!(checked(protocol, status), Ok(()), "{protocol} {status}");
        }
    }

    #[test]
    fn what_never_comes_is_refused_with_what_may() {
        for (protocol, status, hint) in [
            ("http", "700", "100 to 599"),
            ("http", "5xy", "5xx"),
            ("http", "6xx", "1xx to 5xx"),
            ("http", "99", "100 to 599"),
            ("http", "0200", "100 to 599"),
            ("http", "OK", "100 to 599"),
            ("http", "-1", "100 to 599"),
            ("http", "2 00", "100 to 599"),
            ("redis", "200", "WRONGTYPE"),
            ("redis", "5xx", "WRONGTYPE"),
            ("redis", "ERR unknown", "WRONGTYPE"),
            ("mysql", "200", "did you mean `ERR 200`"),
            ("mysql", "5xx", "ERR NUMBER"),
            ("mysql", "1062", "did you mean `ERR 1062`"),
            ("mysql", "err", "did you mean `ERR`"),
            ("mysql", "ERR 23505x", "ERR NUMBER"),
            ("mysql", "ERR  1062", "ERR NUMBER"),
            ("postgres", "42p01", "did you mean `ERR 42P01`"),
            ("postgres", "ERR 1062", "ERR SQLSTATE"),
            ("postgres", "ok", "did you mean `OK`"),
            ("dns", "nxdomain", "did you mean `NXDOMAIN`"),
            ("dns", "NXDOMIAN", "did you mean `NXDOMAIN`"),
            ("dns", "RCODE", "RCODE24"),
            ("dns", "3", "NXDOMAIN"),
        ] {
            let failure = checked(protocol, status).expect_err(status);
            assert_eq!(failure.exit, USAGE);
            assert!(failure.what.contains(protocol) && failure.what.contains(status), "{}", failure.what);
            assert!(
                failure.hint.as_deref().is_some_and(|said| said.contains(hint)),
                "{protocol} {status}: {:?}",
                failure.hint
            );
        }
    }

    #[test]
    fn every_status_must_be_possible_for_some_protocol_that_passes() {
        let test = |protocols: &[&str]| v1::FieldTest {
            protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            ..v1::FieldTest::default()
        };
        let filter = |fields: Vec<v1::FieldTest>, statuses: &[&str]| v1::Filter {
            fields,
            statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
            ..v1::Filter::default()
        };
        assert!(check(&filter(Vec::new(), &["700", "5xy"])).is_ok(), "any protocol may come");
        assert!(check(&filter(vec![test(&["http"])], &["200"])).is_ok());
        assert!(check(&filter(vec![test(&["http"])], &["200", "700"])).is_err(), "a flag of one protocol");
        let both = || vec![test(&["http", "dns"])];
        assert!(check(&filter(both(), &["200", "NXDOMAIN"])).is_ok());
        let failure = check(&filter(both(), &["ERR 1"])).expect_err("neither");
        assert!(failure.what.ends_with("http or dns"), "{}", failure.what);
    }

    #[test]
    fn every_protocol_is_listed() {
        for protocol in decoders::registry() {
            assert!(listed(protocol.name).is_some(), "{}", protocol.name);
        }
    }
}
