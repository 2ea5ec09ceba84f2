//! Every kind of reply, in any pieces.

use std::fmt::Write as _;

use super::*;

/// Writes down what it hears.
#[derive(Default)]
struct Notes(String);

impl Listener for Notes {
    fn open(&mut self, depth: usize, kind: u8, elements: u64) {
        let elements = if elements == u64::MAX { "?".to_owned() } else { elements.to_string() };
        write!(self.0, "{depth}{}{elements} ", char::from(kind)).unwrap();
    }

    fn line(&mut self, depth: usize, kind: u8, text: &[u8]) {
        write!(self.0, "{depth}{}{} ", char::from(kind), text.escape_ascii()).unwrap();
    }

    fn bulk(&mut self, depth: usize, kind: u8) {
        write!(self.0, "{depth}{}'", char::from(kind)).unwrap();
    }

    fn part(&mut self, bytes: &[u8]) -> bool {
        self.0 += &bytes.escape_ascii().to_string();
        true
    }

    fn bulk_end(&mut self, whole: bool) {
        self.0 += if whole { "' " } else { "…' " };
    }
}

fn read(bytes: &[u8], size: usize) -> Option<String> {
    let (mut scanner, mut notes) = (RespScanner::default(), Notes::default());
    let (mut held, mut given) = (Vec::new(), 0);
    loop {
        match scanner.scan(&held, &mut notes).ok()? {
            (used, Scanned::Done(0)) => {
                assert_eq!(held.len() - used, 0, "{notes:?}", notes = notes.0);
                return (given == bytes.len()).then_some(notes.0);
            }
            (used, Scanned::More) => drop(held.drain(..used)),
            other => panic!("{other:?}"),
        }
        let next = bytes.len().min(given + size);
        if next == given {
            return None;
        }
        held.extend_from_slice(&bytes[given..next]);
        given = next;
    }
}

#[test]
fn every_value_of_both_versions_is_read_in_pieces_of_any_size() {
    for (bytes, want) in [
        ("+OK\r\n", "0+OK "),
        ("+\r\n", "0+ "),
        ("-ERR x\r\n", "0-ERR x "),
        (":-7\r\n", "0:-7 "),
        ("$5\r\nhello\r\n", "0$'hello' "),
        ("$0\r\n\r\n", "0$'' "),
        ("$-1\r\n", "0_ "),
        ("*-1\r\n", "0_ "),
        ("_\r\n", "0_ "),
        ("#t\r\n", "0#t "),
        (",1.5e3\r\n", "0,1.5e3 "),
        (",-inf\r\n", "0,-inf "),
        (
            "(3492890328409238509324850943850943825024385\r\n",
            "0(3492890328409238509324850943850943825024385 ",
        ),
        ("=7\r\ntxt:abc\r\n", "0='txt:abc' "),
        ("!5\r\nERR x\r\n", "0!'ERR x' "),
        ("*0\r\n", "0*0 "),
        ("*2\r\n:1\r\n*1\r\n+a\r\n", "0*2 1:1 1*1 2+a "),
        ("%1\r\n+a\r\n:1\r\n", "0%1 1+a 1:1 "),
        ("~2\r\n:1\r\n:2\r\n", "0~2 1:1 1:2 "),
        (">2\r\n+invalidate\r\n*1\r\n+a\r\n", "0>2 1+invalidate 1*1 2+a "),
        ("|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n", "0|1 1+ttl 1:5 0$'a' "),
        ("*2\r\n|1\r\n+ttl\r\n:5\r\n:1\r\n:2\r\n", "0*2 1|1 2+ttl 2:5 1:1 1:2 "),
        ("|0\r\n+a\r\n", "0|0 0+a "),
        ("$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;0\r\n", "0$'Hello wor' "),
        ("$?\r\n;0\r\n", "0$'' "),
        ("*?\r\n:1\r\n*?\r\n+a\r\n.\r\n:3\r\n.\r\n", "0*? 1:1 1*? 2+a 1:3 "),
        ("%?\r\n+a\r\n:1\r\n.\r\n", "0%? 1+a 1:1 "),
        ("~?\r\n.\r\n", "0~? "),
        ("*2\r\n*?\r\n.\r\n$?\r\n;1\r\nx\r\n;0\r\n", "0*2 1*? 1$'x' "),
    ] {
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(read(bytes.as_bytes(), size).as_deref(), Some(want), "{bytes} by {size}");
        }
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for bytes in [
        "x\r\n",
        "$x\r\n",
        "*5x\r\n",
        ":1.5\r\n",
        "#x\r\n",
        "_x\r\n",
        "$1\r\nab\r\n",
        "+a\n",
        ".\r\n",
        "*1\r\n.\r\n",
        "$?\r\n4\r\n",
        "$?\r\n;x\r\n",
        ";1\r\n",
        "* OK\r\n",
    ] {
        assert_eq!(
            RespScanner::default().scan(bytes.as_bytes(), &mut Notes::default()),
            Err(NotResp),
            "{bytes}"
        );
    }
}

