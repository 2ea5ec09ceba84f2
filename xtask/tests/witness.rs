//! What Kyanos shows equals what the servers themselves recorded: same count, same content, both sides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use xtask::kyanos::{Exchange, Report, Session, machine};
use xtask::run;
use xtask::servers::{Dnsmasq, Mariadb, Nginx, Postgres, Redis};
use xtask::workload::{dns, http, mysql, redis};

/// Requests of each kind; together 10,000.
const HTTP: usize = 5_000;
const REDIS: usize = 2_500;
const MYSQL: usize = 1_000;
const POSTGRES: usize = 1_000;
const DNS: usize = 500;

/// Rest between two requests of a kind: the machine shall not be the limit here.
const REST: Duration = Duration::from_millis(1);

/// What an exchange and a witness have in common.
type Fact = Vec<String>;

#[test]
fn ten_thousand_mixed_requests_equal_what_the_servers_recorded() {
    let Some(_alone) = machine().unwrap() else { return };
    let nginx = Nginx::start().unwrap();
    let redis = Redis::start().unwrap();
    let mariadb = Mariadb::start().unwrap();
    let postgres = Postgres::start().unwrap();
    let dnsmasq = Dnsmasq::start().unwrap();
    postgres.sql("CREATE TABLE item (id int PRIMARY KEY, name text)").unwrap();
    mariadb.sql("CREATE TABLE shop.item (id int PRIMARY KEY, name varchar(100))").unwrap();
    let session = Session::watch(&["--max-print-bytes", "65536"]).unwrap();
    send(&nginx, &redis, &mariadb, &postgres, &dnsmasq);
    let ports = [nginx.port(), redis.port(), mariadb.port(), postgres.port(), 53];
    let total = 2 * (HTTP + REDIS + MYSQL + POSTGRES + DNS);
    session.settle(total, Duration::from_secs(20), |line| ports.iter().any(|port| line.has_port(*port)));
    let report = session.stop().unwrap();
    let mut verdict = Verdict::new(&report);

    let requests = nginx.requests().unwrap();
    assert_eq!(requests.len(), HTTP);
    let logged = requests.iter().map(|request| {
        let operation = format!("{} {}", request.method, request.path);
        facts(&[
            &operation,
            &request.status,
            &request.bytes_sent,
            &request.request_length,
            &request.client_port,
        ])
    });
    verdict.compare("http", nginx.port(), &logged.collect::<Vec<_>>(), |line| {
        let (sent, length) = (bytes(line, "response_bytes"), bytes(line, "request_bytes"));
        facts(&[&line.text("operation"), &line.text("status"), &sent, &length, &line.client_port()])
    });

    let commands = redis.commands().unwrap();
    assert_eq!(commands.len(), REDIS);
    let logged = commands.iter().map(|command| {
        let port = command.client.rsplit(':').next().unwrap_or_default();
        let words: Vec<String> = command.words.iter().map(|word| quoted(word)).collect();
        facts(&[&words.join(" "), &port])
    });
    verdict.compare("redis", redis.port(), &logged.collect::<Vec<_>>(), |line| {
        facts(&[&line.text("request"), &line.client_port()])
    });

    // The log numbers connections in its own way, so that the client's port has no counterpart.
    let statements = mariadb.statements().unwrap();
    let executed = |command: &str| matches!(command, "Query" | "Execute");
    let logged =
        statements.iter().filter(|entry| executed(&entry.command)).map(|entry| facts(&[&entry.argument]));
    let logged: Vec<Fact> = logged.collect();
    assert_eq!(logged.len(), MYSQL);
    verdict
        .compare("mysql", mariadb.port(), &logged, |line| facts(&[&as_mariadb_logs(line.text("request"))]));

    let entries = postgres.logged().unwrap();
    let statement = |message: &str| {
        let (kind, text) = message.split_once(": ")?;
        (kind == "statement" || kind.starts_with("execute ")).then(|| text.to_owned())
    };
    let logged: Vec<Fact> = entries
        .iter()
        .filter_map(|entry| {
            statement(&entry.message).map(|text| facts(&[&text, &entry.detail, &entry.client_port]))
        })
        .collect();
    assert_eq!(logged.len(), POSTGRES);
    verdict.compare("postgres", postgres.port(), &logged, |line| {
        let (statement, parameters) = as_postgres_logs(line.text("request"));
        facts(&[&statement, &parameters, &line.client_port()])
    });

    let asked = dnsmasq.queries(DNS).unwrap();
    assert_eq!(asked.len(), DNS);
    let logged =
        asked.iter().map(|query| facts(&[&format!("{} {}", query.kind, query.name), &query.client_port]));
    verdict.compare("dns", 53, &logged.collect::<Vec<_>>(), |line| {
        facts(&[&line.text("operation"), &line.client_port()])
    });
    verdict.give();
}

