//! Store URLs as users write them.

use super::*;

fn mysql(url: &str, password: Option<&str>) -> String {
    let chosen = choice(url, None, password).expect("a store");
    let StoreChoice::Mysql { url, reader: None } = chosen else { unreachable!("{chosen:?}") };
    url
}

#[test]
fn a_password_comes_from_the_url_or_the_environment() {
    assert_eq!(mysql("mysql://u:p@h:1,[::1]:2/d", Some("x")), "mysql://u:p@h:1,[::1]:2/d");
    assert_eq!(mysql("mysql://u@h/d", Some("a@b/c")), "mysql://u:a%40b%2Fc@h/d");
    assert_eq!(mysql("mysql://u@h/d", None), "mysql://u@h/d");
}

#[test]
fn wrong_urls_are_usage_errors_that_repeat_no_password() {
    let urls = [
        "mysql://root:secret@host",
        "mysql://root:secret@host:port/d",
        "mysql://root:secret@host:0/d",
        "mysql://secret/d",
        "mysql://:secret@h/d",
        "postgres://root:secret@h/d",
        "sqlite:",
        "secret",
    ];
    for url in urls {
        let failure = choice(url, None, None).expect_err(url);
        assert_eq!(failure.exit, crate::failure::USAGE, "{url}");
        assert!(failure.hint.is_some(), "{url}");
        assert!(!failure.what.contains("secret"), "{failure}");
    }
}

#[test]
fn only_files_are_read_without_a_session() {
    assert_eq!(readable("sqlite:/a/b.sqlite").expect("a file"), Path::new("/a/b.sqlite"));
    assert!(readable("sqlite:b.sqlite").expect("a file").is_absolute());
    assert!(readable("mysql://u@h/d").is_err());
}

#[test]
fn hosts_of_a_store_are_told_with_their_ports() {
    let places =
        |url: &str| places(url).into_iter().map(|(host, port)| format!("{host} {port}")).collect::<Vec<_>>();
    assert_eq!(places("mysql://u:p@db/d"), ["db 3306"]);
    assert_eq!(
        places("mysql://u:p%40x@10.0.0.1:3307,db-2.example.com/d?x=1"),
        ["10.0.0.1 3307", "db-2.example.com 3306"]
    );
    assert_eq!(places("mysql://u@[fd00::1]:4000,[fd00::2]/d"), ["fd00::1 4000", "fd00::2 3306"]);
    assert_eq!(places("sqlite:a"), Vec::<String>::new());
}
