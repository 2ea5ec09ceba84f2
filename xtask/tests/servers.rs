//! The witnesses themselves: every real server starts, serves, and tells what it served.

use std::process::Command;

use xtask::run;
use xtask::servers::{Dnsmasq, Mariadb, Nginx, Postgres, Redis};

#[test]
fn nginx_logs_each_request_with_its_sizes() {
    let nginx = Nginx::start().unwrap();
    let whole = run::output(Command::new("curl").args(["-si", &nginx.url("/hello")])).unwrap();
    let upload = run::output(
        Command::new("curl")
            .args(["-si", "-T", "-", &nginx.url("/upload/x")])
            .stdin(std::process::Stdio::null()),
    );
    upload.unwrap();
    let requests = nginx.requests().unwrap();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/hello"));
    assert_eq!(requests[0].bytes_sent, whole.len() as u64, "{whole:?}");
    assert_eq!((requests[1].method.as_str(), requests[1].status), ("PUT", 201));
}

#[test]
fn redis_monitor_shows_the_commands_of_tcp_clients() {
    let redis = Redis::start().unwrap();
    let port = redis.port().to_string();
    run::output(Command::new("redis-cli").args(["-p", &port, "SET", "a key", "a\"b\n"])).unwrap();
    run::output(Command::new("redis-cli").args(["-p", &port, "get", "a key"])).unwrap();
    let commands = redis.commands().unwrap();
    let words: Vec<Vec<&[u8]>> =
        commands.iter().map(|command| command.words.iter().map(Vec::as_slice).collect()).collect();
    assert_eq!(words, [vec![b"SET".as_slice(), b"a key", b"a\"b\n"], vec![b"get", b"a key"]]);
}

#[test]
fn mariadb_logs_the_statements_of_tcp_clients() {
    let mariadb = Mariadb::start().unwrap();
    let answer = run::output(mariadb.client().unwrap().args(["-e", "SELECT 'é\n字', 1+1"])).unwrap();
    assert!(answer.contains('2'), "{answer}");
    let statements = mariadb.statements().unwrap();
    let queries: Vec<&str> = statements
        .iter()
        .filter(|entry| entry.command == "Query")
        .map(|entry| entry.argument.as_str())
        .collect();
    assert!(queries.contains(&"SELECT 'é\n字', 1+1"), "{statements:?}");
}

#[test]
fn postgres_logs_the_statements_of_tcp_clients() {
    let postgres = Postgres::start().unwrap();
    run::output(postgres.client("psql").args(["-c", "SELECT 40 + 2"])).unwrap();
    let logged = postgres.logged().unwrap();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!(logged[0].message, "statement: SELECT 40 + 2");
}

#[test]
fn dnsmasq_logs_each_query() {
    if !run::is_root() {
        println!("skipped: port 53 needs root");
        return;
    }
    let dnsmasq = Dnsmasq::start().unwrap();
    let resolver = dnsmasq.resolver().unwrap();
    let script = format!("mount --bind {} /etc/resolv.conf && getent ahosts shop.test", resolver.display());
    let answer = run::output(Command::new("unshare").args(["--mount", "sh", "-c", &script])).unwrap();
    assert!(answer.contains("192.0.2.1"), "{answer}");
    let queries = dnsmasq.queries(2).unwrap();
    let mut kinds: Vec<&str> = queries.iter().map(|query| query.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!((kinds, queries[0].name.as_str()), (vec!["A", "AAAA"], "shop.test"));
}
