//! Where exchanges are kept, and files of stores: choosing, reading and saving them.

mod mysql_url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hub::store::sqlite::{Reader, Saver};
use hub::store::{QUERY_TIME, StoreError};
use proto::causes::with_causes;
use proto::launch::StoreChoice;
use proto::v1;

use self::mysql_url::MysqlUrl;
use crate::failure::Failure;

/// Where the password of a store may be given instead of in its URL.
pub(crate) const PASSWORD_VARIABLE: &str = "KYANOS_STORE_PASSWORD";

const SQLITE: &str = "sqlite:";

/// Where a new session stores.
#[derive(Clone, Debug)]
pub(crate) enum SessionStore {
    /// In a store of its own, which goes with it.
    Own,
    /// Where the command line says, if anywhere.
    Given(StoreChoice),
}

/// Reads `--store` and `--store-reader`. URLs are never repeated in errors: they hold passwords.
pub(crate) fn choice(
    url: &str,
    reader: Option<&str>,
    password: Option<&str>,
) -> Result<StoreChoice, Failure> {
    if let Some(path) = url.strip_prefix(SQLITE) {
        if reader.is_some() {
            return Err(Failure::usage("`--store-reader` is for mysql:// stores"));
        }
        return Ok(StoreChoice::Sqlite { path: file(path)? });
    }
    if url.starts_with(mysql_url::SCHEME) {
        let reader = reader.map(|reader| login(reader, "--store-reader", None)).transpose()?;
        return Ok(StoreChoice::Mysql { url: login(url, "--store", password)?, reader });
    }
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| scheme.len() < 12);
    let what = match scheme {
        Some(scheme) => format!("a store cannot be `{scheme}:…`"),
        None => "the value of `--store` is no URL".to_owned(),
    };
    Err(Failure::usage(what).hint("use mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT]/DATABASE or sqlite:FILE"))
}

/// Reads the FILE of `sqlite:FILE`, which `query --store` takes.
pub(crate) fn readable(url: &str) -> Result<PathBuf, Failure> {
    match url.strip_prefix(SQLITE) {
        Some(path) => file(path),
        None => Err(Failure::usage("`query --store` reads sqlite:FILE")
            .hint("ask the session that stores there, or the database with its own client")),
    }
}

/// Runs one statement on a store's file; `take` ends it by `false`.
pub(crate) fn query(
    path: &Path,
    sql: &str,
    take: &mut dyn FnMut(v1::QueryResponse) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    read(path, sql, QUERY_TIME, take)
}

/// Runs one statement on a store's file for at most `longest`; `take` ends it by `false`.
pub(crate) fn read(
    path: &Path,
    sql: &str,
    longest: Duration,
    take: &mut dyn FnMut(v1::QueryResponse) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut reader = Reader::open(path).map_err(|error| failure(&error))?;
    let mut failed = None;
    let mut each = |part| match take(part) {
        Ok(more) => more,
        Err(error) => {
            failed = Some(error);
            false
        }
    };
    reader.query(sql, longest, &mut each).map_err(|error| failure(&error))?;
    failed.map_or(Ok(()), Err)
}

/// Writes what a session's store holds into a new SQLite file.
#[derive(Debug)]
pub(crate) struct File {
    saver: Saver,
}

// === impl File ===

impl File {
    /// Makes the file.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Ok(Self { saver: Saver::create(path).map_err(|error| failure(&error))? })
    }

    /// Adds rows.
    pub(crate) fn insert(&mut self, part: &v1::PullResponse) -> Result<(), Failure> {
        self.saver.insert(part).map_err(|error| failure(&error)).map(|_new| ())
    }

    /// Leaves the file alone, whole.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.saver.finish().map_err(|error| failure(&error))
    }
}

fn failure(error: &StoreError) -> Failure {
    let what = with_causes(error);
    match error.hint() {
        Some(hint) => Failure::new(what).hint(hint),
        None => Failure::new(what),
    }
}

fn file(path: &str) -> Result<PathBuf, Failure> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(Failure::usage("sqlite: names no file").hint("use sqlite:FILE"));
    }
    std::path::absolute(path).map_err(|error| Failure::io("finding", path, &error))
}

/// Checks a mysql:// URL and puts the password from the environment in where it has none.
fn login(url: &str, flag: &str, password: Option<&str>) -> Result<String, Failure> {
    let read = MysqlUrl::read(url).map_err(|why| {
        Failure::usage(format!("the URL of `{flag}` {why}"))
            .hint("use mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT]/DATABASE")
    })?;
    Ok(match password {
        Some(password) if read.password.is_none() => read.with_password(&encoded(password)),
        Some(_) | None => url.to_owned(),
    })
}

/// Returns the hosts of a mysql:// URL with their ports, as [`choice`] took it.
pub(crate) fn places(url: &str) -> Vec<(String, u16)> {
    let hosts = MysqlUrl::read(url).map(|url| url.hosts).unwrap_or_default();
    hosts.into_iter().map(|(host, port)| (host.to_owned(), port)).collect()
}

/// Returns the URL of a store with `instead` in place of its password.
pub(crate) fn without_password(url: &str, instead: &str) -> String {
    match MysqlUrl::read(url) {
        Ok(read) if read.password.is_some() => read.with_password(instead),
        Ok(_) => url.to_owned(),
        // Where a password would be nobody knows.
        Err(_) => format!("{}{instead}", mysql_url::SCHEME),
    }
}

/// Writes a password so that it can stand in a URL.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

#[cfg(test)]
mod tests;