// === the comparison ===

/// Differences found so far, and how many of them are excused by counted losses.
struct Verdict<'a> {
    report: &'a Report,
    missing: u64,
    findings: Vec<String>,
}

impl<'a> Verdict<'a> {
    fn new(report: &'a Report) -> Self {
        assert_eq!(report.code(), 130, "{}", report.stderr);
        Self { report, missing: 0, findings: Vec::new() }
    }

    fn compare(&mut self, protocol: &str, port: u16, logged: &[Fact], fact: impl Fn(&Exchange) -> Fact) {
        for side in ["client", "server"] {
            let seen =
                self.report.seen(side, port).into_iter().filter(|line| line.text("protocol") == protocol);
            let mut counts: BTreeMap<Fact, i64> = BTreeMap::new();
            for entry in logged {
                *counts.entry(entry.clone()).or_default() += 1;
            }
            let mut total = 0;
            for line in seen.filter(|line| is_request(line)) {
                *counts.entry(fact(line)).or_default() -= 1;
                total += 1;
            }
            counts.retain(|_, count| *count != 0);
            println!(
                "{protocol} {side}: {} recorded, {total} captured, {} differ",
                logged.len(),
                counts.len()
            );
            for (entry, count) in counts.iter().take(6) {
                self.findings.push(format!("{protocol} {side}: recorded less captured = {count}: {entry:?}"));
            }
            self.missing += counts.values().map(|count| count.unsigned_abs()).sum::<u64>();
        }
    }

    /// Fails unless everything was the same, or no more differs than was counted as lost.
    fn give(self) {
        let stages = self.report.lost().unwrap();
        let lost: u64 = stages.values().sum();
        println!("{} differences, lost {stages:?}", self.missing);
        assert!(self.missing <= lost, "{:#?}\n{}", self.findings, self.report.stderr);
        // At this pace a loss is the machine's hiccup, not a habit.
        let most = (HTTP + REDIS + MYSQL + POSTGRES + DNS) as u64 / 50;
        assert!(self.missing <= most, "{} differ; lost {stages:?}", self.missing);
        assert!(self.report.noise.is_empty(), "{:?}", self.report.noise);
    }
}

/// Leaves out what no statement log records: logins, prepares, closes.
fn is_request(line: &Exchange) -> bool {
    let operation = line.text("operation");
    let silent = ["LOGIN", "CONNECT", "QUIT", "PREPARE", "CLOSE", "PING", "STARTUP", "TERMINATE"];
    match line.text("protocol") {
        "mysql" | "postgres" => {
            let first = operation.split(' ').next().unwrap_or_default();
            !silent.contains(&first) && !line.text("request").is_empty()
        }
        _ => true,
    }
}

fn facts(parts: &[&dyn Display]) -> Fact {
    parts.iter().map(ToString::to_string).collect()
}

fn bytes(line: &Exchange, name: &str) -> String {
    line.number(name).map_or_else(|| "null".to_owned(), |bytes| bytes.to_string())
}

/// Writes a word as a payload shows it: in quotes where it has spaces or is empty.
fn quoted(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word).into_owned();
    if text.is_empty() || text.contains(' ') { format!("\"{text}\"") } else { text }
}

