//! Which server answers, by the version in its greeting: some comments are statements to one and not to another.

/// The lowest and the highest version of executable comments that `MariaDB` passes over: they are for `MySQL` alone.
const MYSQL_ONLY_VERSIONS: std::ops::RangeInclusive<u32> = 50_700..=99_999;

/// What `MariaDB` puts before its version, for replicas that know no version of two digits.
const REPLICATION_PREFIX: &[u8] = b"5.5.5-";

/// A server's kind and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    mariadb: bool,
    /// `8.4.0` is 80400.
    version: u32,
}

/// For whom the text of an executable comment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Audience {
    /// `/*M! … */`
    pub(super) mariadb_only: bool,
    /// The least version, where one is named.
    pub(super) version: Option<u32>,
}

// === impl Server ===

impl Server {
    /// Reads the version of a greeting.
    pub(super) fn read(version: &[u8]) -> Self {
        let mariadb = memchr::memmem::find(version, b"MariaDB").is_some();
        let number = version.strip_prefix(REPLICATION_PREFIX).filter(|_| mariadb).unwrap_or(version);
        let mut parts = number.split(|byte| !byte.is_ascii_digit()).map(decimal);
        let mut part = || parts.next().unwrap_or(0).min(99);
        let (major, minor, patch) = (part(), part(), part());
        let version =
            major.saturating_mul(10_000).saturating_add(minor.saturating_mul(100)).saturating_add(patch);
        Self { mariadb, version }
    }

    fn is_addressed(self, audience: Audience) -> bool {
        let Audience { mariadb_only, version } = audience;
        let version_fits = version.is_none_or(|version| {
            version <= self.version
                && !(self.mariadb && !mariadb_only && MYSQL_ONLY_VERSIONS.contains(&version))
        });
        version_fits && (self.mariadb || !mariadb_only)
    }
}

/// Tells whether `server` takes the text of a comment for `audience` as part of the statement. Of a server whose greeting
/// was not seen that is assumed: such comments are written for the servers that are in use.
pub(super) fn takes(server: Option<Server>, audience: Audience) -> bool {
    server.is_none_or(|server| server.is_addressed(audience))
}

/// Reads decimal digits; what does not fit is the greatest number.
pub(super) fn decimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number: u32, digit| {
        number.saturating_mul(10).saturating_add(u32::from(digit.saturating_sub(b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, mariadb, version) in [
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", true, 101_119),
            ("11.8.9-MariaDB-4 from Debian-log", true, 110_809),
            ("8.4.0", false, 80_400),
            ("8.0.36-0ubuntu0.22.04.1", false, 80_036),
            ("5.5.5", false, 50_505),
            ("x", false, 0),
            ("99999999999.1.2", false, 990_102),
        ] {
            assert_eq!(Server::read(text.as_bytes()), Server { mariadb, version }, "{text}");
        }
    }

    #[test]
    fn comments_are_for_some_servers() {
        let mariadb = Server::read(b"5.5.5-10.11.19-MariaDB");
        let mysql = Server::read(b"8.4.0");
        for (mariadb_only, version, of_mariadb, of_mysql) in [
            (false, None, true, true),
            (false, Some(50_000), true, true),
            (false, Some(50_701), false, true),
            (false, Some(100_100), true, false),
            (false, Some(101_120), false, false),
            (true, None, true, false),
            (true, Some(50_701), true, false),
            (true, Some(101_119), true, false),
        ] {
            let audience = Audience { mariadb_only, version };
            assert_eq!(takes(Some(mariadb), audience), of_mariadb, "{audience:?}");
            assert_eq!(takes(Some(mysql), audience), of_mysql, "{audience:?}");
            assert!(takes(None, audience));
        }
    }
}
