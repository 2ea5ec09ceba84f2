//! Protocols that look like Redis at first sight: none of their lines is a row.

use super::*;

/// Conversations: lines of the client begin with `C `, those of the server with `S `.
const FOREIGN: &[(&str, &str)] = &[
    (
        "memcached",
        "C set k 0 0 5\r\nhello\r\n|S STORED\r\n|C get k\r\n|S VALUE k 0 5\r\nhello\r\nEND\r\n|C get none\r\n|S END\r\n|C set n 0 0 1\r\n5\r\n|S STORED\r\n|C incr n 2\r\n|S 7\r\n|C touch n 9\r\n|S TOUCHED\r\n|C append k 0 0 1\r\nx\r\n|S STORED\r\n|C quit\r\n",
    ),
    (
        "memcached 1.6.18, recorded",
        "C set k 0 0 5\r\nhello\r\n|S STORED\r\n|C get k\r\n|S VALUE k 0 5\r\nhello\r\nEND\r\n|C gets k\r\n|S VALUE k 0 5 4\r\nhello\r\nEND\r\n|C gat 60 k\r\n|S VALUE k 0 5\r\nhello\r\nEND\r\n|C set n 0 0 1\r\n5\r\n|S STORED\r\n|C incr n 2\r\n|S 7\r\n|C decr n 1\r\n|S 6\r\n|C append k 0 0 1\r\nx\r\n|S STORED\r\n|C touch k 9\r\n|S TOUCHED\r\n|C get none\r\n|S END\r\n|C mg k v\r\n|S VA 6\r\nhellox\r\n|C ms k 2\r\nhi\r\n|S HD\r\n|C mn\r\n|S MN\r\n|C set q 0 0 3 noreply\r\nget\r\n|C delete k\r\n|S DELETED\r\n|C get\r\n|S ERROR\r\n|C verbosity 1\r\n|S OK\r\n|C flush_all\r\n|S OK\r\n|C version\r\n|S VERSION 1.6.18\r\n|C time\r\n|S ERROR\r\n|C info\r\n|S ERROR\r\n|C auth a b\r\n|S ERROR\r\n|C quit\r\n",
    ),
    (
        "memcached incr",
        "C incr a 1\r\n|S NOT_FOUND\r\n|C decr a 1\r\n|S NOT_FOUND\r\n|C get a b\r\n|S END\r\n",
    ),
    (
        "memcached get and touch",
        "C gat 60 k\r\n|S VALUE k 0 1\r\nx\r\nEND\r\n|C gets k\r\n|S VALUE k 0 1 7\r\nx\r\nEND\r\n",
    ),
    (
        "memcached meta",
        "C ms k 2\r\nhi\r\n|S HD\r\n|C mg k v\r\n|S VA 2\r\nhi\r\n|C mn\r\n|S MN\r\n|C md k\r\n|S HD\r\n",
    ),
    (
        "memcached without replies",
        "C set a 0 0 2 noreply\r\nhi\r\n|C set b 0 0 3 noreply\r\nget\r\n|C get a\r\n|S VALUE a 0 2\r\nhi\r\nEND\r\n",
    ),
    ("memcached large", "C get k\r\n|S VALUE k 0 13\r\n$5\r\nhello\r\n:1\r\nEND\r\n|C get k\r\n|S END\r\n"),
    (
        "memcached error",
        "C get\r\n|S ERROR\r\n|C set k 0 0\r\n|S CLIENT_ERROR bad command line format\r\n|C verbosity\r\n|S ERROR\r\n",
    ),
    (
        "ftp",
        "S 220 (vsFTPd 3.0.3)\r\n|C AUTH TLS\r\n|S 530 Please login with USER and PASS.\r\n|C USER anonymous\r\n|S 331 Please specify the password.\r\n|C PASS x\r\n|S 230 Login successful.\r\n|C TYPE I\r\n|S 200 Switching to Binary mode.\r\n|C NOOP\r\n|S 200 NOOP ok.\r\n|C APPEND a\r\n|S 500 Unknown command.\r\n|C RENAME a\r\n|S 500 ?\r\n|C QUIT\r\n|S 221 Goodbye.\r\n",
    ),
    (
        "pop3",
        "S +OK Dovecot ready.\r\n|C CAPA\r\n|S +OK\r\nCAPA\r\nTOP\r\nUIDL\r\n.\r\n|C AUTH PLAIN\r\n|S + \r\n|C AGEAYgBj\r\n|S -ERR [AUTH] Authentication failed.\r\n|C USER a\r\n|S +OK\r\n|C PASS b\r\n|S +OK Logged in.\r\n|C STAT\r\n|S +OK 1 20\r\n|C TIME\r\n|S -ERR Unknown command.\r\n|C QUIT\r\n|S +OK Logging out.\r\n",
    ),
    (
        "pop3, a server of few words",
        "S +OK\r\n|C USER a\r\n|S +OK\r\n|C PASS b\r\n|S +OK\r\n|C AUTH\r\n|S -ERR unknown command\r\n|C QUIT\r\n|S +OK\r\n",
    ),
    (
        "smtp",
        "S 220 mail ESMTP\r\n|C EHLO x\r\n|S 250-mail\r\n250 AUTH PLAIN\r\n|C AUTH PLAIN AGEAYg==\r\n|S 535 no\r\n|C HELP\r\n|S 214 ok\r\n|C INFO\r\n|S 502 ?\r\n|C QUIT\r\n|S 221 Bye\r\n",
    ),
    (
        "imap",
        "S * OK [CAPABILITY IMAP4rev1] ready\r\n|C a1 NOOP\r\n|S a1 OK NOOP completed.\r\n|C a2 AUTHENTICATE PLAIN\r\n|S + \r\n|C AGEAYg==\r\n|S a2 NO failed\r\n|C GET LOGOUT\r\n|S * BYE\r\nGET OK\r\n",
    ),
    (
        "graphite",
        "C get.count 5 1700000000\nset.count 6 1700000000\n|C time 5 1700000000\n|C info 1 1700000001\n|C type.x 1 2\n",
    ),
    ("a greeting", "C HELLO, you\r\n|S HELLO, you\r\n|C HELLO you\r\n|S HELLO you\r\n"),
    ("echo", "C ECHO hi\r\n|S ECHO hi\r\n|C PING\r\n|S PING\r\n|C GET a\r\n|S GET a\r\n"),
    (
        "irc",
        "C NICK a\r\nUSER a 0 * :a\r\n|S :irc 001 a :Welcome\r\n|S PING :irc\r\n|C PONG :irc\r\n|C PING 17\r\n|S :irc PONG irc :17\r\n|C TIME\r\n|S :irc 391 a irc :now\r\n|C INFO\r\n|S :irc 371 a :x\r\n|C QUIT :bye\r\n|S ERROR :Closing Link\r\n",
    ),
    (
        "nats",
        "S INFO {\"server_id\":\"x\",\"auth_required\":false}\r\n|C CONNECT {\"verbose\":true}\r\n|S +OK\r\n|C PING\r\n|S PONG\r\n|C SUB a 1\r\n|S +OK\r\n|C PUB a 2\r\nhi\r\n|S +OK\r\nMSG a 1 2\r\nhi\r\n|S PING\r\n|C PONG\r\n|C INFO {}\r\n|S -ERR 'Unknown Protocol Operation'\r\n",
    ),
    (
        "nats, quiet",
        "S INFO {}\r\n|C CONNECT {}\r\nPING\r\n|S PONG\r\n|C PING\r\n|S PONG\r\n|C PING\r\n|S -ERR 'Stale Connection'\r\n",
    ),
    (
        "stomp",
        "C CONNECT\naccept-version:1.2\nhost:/\n\n\0|S CONNECTED\nversion:1.2\n\n\0|C SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0|C SEND\ndestination:/queue/a\n\nhi\0|S MESSAGE\nsubscription:0\nmessage-id:1\n\nhi\0|C UNSUBSCRIBE\nid:0\n\n\0",
    ),
    (
        "gearman",
        "C status\n|S .\n|C workers\n|S 30 127.0.0.1 - :\n.\n|C version\n|S OK 1.1.20\n|C shutdown\n|S OK\n",
    ),
    (
        "beanstalkd",
        "C put 0 0 60 5\r\nhello\r\n|S INSERTED 1\r\n|C watch t\r\n|S WATCHING 2\r\n|C reserve\r\n|S RESERVED 1 5\r\nhello\r\n|C touch 1\r\n|S TOUCHED\r\n|C delete 1\r\n|S DELETED\r\n|C quit\r\n",
    ),
    ("statsd", "C a.get:1|c\n|C time:320|ms\n|C set:1|s\nget:3|g\n"),
    ("whois", "C info\r\n|S % IANA WHOIS server\r\n% for more information\r\n\r\nrefer: x\r\n"),
    ("whois, a name", "C example.com\r\n|S % This query returned 1 object\r\ndomain: EXAMPLE.COM\r\n"),
    ("telnet", "S \x01\x18 login: |C time\r\n|S Password: |C get\r\n|S Login incorrect\r\n"),
    ("ssh", "S SSH-2.0-OpenSSH_9.2\r\n|C SSH-2.0-Go\r\n|S \0\0\x05\x14|C \0\0\x05\x14"),
    ("http 0.9", "C GET /\r\n|S <html><body>hi</body></html>"),
    ("http like", "C GET /a HTTP/7.x\r\nHost: x\r\n\r\n|S -ERR unknown\r\n"),
    ("zookeeper", "C ruok|S imok|C dump\n|S SessionTracker dump:\n|C info\n|S x\n"),
    ("clamav", "C PING\n|S PONG\n|C nPING\n|S PONG\n"),
    (
        "mpd",
        "S OK MPD 0.23.5\n|C ping\n|S OK\n|C status\n|S volume: 1\nOK\n|C move 1 2\n|S ACK [50@0] {move} x\n",
    ),
    ("gdb", "C $qSupported:xmlRegisters=i386#77|S +$PacketSize=1000#8b|C +|C $?#3f|S +$S05#b8"),
    (
        "subversion",
        "S ( success ( 2 2 ( ) ( edit-pipeline ) ) ) |C ( 2 ( edit-pipeline ) 9:svn://x/y ) |S ( success ( ( ) 0: ) ) ",
    ),
    ("finger", "C set\r\n|S Login: set\r\n"),
    ("dict", "S 220 dict.org\r\n|C AUTH a b\r\n|S 531 no\r\n|C INFO x\r\n|S 550 invalid\r\n"),
    (
        "nntp",
        "S 200 ready\r\n|C MODE READER\r\n|S 200 ok\r\n|C TYPE x\r\n|S 500 ?\r\n|C QUIT\r\n|S 205 bye\r\n",
    ),
    (
        "rtsp",
        "C SETUP rtsp://x/y RTSP/1.0\r\nCSeq: 1\r\n\r\n|S RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n|C PING rtsp://x RTSP/1.0\r\n\r\n|S RTSP/1.0 200 OK\r\n\r\n",
    ),
    (
        "freeswitch",
        "S Content-Type: auth/request\n\n|C auth ClueCon\n\n|S Content-Type: command/reply\nReply-Text: +OK accepted\n\n|C exit\n\n",
    ),
    ("a list of numbers", "C 1\r\n2\r\n|S :\r\n|C 3\r\n|S *\r\n"),
    ("kafka", "C \0\0\0\x11\0\x12\0\0\0\0\0\x01\0\x07console|S \0\0\0\x06\0\0\0\x01\0\0"),
];