/// Cuts a payload into the statement and the values it was executed with, each still quoted.
fn statement_and_values(request: &str) -> (&str, Vec<&str>) {
    let Some((statement, list)) = request.split_once("\n-- [") else { return (request, Vec::new()) };
    let values = list.trim_end_matches(']').split(", ").filter(|value| !value.is_empty());
    (statement, values.collect())
}

/// Writes an executed statement as MariaDB's log does: with its values filled in.
fn as_mariadb_logs(request: &str) -> String {
    let (statement, values) = statement_and_values(request);
    values.iter().fold(statement.to_owned(), |statement, value| {
        let inner = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
        let inner = inner.replace("''", "'");
        statement.replacen('?', &format!("'{}'", inner.replace('\'', "\\\'")), 1)
    })
}

/// Writes an executed statement's values as PostgreSQL's log does: in a line of their own.
fn as_postgres_logs(request: &str) -> (String, String) {
    let (statement, values) = statement_and_values(request);
    let numbered: Vec<String> =
        (1..).zip(values).map(|(number, value)| format!("${number} = {value}")).collect();
    let parameters =
        if numbered.is_empty() { String::new() } else { format!("parameters: {}", numbered.join(", ")) };
    (statement.to_owned(), parameters)
}

// === the traffic ===

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Sends everything, each kind on a thread of its own.
fn send(nginx: &Nginx, redis: &Redis, mariadb: &Mariadb, postgres: &Postgres, dnsmasq: &Dnsmasq) {
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| {
                keep_alive(nginx.port());
                short(nginx.port());
            }),
            scope.spawn(|| redis_commands(redis.port())),
            scope.spawn(|| mysql_statements(mariadb)),
            scope.spawn(|| postgres_statements(postgres)),
            scope.spawn(|| questions(dnsmasq.address())),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn keep_alive(port: u16) {
    let mut clients: Vec<http::HttpClient> =
        (0..4).map(|_| http::HttpClient::connect(local(port)).unwrap()).collect();
    for number in 0..HTTP - 1_000 {
        std::thread::sleep(REST);
        let client = &mut clients[number % 4];
        let response = match number % 12 {
            0 => client.request("HEAD", "/blob-20000", &[]),
            1 => client.request("POST", &format!("/post?number={number}"), b"a=1&b=2"),
            2 => client.request("PUT", &format!("/upload/{number}"), &http::pattern(number, number * 3)),
            3 => client.get("/chunked.shtml"),
            4 => client.get(&format!("/status/{}", Nginx::STATUSES[number % 6])),
            5 => client.get(&format!("/missing/{number}")),
            6 => client.request("OPTIONS", "/hello", &[]),
            7 => client.get("/blob-100000"),
            8 => client.request("DELETE", &format!("/upload/{}", number - 6), &[]),
            _ => client.get(&format!("/hello?number={number}")),
        };
        response.unwrap();
    }
}

fn short(port: u16) {
    for number in 0..1_000 {
        std::thread::sleep(REST);
        let mut client = http::HttpClient::connect(local(port)).unwrap();
        let size = Nginx::BLOBS[number % 5];
        client
            .send(
                format!("GET /blob-{size} HTTP/1.{}\r\nHost: x\r\nConnection: close\r\n\r\n", number % 2)
                    .as_bytes(),
            )
            .unwrap();
        assert_eq!(client.receive("GET").unwrap().body.len(), size);
    }
}

fn redis_commands(port: u16) {
    let mut client = redis::RedisClient::connect(port).unwrap();
    for number in 0..REDIS - 500 {
        std::thread::sleep(REST);
        let key = format!("key:{}", number % 50);
        match number % 6 {
            0 => client.command(&[b"SET", key.as_bytes(), &http::pattern(number, number)]),
            1 => client.command(&[b"get", key.as_bytes()]),
            2 => client.command(&[b"HSET", b"h", key.as_bytes(), b"two words"]),
            3 => client.command(&[b"LRANGE", b"nothing", b"0", b"-1"]),
            4 => client.command(&[b"INCR", b"h"]),
            _ => client.command(&[b"EXISTS", key.as_bytes(), b"h", b""]),
        }
        .unwrap();
    }
    // Pipelined, in one write.
    let mut pipeline = Vec::new();
    for number in 0..500 {
        pipeline.extend(redis::command(&[b"INCRBY", b"sum", number.to_string().as_bytes()]));
    }
    client.send(&pipeline).unwrap();
    for _ in 0..500 {
        client.reply().unwrap();
    }
}

