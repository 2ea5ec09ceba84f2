//! What must not come out of commands and their answers.

use super::super::tests::{Talk, words};
use super::*;

fn split(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Commands, and which of their words are secrets.
const COMMANDS: &[(&str, &[usize])] = &[
    ("AUTH pass", &[1]),
    ("AUTH user pass", &[1, 2]),
    ("auth user pass", &[1, 2]),
    ("HELLO 3 AUTH u p SETNAME x", &[3, 4]),
    ("HELLO 3 SETNAME x AUTH u p", &[5, 6]),
    ("ACL SETUSER bob on >x <y #ab !cd ~* +@all", &[4, 5, 6, 7]),
    ("ACL SETUSR bob >x", &[3]),
    ("ACL DRYRUN bob AUTH p", &[4]),
    ("ACL DRYRUN bob SET k >v", &[]),
    ("ACL GETUSER >x", &[]),
    ("CONFIG SET requirepass x", &[3]),
    ("CONFIG SET maxmemory 0 requirepass x", &[5]),
    ("config set MASTERAUTH x masteruser y", &[3, 5]),
    ("CONFIG SET primaryauth x primaryuser y", &[3, 5]),
    ("CONFIG SET tls-key-file-pass x tls-client-key-file-pass y", &[3, 5]),
    ("CONFIG GET requirepass", &[]),
    ("SENTINEL SET m auth-pass x", &[4]),
    ("SENTINEL SET m auth-user u auth-pass x", &[4, 6]),
    ("SENTINEL CONFIG SET sentinel-pass x sentinel-user y", &[4, 6]),
    ("MIGRATE h 1 k 0 1 AUTH p", &[7]),
    ("MIGRATE h 1 k 0 1 COPY AUTH2 u p KEYS a", &[8, 9]),
    ("MODULE LOADEX m CONFIG requirepass x", &[5]),
    ("COMMAND GETKEYS MIGRATE h 1 k 0 1 AUTH p", &[9]),
    ("SET AUTH pass", &[]),
    ("SET requirepass x", &[]),
    ("EVAL s 1 AUTH x", &[]),
    ("ECHO >x", &[]),
];

#[test]
fn the_secret_words_of_commands_are_known() {
    for (command, want) in COMMANDS {
        let words = split(command);
        let got: Vec<usize> = (0..words.len()).filter(|index| is_secret(&words, *index)).collect();
        assert_eq!(got, *want, "{command}");
    }
}

/// Requests, the server's answer, and what is shown of it; `hunter2` is the secret everywhere.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "ACL GETUSER bob",
        "*2\r\n$9\r\npasswords\r\n*1\r\n$7\r\nhunter2\r\n",
        "1) [redacted]\n2) 1) [redacted]",
    ),
    ("ACL LIST", "*1\r\n$32\r\nuser default on #hunter2 ~* &*  \r\n", "1) [redacted]"),
    ("ACL GENPASS", "$7\r\nhunter2\r\n", "[redacted]"),
    (
        "ACL LOG",
        "*1\r\n*4\r\n$6\r\nreason\r\n$4\r\nauth\r\n$8\r\nusername\r\n$7\r\nhunter2\r\n",
        "1) 1) \"reason\"\n   2) \"auth\"\n   3) \"username\"\n   4) [redacted]",
    ),
    (
        "CONFIG GET *",
        "*4\r\n$11\r\nrequirepass\r\n$7\r\nhunter2\r\n$4\r\nport\r\n$1\r\n7\r\n",
        "1) requirepass\n2) [redacted]\n3) port\n4) 7",
    ),
    ("CONFIG GET masterauth", "%1\r\n$10\r\nmasterauth\r\n$7\r\nhunter2\r\n", "1# masterauth => [redacted]"),
    (
        "SENTINEL CONFIG GET *",
        "*2\r\n$13\r\nsentinel-pass\r\n$7\r\nhunter2\r\n",
        "1) sentinel-pass\n2) [redacted]",
    ),
    (
        "SLOWLOG GET",
        "*1\r\n*4\r\n:1\r\n:2\r\n:3\r\n*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$7\r\nhunter2\r\n",
        "1) 1) 1\n   2) 2\n   3) 3\n   4) 1) CONFIG\n      2) SET\n      3) requirepass\n      4) [redacted]",
    ),
    (
        "COMMANDLOG GET 1 slow",
        "*1\r\n*1\r\n*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n",
        "1) 1) 1) AUTH\n      2) [redacted]",
    ),
    (
        "AUTH hunter2",
        "-ERR unknown command 'AUTH', with args beginning with: 'hunter2' \r\n",
        "ERR unknown command 'AUTH', with args beginning with: [redacted]",
    ),
    (
        "HELLO 3 AUTH default hunter2",
        "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `hunt\r\n",
        "ERR unknown command `HELLO`, with args beginning with: [redacted]",
    ),
    (
        "ACL SETUSER bob >hunter2",
        "-ERR Error in ACL SETUSER modifier '>hunter2': Syntax error\r\n",
        "ERR Error in ACL SETUSER modifier '[redacted]': Syntax error",
    ),
    (
        "ACL SETUSER bob #hunter2",
        "-ERR Error in ACL SETUSER modifier 'hunter2': The password hash must be exactly 64 characters\r\n",
        "ERR Error in ACL SETUSER modifier '[redacted]': The password hash must be exactly 64 characters",
    ),
    (
        "CONFIG SET requirepass hunter2",
        "-ERR CONFIG SET failed - argument 'hunter2'\r\n",
        "ERR CONFIG SET failed - argument '[redacted]'",
    ),
    ("CONFIG SET requirepass o", "-ERR not possible: 'o'\r\n", "ERR not possible: '[redacted]'"),
    ("GET k", "$7\r\nhunter3\r\n", "hunter3"),
];