fn dialog(text: &str) -> Vec<(Side, &[u8])> {
    text.split('|')
        .map(|line| match line.split_at(2) {
            ("C ", said) => (Side::Client, said.as_bytes()),
            ("S ", said) => (Side::Server, said.as_bytes()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Returns who the observed process can be, and what is known of it.
fn views() -> [(Option<Side>, Side); 4] {
    let sides = [Side::Client, Side::Server];
    [(Some(sides[0]), sides[0]), (Some(sides[1]), sides[1]), (None, sides[0]), (None, sides[1])]
}

#[test]
fn no_line_of_another_protocol_is_a_row() {
    for (name, text) in FOREIGN {
        // A statsd line holds the separator.
        let text = text.replace("|c\n", "\u{1}c\n").replace("|ms\n", "\u{1}ms\n");
        let text = text.replace("|s\n", "\u{1}s\n").replace("|g\n", "\u{1}g\n");
        let said = dialog(&text);
        for (known, side) in views() {
            for joined in 0..said.len() {
                for size in [usize::MAX, 1, 7] {
                    let mut talk = Talk::with(joined == 0, known, side, 7000);
                    for (from, bytes) in &said[joined..] {
                        for piece in bytes.chunks(size) {
                            talk.say(*from, piece);
                        }
                    }
                    // A decoder of its own may read it.
                    let own = name.split(' ').next();
                    let mut rows = talk.end().exchanges();
                    rows.retain(|row| Some(row.protocol) != own);
                    assert!(rows.is_empty(), "{name} {known:?} {side:?} from {joined} by {size}: {rows:#?}");
                }
            }
        }
    }
}

#[test]
fn inline_commands_are_redis_where_the_server_answers_so() {
    for (asked, answered) in [
        ("PING\r\n", "+PONG\r\n"),
        ("set k 0\r\n", "+OK\r\n"),
        ("get k\r\n", "$5\r\nhello\r\n"),
        ("get k\r\n", "$-1\r\n"),
        ("incr n\r\n", ":7\r\n"),
        ("set k 0 0 5\r\n", "-ERR syntax error\r\n"),
        ("AUTH x\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("get k\n", "-NOAUTH Authentication required.\r\n"),
        ("lrange l 0 -1\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("type k\r\n", "+string\r\n"),
        ("hello 3\r\n", "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        ("get note\r\n", "$12\r\n- a\r\n+OK yes\r\n"),
        ("FT.SEARCH i q\r\n", "*1\r\n:0\r\n"),
        ("time\r\n", "*2\r\n$10\r\n1700000000\r\n$1\r\n5\r\n"),
    ] {
        for (known, side) in views() {
            let mut talk = Talk::with(true, known, side, 7000);
            talk.ask(asked.as_bytes()).answer(answered.as_bytes());
            assert_eq!(talk.exchanges().len(), 1, "{asked} {answered} {known:?} {side:?}");
        }
    }
}

#[test]
fn a_server_that_turns_a_client_away_speaks_first() {
    for error in
        ["-ERR max number of clients reached\r\n", "-DENIED Redis is running in protected mode because…\r\n"]
    {
        let mut talk = Talk::new(true);
        talk.answer(error.as_bytes()).end();
        let rows = talk.exchanges();
        let [row] = rows.as_slice() else { panic!("{error}: {rows:?}") };
        assert_eq!((row.operation.as_str(), row.error), ("ERROR", true));
        assert!(row.request.is_none());
    }
}

#[test]
fn a_long_inline_command_is_read_up_to_the_server_s_limit() {
    for length in [10, 4096, 5000, 16_384, 60_000, 65_000] {
        for piece in [65_536, 1448, 100] {
            let line = format!("SET long {}\r\n", "x".repeat(length));
            let mut talk = Talk::new(true);
            for bytes in line.as_bytes().chunks(piece) {
                talk.ask(bytes);
            }
            talk.answer(b"+OK\r\n");
            let rows = talk.exchanges();
            let [row] = rows.as_slice() else { panic!("{length} by {piece}: {rows:?}") };
            assert_eq!(row.operation, "SET long");
            assert_eq!(row.request.as_ref().unwrap().end, line.len() as u64);
        }
    }
}

#[test]
fn an_inline_command_beyond_the_server_s_limit_is_shown_with_its_refusal() {
    let refusal = b"-ERR Protocol error: too big inline request\r\n";
    for (known, side) in views() {
        for length in [65_537, 70_000, 81_919, 200_000] {
            for (size, before) in [(usize::MAX, 0), (16_384, 0), (997, 3), (usize::MAX, 3)] {
                let line = format!("SET long {}", "x".repeat(length - 9));
                let mut talk = Talk::with(true, known, side, 7000);
                for _ in 0..before {
                    talk.ask(b"PING\r\n").answer(b"+PONG\r\n");
                }
                talk.exchanges();
                line.as_bytes().chunks(size).for_each(|part| _ = talk.ask(part));
                refusal.chunks(size).for_each(|part| _ = talk.answer(part));
                let rows = talk.end().exchanges();
                let [row] = rows.as_slice() else { panic!("{length} by {size}, {before}: {rows:?}") };
                assert_eq!(
                    (row.operation.as_str(), row.status.as_str(), row.error),
                    ("SET long", "ERR", true)
                );
                let request = row.request.as_ref().unwrap();
                assert_eq!((request.end - request.start, request.truncated), (length as u64, true));
            }
        }
    }
}

#[test]
fn a_long_inline_command_that_the_server_takes_is_shown() {
    // A server that reads much at once finds the end of a line that is longer than it would wait for.
    for length in [65_530, 66_000, 81_000, 200_000] {
        for size in [usize::MAX, 16_384, 997] {
            if length > 81_920 && size < length {
                continue;
            }
            let line = format!("SET long {}\r\nGET long\r\n", "x".repeat(length));
            let mut talk = Talk::new(true);
            line.as_bytes().chunks(size).for_each(|part| _ = talk.ask(part));
            talk.answer(b"+OK\r\n").answer(b"$1\r\nx\r\n");
            assert_eq!(talk.lines(), ["SET long OK", "GET long OK"], "{length} by {size}");
        }
    }
}

#[test]
fn a_secret_in_a_long_inline_command_is_hidden() {
    let mut talk = Talk::new(true);
    let line = format!("AUTH {}", "hush".repeat(20_000));
    line.as_bytes().chunks(16_384).for_each(|part| _ = talk.ask(part));
    talk.answer(b"-ERR Protocol error: too big inline request\r\n");
    let rows = talk.end().exchanges();
    assert_eq!(rows.len(), 1);
    assert!(!format!("{rows:?}").contains("hush") && rows[0].operation == "AUTH");
}
