//! Where reading goes on behind a loss.

use super::*;

#[test]
fn the_start_of_a_command_is_told_at_every_length() {
    let whole = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n";
    for length in 0..13 {
        assert_eq!(start(&whole[..length]), Start::Partial, "{length}");
    }
    for length in 13..whole.len() {
        assert_eq!(start(&whole[..length]), Start::Command(b"SET"), "{length}");
    }
    for bytes in [
        "* OK\r\n",
        "*x",
        "*0\r\n",
        "*01\r\n",
        "*2\r\n:1\r\n",
        "*2\n",
        "*2\r\n$3\r\nS T\r\n",
        "*2\r\n$3\r\nSETX",
        "*2\r\n$99\r\n",
        "*2\r\n$3\r\n\x01",
        "*9999999\r\n",
        "PING\r\n",
    ] {
        assert_eq!(start(bytes.as_bytes()), Start::Not, "{bytes}");
    }
}

#[test]
fn a_candidate_is_read_on() {
    for (bytes, want) in [
        ("x\r\n*1\r\n$4\r\nPING\r\n", Some(3)),
        ("x\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", Some(3)),
        ("*2\r\n$3\r\nGET\r\n$9\r\nhalf", Some(0)),
        // Text in a value, behind which the value goes on.
        ("x\r\n*1\r\n$4\r\nPING\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n", Some(19)),
        ("*2\r\n$3\r\nGET\r\n:1\r\n", None),
        ("*2\r\n$3\r\nGET\r\n$1\r\nab\r\n", None),
        // A list in an answer.
        ("*2\r\n$5\r\napple\r\n$9\r\nhalf", None),
        ("PING\r\nGET a\r\n", None),
    ] {
        assert_eq!(command(bytes.as_bytes(), false), want, "{bytes}");
    }
    assert_eq!(command(b"PING\r\nGET a\r\n", true), Some(6), "the first line may be cut");
}

#[test]
fn a_push_is_told_at_every_length() {
    for push in ["*3\r\n$7\r\nmessage\r\n", ">2\r\n$10\r\ninvalidate\r\n", "+1700000000.123456 ["] {
        for length in 0..push.len() {
            let begun = begins_push(&push.as_bytes()[..length]);
            assert_eq!(begun, Found::Perhaps(0), "{}", &push[..length]);
        }
        assert_eq!(begins_push(push.as_bytes()), Found::At(0));
    }
    for other in
        ["+OK\r\n", "*3\r\n$3\r\nfoo\r\n", "$7\r\nmessage\r\n", "*2\r\n$7\r\nmessage\r\n", ":1\r\n", ">x"]
    {
        assert_eq!(begins_push(other.as_bytes()), Found::No, "{other}");
    }
}