#[test]
fn secrets_in_answers_are_hidden() {
    for (asked, answered, want) in ANSWERS {
        let mut talk = Talk::new(true);
        talk.ask(&words("PING")).answer(b"+PONG\r\n").ask(&words(asked)).answer(answered.as_bytes());
        let rows = talk.exchanges();
        let response = String::from_utf8(rows[1].response.clone().unwrap().payload).unwrap();
        let request = String::from_utf8(rows[1].request.clone().unwrap().payload).unwrap();
        let plain = response.replace('"', "");
        assert_eq!(plain, want.replace('"', ""), "{asked}");
        assert!(!request.contains("hunter2") && !response.contains("hunter2"), "{request} {response}");
    }
}

#[test]
fn a_transaction_s_answer_hides_what_its_commands_would() {
    let mut talk = Talk::new(true);
    for (asked, answered) in [
        ("MULTI", "+OK\r\n"),
        ("CONFIG GET requirepass", "+QUEUED\r\n"),
        ("CONFIG SET requirepass hunter2", "+QUEUED\r\n"),
        ("ACL SETUSER bob >hunter2", "+QUEUED\r\n"),
        ("EXEC", "*3\r\n*2\r\n$11\r\nrequirepass\r\n$7\r\nhunter2\r\n+OK\r\n-ERR modifier '>hunter2'\r\n"),
        ("MULTI", "+OK\r\n"),
        ("GET a", "+QUEUED\r\n"),
        ("EXEC", "*1\r\n$1\r\nv\r\n"),
    ] {
        talk.ask(&words(asked)).answer(answered.as_bytes());
    }
    let rows = talk.exchanges();
    for row in &rows {
        for message in [&row.request, &row.response] {
            let payload = String::from_utf8(message.clone().unwrap().payload).unwrap();
            assert!(!payload.contains("hunter2"), "{payload}");
        }
    }
    assert_eq!(rows.last().unwrap().response.as_ref().unwrap().payload, b"1) v");
}

#[test]
fn monitored_commands_hide_their_secrets() {
    for (line, want) in [
        (r#"1.2 [0 127.0.0.1:1] "GET" "a""#, r#"1.2 [0 127.0.0.1:1] "GET" "a""#),
        (r#"1.2 [0 127.0.0.1:1] "AUTH" "pw""#, r#"1.2 [0 127.0.0.1:1] "AUTH" [redacted]"#),
        (
            r#"1.2 [0 [::1]:1] "config" "set" "requirepass" "p\"w x""#,
            r#"1.2 [0 [::1]:1] "config" "set" "requirepass" [redacted]"#,
        ),
        (
            r#"1.2 [0 lua] "ACL" "SETUSER" "bob" ">pw" "on""#,
            r#"1.2 [0 lua] "ACL" "SETUSER" "bob" [redacted] "on""#,
        ),
        (
            r#"1.2 [0 unix:/s] "HELLO" "3" "AUTH" "u" "pw"#,
            r#"1.2 [0 unix:/s] "HELLO" "3" "AUTH" [redacted] [redacted]"#,
        ),
        ("1.2 [0 127.0.0.1:1]", "1.2 [0 127.0.0.1:1]"),
    ] {
        assert_eq!(String::from_utf8(monitored(line.as_bytes())).unwrap(), want);
    }
    let mut talk = Talk::new(true);
    talk.ask(&words("MONITOR")).answer(b"+OK\r\n");
    talk.answer(b"+1700000000.123456 [0 127.0.0.1:4000] \"AUTH\" \"hunter2\"\r\n");
    let rows = talk.exchanges();
    let shown = String::from_utf8(rows[1].response.clone().unwrap().payload).unwrap();
    assert!(shown.ends_with("\"AUTH\" [redacted]"), "{shown}");
}

#[test]
fn a_password_in_a_line_that_cannot_be_split_is_hidden() {
    let mut talk = Talk::new(true);
    talk.ask(b"AUTH \"hunter2\r\n").answer(b"-ERR Protocol error: unbalanced quotes in request\r\n");
    let rows = talk.exchanges();
    assert_eq!(rows[0].request.as_ref().unwrap().payload, b"AUTH [redacted]");
}

#[test]
fn a_long_secret_is_hidden_though_only_its_beginning_is_kept() {
    let secret = "s".repeat(5000);
    let mut talk = Talk::new(true);
    talk.ask(&words(&format!("ACL SETUSER bob >{secret}")));
    talk.answer(format!("-ERR Error in ACL SETUSER modifier '>{secret}': Syntax error\r\n").as_bytes());
    let rows = talk.exchanges();
    assert_eq!(rows[0].response.as_ref().unwrap().payload, b"ERR [redacted]");
    assert_eq!(rows[0].status, "ERR");
}
