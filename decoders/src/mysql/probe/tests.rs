//! What the first bytes of a side tell.

use super::*;

fn judged(sender: Side, head: &[u8], from_start: bool, spoke_first: bool) -> Probe {
    judge(&Evidence { sender, head, other: &[], from_start, spoke_first, port: 0, usual_port: false })
}

/// Judges what a client says on a connection that was open before.
fn late(head: &[u8]) -> Probe {
    judged(Side::Client, head, false, false)
}

/// The first message of a client of the X protocol, and what other clients that speak first begin with.
const STRANGERS: [&[u8]; 8] = [
    b"\x01\0\0\0\x01",
    b"\x01\0\0\0\x0e",
    b"\x05\0\0\0\x02shop",
    b"\x09\0\0\0\x03select 1",
    b"\x05\0\0\0\x19\x01\0\0\0",
    b"\x01\0\0\0\x09",
    b"\x01\0\0\0\x1f",
    b"GET / HTTP/1.1\r\n",
];

#[test]
fn a_client_never_speaks_first() {
    for head in STRANGERS {
        for length in 1..=head.len() {
            assert_eq!(judged(Side::Client, &head[..length], true, true), Probe::No, "{head:?}");
        }
        // Nor is a server asked before its greeting.
        assert_eq!(judged(Side::Server, head, true, false), Probe::No, "{head:?}");
    }
}

#[test]
fn short_commands_need_the_other_side() {
    for head in [
        b"\x01\0\0\0\x01".as_slice(),
        b"\x01\0\0\0\x0e",
        b"\x01\0\0\0\x09",
        b"\x01\0\0\0\x1f",
        b"\x05\0\0\0\x02shop",
        b"\x05\0\0\0\x19\x01\0\0\0",
        b"\x05\0\0\0\x19\x01\0\0\0\x01\0\0\0\x01",
        b"\x0a\0\0\0\x03hello, you",
    ] {
        assert_eq!(late(head), Probe::Maybe, "{head:?}");
    }
    // What follows is no command.
    assert_eq!(late(b"\x01\0\0\0\x0e\x01\0\0\x05\x0e"), Probe::No);
    assert_eq!(late(b"\x01\0\0\0\x0ehello"), Probe::No);
    for head in [b"\x02\0\0\0\x01x".as_slice(), b"\x05\0\0\0\x0eshop", b"\0\0\0\0", b"\x01\0\0\0\x7f"] {
        assert_eq!(late(head), Probe::No, "{head:?}");
    }
}

#[test]
fn statements_and_executions_need_nothing_else() {
    for head in [
        b"\x09\0\0\0\x03select 1".as_slice(),
        b"\x0b\0\0\0\x03\0\x01select 1",
        b"\x17\0\0\0\x03/* a */ -- b\n(select 1)",
        b"\x40\x42\x0f\0\x03INSERT INTO notes VALUES (",
        b"\x0a\0\0\0\x16use `depot",
        b"\x0a\0\0\0\x17\x01\0\0\0\0\x01\0\0\0",
        b"\x0b\0\0\0\x17\xff\xff\xff\xff\x08\x01\0\0\0\0",
    ] {
        assert_eq!(late(head), Probe::Yes, "{head:?}");
        for length in 1..head.len() {
            assert_ne!(late(&head[..length]), Probe::No, "{head:?} at {length}");
        }
    }
    for head in [b"\x0a\0\0\0\x17\x01\0\0\0\x70\x01\0\0\0".as_slice(), b"\x05\0\0\0\x03\x01\x02\x03\x04"] {
        assert_eq!(late(head), Probe::No, "{head:?}");
    }
}

#[test]
fn an_answer_is_told_by_its_columns_or_its_error() {
    let server = |head: &[u8]| judged(Side::Server, head, false, false);
    for (head, want) in [
        (b"\x07\0\0\x01\0\0\0\x02\0\0\0".as_slice(), Probe::Maybe),
        (b"\x01\0\0\x01\x02\x1f\0\0\x02\x03def\x04shop", Probe::Yes),
        (b"\x02\0\0\x01\x02\x01\x1f\0\0\x02\x03def\x04shop", Probe::Yes),
        (b"\x01\0\0\x01\x02", Probe::NeedMore),
        (b"\x01\0\0\x01\x02\x1f\0\0\x02\x03deg", Probe::No),
        (b"\x01\0\0\x01\x02\x1f\0\0\x03\x03def", Probe::No),
        (b"\x0c\0\0\x01\0\x01\0\0\0\0\0\x01\0\0\0\0", Probe::Maybe),
        (b"\x0c\0\0\x01\0\x01\0\0\0\0\0\x01\0\0\0\0\x17\0\0\x02\x03def", Probe::Yes),
        (b"\x11\0\0\x01\xff\x28\x04#42000no syntax", Probe::Yes),
        (b"\x0b\0\0\x01\xff\x28\x04no syntax", Probe::No),
        (b"\x07\0\0\x05\0\0\0\x02\0\0\0", Probe::No),
        (b"\x02\0\0\x01\xfbf", Probe::Maybe),
        (b"\x05\0\0\x01\xfe\0\0\x02\0", Probe::Maybe),
        (b"\x0e\0\0\x01\xfecaching_sha2\0", Probe::Maybe),
        (b"\x05\0\0\x01\xfe\x01\x02\x03\x04", Probe::Maybe),
        (b"\x06\0\0\x01\xfe\x01\x02\x03\x04\x05", Probe::No),
        (b"\x0a\0\0\x01Uptime: 29", Probe::Maybe),
        (b"\x0a\0\0\x01Unlimited!", Probe::No),
        (b"\x17\0\0\x01\x03def\x04shop", Probe::Yes),
    ] {
        assert_eq!(server(head), want, "{head:?}");
    }
}

#[test]
fn rows_that_were_fetched_need_their_command() {
    let rows = b"\x03\0\0\x01\0\0\x01\x03\0\0\x02\0\0\x02\x03\0\0\x03\0\0\x03\x05\0\0\x04\xfe\0\0\x02\0";
    let judged = |other: &[u8]| {
        let sender = Side::Server;
        judge(&Evidence {
            sender,
            head: rows,
            other,
            from_start: false,
            spoke_first: false,
            port: 0,
            usual_port: false,
        })
    };
    assert_eq!(judged(b"\x09\0\0\0\x1c\x01\0\0\0\x03\0\0\0"), Probe::Maybe);
    assert_eq!(judged(b"\x01\0\0\0\x0e"), Probe::No);
}
