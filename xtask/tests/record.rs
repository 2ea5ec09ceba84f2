//! `cargo xtask record`, with a real client and a real server.

use std::process::Command;

use xtask::servers::Redis;

#[test]
fn a_conversation_becomes_a_fixture() {
    if !xtask::run::is_root() {
        println!("skipped: reading packets needs root");
        return;
    }
    let redis = Redis::start().expect("Redis starts");
    let folder = tempfile::tempdir().expect("a folder");
    let port = redis.port().to_string();
    let client = xtask::run::find("redis-cli").expect("redis-cli is installed");
    let long = "x".repeat(100_000);
    let mut record = Command::new(env!("CARGO_BIN_EXE_xtask"));
    record.args(["record", "redis", "--port", &port, "--name", "greeting", "--out"]).arg(folder.path());
    record.arg("--").arg(&client).args(["-p", &port, "SET", "greeting", "a\"b"]);
    let first = record.output().expect("it runs");
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.success(), "{said}");
    let path = folder.path().join("greeting.txt");
    // The client's own output is not what was asked for.
    assert_eq!(String::from_utf8_lossy(&first.stdout), format!("{}\n", path.display()), "{said}");
    let text = std::fs::read_to_string(&path).expect("a fixture");
    let conversation: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let wanted = [r#"C *3\r\n$3\r\nSET\r\n$8\r\ngreeting\r\n$3\r\na\"b\r\n"#, r"S +OK\r\n"];
    assert_eq!(conversation, wanted);
    // Written once, it stays.
    let again = record.output().expect("it runs");
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--name"));
    assert_eq!(std::fs::read_to_string(&path).expect("a fixture"), text);

    let mut record = Command::new(env!("CARGO_BIN_EXE_xtask"));
    record.args(["record", "redis", "--port", &port, "--name", "two", "--out"]).arg(folder.path());
    let twice = format!("for key in a b; do {} -p {port} ECHO {long}; done", client.display());
    let several = record.args(["--", "sh", "-c", &twice]).output().expect("it runs");
    assert!(several.status.success(), "{}", String::from_utf8_lossy(&several.stderr));
    for file in ["two.txt", "two_2.txt"] {
        let text = std::fs::read_to_string(folder.path().join(file)).expect("one for each connection");
        let reply = format!(r"S $100000\r\n{long}\r\n");
        assert!(text.lines().any(|line| line == reply), "{file} has not all of a long answer");
    }
}

#[test]
fn a_command_that_says_nothing_is_no_fixture() {
    if !xtask::run::is_root() {
        println!("skipped: reading packets needs root");
        return;
    }
    let port = xtask::process::free_port().expect("a port").to_string();
    let record = |command: &str| {
        let mut record = Command::new(env!("CARGO_BIN_EXE_xtask"));
        record.args(["record", "redis", "--port", &port, "--", command]).output().expect("it runs")
    };
    for (command, reason) in [("true", "said nothing"), ("false", "failed")] {
        let run = record(command);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(reason) && run.stdout.is_empty(), "{said}");
    }
}
