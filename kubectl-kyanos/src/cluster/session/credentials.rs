//! Logins of a session's own store.

use proto::launch::StoreChoice;

use crate::cluster::manifests::GENERATED;
use crate::failure::Failure;

/// Letters and digits of a password: 190 bits, and nothing that URL, SQL or shell would read otherwise.
const PASSWORD_LENGTH: usize = 32;

/// What passwords consist of.
const PASSWORD_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Random bytes at or above this are drawn again, so that each letter is equally likely.
const FAIR_BELOW: u8 = 248;

/// Database of the store.
const STORE_DATABASE: &str = "kyanos";

/// Login of the hub.
const WRITER_LOGIN: &str = "kyanos";

/// Login of `query`, which can only SELECT.
const READER_LOGIN: &str = "reader";

/// Where the store listens, in the volume that it shares with the hub.
const STORE_SOCKET: &str = "/run/store/mysqld.sock";

/// Passwords of a session's own store.
#[derive(Clone, Debug)]
pub(super) struct StoreLogins {
    /// Of `root`, which nobody uses.
    pub(super) root: String,
    /// Of the hub.
    pub(super) writer: String,
    /// Of `query`.
    reader: String,
}

// === impl StoreLogins ===

impl StoreLogins {
    /// Makes new ones.
    pub(super) fn make() -> Result<Self, Failure> {
        Ok(Self { root: password()?, writer: password()?, reader: password()? })
    }

    /// Stands for ones that are not made.
    pub(super) fn generated() -> Self {
        let generated = || GENERATED.to_owned();
        Self { root: generated(), writer: generated(), reader: generated() }
    }

    /// Statements, one a line, that make the reader's login; the image runs them when it makes the database.
    pub(super) fn reader_sql(&self) -> String {
        // Connections over the socket come from `localhost`, and nothing else reaches the store.
        format!(
            "CREATE USER '{READER_LOGIN}'@'localhost' IDENTIFIED BY '{}';\nGRANT SELECT ON `{STORE_DATABASE}`.* TO '{READER_LOGIN}'@'localhost';\n",
            self.reader
        )
    }

    /// Where the hub finds the store.
    pub(super) fn choice(&self) -> StoreChoice {
        let url = |user: &str, password: &str| {
            format!("mysql://{user}:{password}@localhost/{STORE_DATABASE}?socket={STORE_SOCKET}")
        };
        StoreChoice::Mysql {
            url: url(WRITER_LOGIN, &self.writer),
            reader: Some(url(READER_LOGIN, &self.reader)),
        }
    }
}

fn password() -> Result<String, Failure> {
    let mut password = String::with_capacity(PASSWORD_LENGTH);
    let mut bytes = [0; PASSWORD_LENGTH];
    while password.len() < PASSWORD_LENGTH {
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::new(format!("the system gives no random numbers: {error}")))?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR_BELOW);
        let letters =
            fair.filter_map(|byte| PASSWORD_ALPHABET.get(usize::from(*byte) % PASSWORD_ALPHABET.len()));
        let missing = PASSWORD_LENGTH - password.len();
        password.extend(letters.take(missing).map(|letter| char::from(*letter)));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_different_and_plain() {
        let logins = StoreLogins::make().expect("passwords");
        for password in [&logins.root, &logins.writer, &logins.reader] {
            assert_eq!(password.len(), PASSWORD_LENGTH);
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        assert_ne!(logins.root, logins.writer);
        assert_ne!(logins.writer, logins.reader);
    }

    #[test]
    fn the_reader_gets_nothing_but_select_and_one_statement_a_line() {
        let logins = StoreLogins::make().expect("passwords");
        let sql = logins.reader_sql();
        assert_eq!(sql.lines().count(), sql.matches(';').count());
        assert_eq!(sql.matches("GRANT").count(), 1);
        assert!(sql.contains("GRANT SELECT ON `kyanos`.*"));
        let StoreChoice::Mysql { url, reader } = logins.choice() else { panic!("a MySQL store") };
        assert!(url.contains(&logins.writer) && !url.contains(&logins.reader));
        assert!(reader.expect("a reader").contains(&logins.reader));
    }
}