fn mysql_statements(mariadb: &Mariadb) {
    let mut client = mysql::MysqlClient::connect(mariadb.port(), "app", "shop").unwrap();
    let insert = client.prepare("INSERT INTO item VALUES (?, ?)").unwrap();
    let select = client.prepare("SELECT name FROM item WHERE id = ?").unwrap();
    let rest = MYSQL - 10 * 3;
    for number in 0..rest {
        std::thread::sleep(REST);
        match number % 5 {
            0 => drop(client.execute(insert, &[&number.to_string(), "a 'name'"]).unwrap()),
            1 => drop(client.execute(select, &[&(number - 1).to_string()]).unwrap()),
            2 => drop(client.query(&format!("SELECT id, name FROM item WHERE id < {number}")).unwrap()),
            3 => assert!(client.query(&format!("SELECT nothing_{number} FROM item")).is_err()),
            _ => drop(
                client.query(&format!("UPDATE item SET name = 'Zürich 字' WHERE id = {number}")).unwrap(),
            ),
        }
    }
    client.quit().unwrap();
    // The command-line client, with several statements in one script.
    for number in 0..10 {
        let sql = format!("SELECT {number}; SELECT 'x', {number}; DELETE FROM item WHERE id = {number}");
        run::output(mariadb.client().unwrap().args(["-e", &sql])).unwrap();
    }
}

fn postgres_statements(postgres: &Postgres) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "\\set n random(1, 1000)\nSELECT :n + 1;\nSELECT name FROM item WHERE id = :n;\n",
    )
    .unwrap();
    let script = file.path().to_str().unwrap();
    for (mode, count) in [("simple", 100), ("extended", 100), ("prepared", 100)] {
        let count = count.to_string();
        let mut command = postgres.client("pgbench");
        run::output(command.args(["-n", "-M", mode, "-R", "200", "-t", &count, "-f", script, "postgres"]))
            .unwrap();
    }
    let mut statements: String = (0..398)
        .map(|number| match number % 4 {
            0 => format!("INSERT INTO item VALUES ({number}, 'Zürich ''{number}''');\n"),
            1 => format!("SELECT * FROM item WHERE id = {};\n", number - 1),
            2 => format!("SELECT missing_{number} FROM item;\n"),
            _ => format!("UPDATE item SET name = name || 'x' WHERE id < {number};\n"),
        })
        .collect::<Vec<_>>()
        .concat();
    statements.push_str("COPY item TO STDOUT;\nCOPY item FROM STDIN;\n5001\tfive\n5002\tsix\n\\.\n");
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), statements).unwrap();
    run::output(postgres.client("psql").args(["-qX", "-f"]).arg(script.path())).unwrap();
}

fn questions(server: Ipv4Addr) {
    for number in 0..u16::try_from(DNS).unwrap() - 20 {
        std::thread::sleep(REST);
        let name = format!("host-{number}.test");
        match number % 5 {
            0 => dns::ask(server, number, &name, dns::AAAA),
            1 => dns::ask(server, number, &format!("missing-{number}.example"), dns::A),
            2 => dns::ask(server, number, "text.test", dns::TXT),
            3 => dns::ask_tcp(server, number, &name, dns::A),
            _ => dns::ask(server, number, &name, dns::A),
        }
        .unwrap();
    }
    // Ten processes that look a name up by the system's resolver, each an A and an AAAA question.
    let resolver = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(resolver.path(), format!("nameserver {server}\n")).unwrap();
    for number in 0..10 {
        let script = format!(
            "mount --bind {} /etc/resolv.conf && getent ahosts paired-{number}.test",
            resolver.path().display()
        );
        run::output(Command::new("unshare").args(["--mount", "sh", "-c", &script])).unwrap();
    }
}