#[test]
fn deep_nesting_is_followed_up_to_a_limit() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert_eq!(read_values(&nested(MAX_DEPTH)), Ok((1, nested(MAX_DEPTH).len())));
    assert_eq!(read_values(&nested(MAX_DEPTH + 1)), Err(NotResp));
}

#[test]
fn a_line_longer_than_is_held_is_heard_in_pieces() {
    for length in [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE] {
        let line = [b"+".as_slice(), &vec![b'x'; length], b"\r\n"].concat();
        for size in [100, 65_536, line.len()] {
            let heard = read(&line, size).unwrap();
            assert_eq!(heard.matches('x').count(), length, "{length} by {size}");
        }
    }
    let number = [b":".as_slice(), &vec![b'1'; MAX_LINE + 1]].concat();
    assert_eq!(RespScanner::default().scan(&number, &mut Deaf), Err(NotResp));
}

/// Reads `head`, then passes so many unseen bytes, then reads `tail`.
fn read_over(head: &[u8], unseen: u64, tail: &[u8]) -> (u64, Result<(usize, Scanned), NotResp>, String) {
    let (mut scanner, mut notes) = (RespScanner::default(), Notes::default());
    let (used, _) = scanner.scan(head, &mut notes).unwrap();
    assert_eq!(used, head.len());
    let taken = scanner.unseen(unseen);
    let read = scanner.scan(tail, &mut notes);
    (taken, read, notes.0)
}

#[test]
fn a_bulk_whose_body_and_end_were_not_seen_is_a_whole_element() {
    // Only the body, half of its line end, and all of it.
    for (unseen, tail) in [(1000, "\r\n:1\r\n"), (1001, "\n:1\r\n"), (1002, ":1\r\n")] {
        let (taken, read, notes) = read_over(b"*2\r\n$1000\r\n", unseen, tail.as_bytes());
        assert_eq!((taken, read), (unseen, Ok((tail.len(), Scanned::Done(0)))));
        assert_eq!(notes, "0*2 1$'…' 1:1 ");
    }
    // More than the element: what follows it is lost.
    let (taken, ..) = read_over(b"*2\r\n$1000\r\n", 5000, b"");
    assert_eq!(taken, 1002);
    // The last element ends in unseen bytes.
    let (taken, read, _) = read_over(b"*1\r\n$1000\r\n", 1002, b"");
    assert_eq!((taken, read), (1002, Ok((0, Scanned::Done(0)))));
    // Nothing but a body can be missed.
    for head in ["*2\r\n", "*2\r\n:1\r\n", "$?\r\n"] {
        assert_eq!(read_over(head.as_bytes(), 5, b"").0, 0, "{head}");
    }
    let (taken, read, notes) = read_over(b"$?\r\n;1000\r\n", 1002, b";1\r\nx\r\n;0\r\n");
    assert_eq!(taken, 1002);
    assert_eq!(
        (read, notes.as_str()),
        (Ok((11, Scanned::Done(0))), "0$'…' "),
        "what follows a hole is of no use"
    );
}
