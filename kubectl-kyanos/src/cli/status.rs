//! Which statuses a protocol can have: `--status` with any other would wait for what never comes.

use decoders::Protocol;
use proto::v1;

use crate::failure::Failure;
use crate::suggestion::nearest;

/// Refuses statuses that no protocol which passes the filter can have.
pub(super) fn check(filter: &v1::Filter) -> Result<(), Failure> {
    let known = protocols(filter);
    let own: Vec<&Protocol> = decoders::registry()
        .iter()
        .filter(|protocol| known.iter().any(|name| name == protocol.name))
        .collect();
    // Where any protocol may come, so may any status.
    if own.is_empty() || own.len() < known.len() {
        return Ok(());
    }
    match filter.statuses.iter().find(|status| own.iter().all(|one| !(one.statuses.fits)(status))) {
        Some(status) => Err(refused(status, &own)),
        None => Ok(()),
    }
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

fn refused(status: &str, own: &[&Protocol]) -> Failure {
    let names: Vec<&str> = own.iter().map(|protocol| protocol.name).collect();
    let what = format!("`--status {status}` never matches {}", names.join(" or "));
    let capitals = status.to_ascii_uppercase();
    let fitting = [capitals.clone(), format!("ERR {capitals}")]
        .into_iter()
        .find(|other| other != status && own.iter().any(|protocol| (protocol.statuses.fits)(other)));
    let near = fitting.or_else(|| {
        let words: Vec<&str> =
            own.iter().flat_map(|protocol| protocol.statuses.words.iter().copied()).collect();
        nearest(&capitals, &words).map(str::to_owned)
    });
    let allowed: Vec<String> =
        own.iter().map(|protocol| format!("{} {}", protocol.name, protocol.statuses.allowed)).collect();
    let allowed = allowed.join("; ");
    Failure::usage(what).hint(match near {
        Some(near) => format!("did you mean `{near}`? {allowed}"),
        None => allowed,
    })
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
            ("http", "600"),
            ("http", "700"),
            ("http", "999"),
            ("http", "9xx"),
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
            ("dns", "RCODE12"),
            ("dns", "RCODE4095"),
            ("tcp", "REFUSED"),
            ("tcp", "TIMEOUT"),
            ("tcp", "RESET"),
            ("tcp", "UNREACHABLE"),
            ("tcp", "ERR 92"),
            ("kafka", "700"),
        ] {
            assert_eq!(checked(protocol, status), Ok(()), "{protocol} {status}");
        }
    }

    #[test]
    fn what_never_comes_is_refused_with_what_may() {
        for (protocol, status, hint) in [
            ("http", "1000", "100 to 999"),
            ("http", "5xy", "1xx to 9xx"),
            ("http", "0xx", "1xx to 9xx"),
            ("http", "xxx", "1xx to 9xx"),
            ("http", "99", "100 to 999"),
            ("http", "099", "100 to 999"),
            ("http", "000", "100 to 999"),
            ("http", "0200", "100 to 999"),
            ("http", "OK", "100 to 999"),
            ("http", "-1", "100 to 999"),
            ("http", "2 00", "100 to 999"),
            ("redis", "200", "WRONGTYPE"),
            ("redis", "5xx", "WRONGTYPE"),
            ("redis", "ERR unknown", "WRONGTYPE"),
            ("mysql", "200", "did you mean `ERR 200`"),
            ("mysql", "5xx", "ERR NUMBER"),
            ("mysql", "1062", "did you mean `ERR 1062`"),
            ("mysql", "err", "did you mean `ERR`"),
            ("mysql", "ERR 23505x", "ERR NUMBER"),
            ("mysql", "ERR  1062", "ERR NUMBER"),
            ("mysql", "ERR 65536", "ERR NUMBER"),
            ("mysql", "ERR 01062", "ERR NUMBER"),
            ("mysql", "SKIPPED", "ERR NUMBER"),
            ("postgres", "42p01", "did you mean `ERR 42P01`"),
            ("postgres", "ERR 1062", "ERR SQLSTATE"),
            ("postgres", "ok", "did you mean `OK`"),
            ("postgres", "COMPRESSED", "ERR SQLSTATE"),
            ("dns", "nxdomain", "did you mean `NXDOMAIN`"),
            ("dns", "NXDOMIAN", "did you mean `NXDOMAIN`"),
            ("dns", "RCODE", "RCODE24"),
            ("dns", "3", "NXDOMAIN"),
            ("dns", "RCODE3", "NXDOMAIN"),
            ("dns", "RCODE4096", "NXDOMAIN"),
            ("dns", "BADSIG", "NXDOMAIN"),
            ("tcp", "refused", "did you mean `REFUSED`"),
            ("tcp", "TIMEOUTS", "did you mean `TIMEOUT`"),
            ("tcp", "200", "did you mean `ERR 200`"),
            ("tcp", "OK", "REFUSED, TIMEOUT"),
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
        assert!(check(&filter(Vec::new(), &["070", "5xy"])).is_ok(), "any protocol may come");
        assert!(check(&filter(vec![test(&["http"])], &["200"])).is_ok());
        assert!(check(&filter(vec![test(&["http"])], &["200", "070"])).is_err(), "a flag of one protocol");
        let both = || vec![test(&["http", "dns"])];
        assert!(check(&filter(both(), &["200", "NXDOMAIN"])).is_ok());
        let failure = check(&filter(both(), &["ERR 1"])).expect_err("neither");
        assert!(failure.what.ends_with("http or dns"), "{}", failure.what);
    }
}
