//! The URL of a MySQL store, read once: who logs in, and where.

/// What such a URL begins with.
pub(super) const SCHEME: &str = "mysql://";

/// Port of a host that names none.
const DEFAULT_PORT: u16 = 3306;

/// `mysql://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]…]/DATABASE` in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MysqlUrl<'a> {
    /// As it is written, percent signs and all.
    pub(super) user: &'a str,
    /// The same.
    pub(super) password: Option<&'a str>,
    /// Hosts without brackets, and their ports, in the order in which they are tried.
    pub(super) hosts: Vec<(&'a str, u16)>,
    /// All behind the login.
    pub(super) place: &'a str,
}

// === impl MysqlUrl ===

impl<'a> MysqlUrl<'a> {
    /// Reads a URL; else says what is wrong with it, without a word of it: it may hold a password.
    pub(super) fn read(url: &'a str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix(SCHEME).ok_or("does not begin with mysql://")?;
        let (login, place) = rest.rsplit_once('@').ok_or("names no user")?;
        let (hosts, database) = place.split_once('/').ok_or("names no database")?;
        if database.is_empty() || database.starts_with('?') {
            return Err("names no database");
        }
        let hosts = hosts.split(',').map(host).collect::<Option<Vec<_>>>();
        let hosts = hosts.ok_or("has a host or port that cannot be")?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if user.is_empty() {
            return Err("names no user");
        }
        Ok(Self { user, password, hosts, place })
    }

    /// The same URL with another password.
    pub(super) fn with_password(&self, password: &str) -> String {
        format!("{SCHEME}{}:{password}@{}", self.user, self.place)
    }
}

/// Reads a host and its port: `db`, `db:3307`, `[fd00::1]:3307`.
fn host(text: &str) -> Option<(&str, u16)> {
    let given = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = match given {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, DEFAULT_PORT),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without brackets nobody knows where an IPv6 address ends and its port begins.
    let bare = || (!host.contains([':', '[', ']'])).then_some(host);
    address.or_else(bare).filter(|host| !host.is_empty()).map(|host| (host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_who_logs_in_and_where() {
        let url =
            MysqlUrl::read("mysql://u:p%40@db,10.0.0.1:3307,[fd00::1]:4000,[fd00::2]/d?x=1").expect("a URL");
        assert_eq!((url.user, url.password), ("u", Some("p%40")));
        let hosts = [("db", 3306), ("10.0.0.1", 3307), ("fd00::1", 4000), ("fd00::2", 3306)];
        assert_eq!(url.hosts, hosts);
        assert_eq!(url.with_password("x"), "mysql://u:x@db,10.0.0.1:3307,[fd00::1]:4000,[fd00::2]/d?x=1");
        let odd = MysqlUrl::read("mysql://u:a@b:c/d@h/e").expect("the last @ counts");
        assert_eq!((odd.password, odd.hosts), (Some("a@b:c/d"), vec![("h", 3306)]));
        assert_eq!(MysqlUrl::read("mysql://u@h/d").map(|url| url.password), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_in_words_of_ours() {
        for (url, why) in [
            ("postgres://u@h/d", "does not begin with mysql://"),
            ("mysql://h/d", "names no user"),
            ("mysql://:p@h/d", "names no user"),
            ("mysql://u@h", "names no database"),
            ("mysql://u@h/", "names no database"),
            ("mysql://u@h/?x=1", "names no database"),
            ("mysql://u@/d", "has a host or port that cannot be"),
            ("mysql://u@h,,i/d", "has a host or port that cannot be"),
            ("mysql://u@h:0/d", "has a host or port that cannot be"),
            ("mysql://u@h:70000/d", "has a host or port that cannot be"),
            ("mysql://u@h:x/d", "has a host or port that cannot be"),
            ("mysql://u@[]:1/d", "has a host or port that cannot be"),
            ("mysql://u@fd00::1/d", "has a host or port that cannot be"),
        ] {
            assert_eq!(MysqlUrl::read(url), Err(why), "{url}");
        }
    }
}
