//! Messages that are rare and valid.

use super::*;

const A: u16 = 1;

const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// Plays one query and its answer on a connection of its own, at a port that nothing is known of.
fn exchange(transport: Transport, query: &[u8], answer: &[u8]) -> Exchange {
    let mut talk = Talk::new(transport, 5300);
    talk.ask(query);
    talk.answer(answer);
    let mut exchanges = talk.exchanges();
    assert_eq!(exchanges.len(), 1, "{exchanges:?}");
    exchanges.remove(0)
}

fn address() -> Vec<u8> {
    record("one.test", A, 1, &[192, 0, 2, 7])
}

#[test]
fn queries_may_set_every_bit() {
    let bits = [
        (0x0400, " aa"),
        (0x0200, " tc"),
        (0x0100, " rd"),
        (0x0080, " ra"),
        (0x0040, " z"),
        (0x0020, " ad"),
        (0x0010, " cd"),
        (0x0005, " REFUSED"),
        (0x07f0, " aa tc rd ra z ad cd"),
    ];
    for transport in TRANSPORTS {
        for (flags, shown) in bits {
            let query = message(7, flags, &question("one.test", A), [&[], &[], &[]]);
            let answer =
                message(7, 0x8000 | flags & !0xf, &question("one.test", A), [&[address()], &[], &[]]);
            let exchange = exchange(transport, &query, &answer);
            assert_eq!((&*exchange.operation, &*exchange.status), ("A one.test", "NOERROR"));
            assert_eq!(request(&exchange), format!("id 7{shown}\nA one.test\n"));
        }
    }
}

#[test]
fn queries_may_carry_records_in_every_section() {
    let answer = message(7, 0x8180, &question("one.test", A), [&[address()], &[], &[]]);
    let many: Vec<Vec<u8>> = (0..5).map(|_| address()).collect();
    for transport in TRANSPORTS {
        for sections in [[&many[..], &[], &[]], [&[], &many[..], &[]], [&[], &[], &many[..]]] {
            let query = message(7, 0x0100, &question("one.test", A), sections);
            let exchange = exchange(transport, &query, &answer);
            assert_eq!(request(&exchange).matches("one.test 60 A 192.0.2.7").count(), 5);
        }
    }
}

#[test]
fn trailing_bytes_are_shown_and_do_not_harm() {
    let mut query = query(7, "one.test", A);
    query.extend_from_slice(&[0xde, 0xad, 0]);
    let mut answer = message(7, 0x8180, &question("one.test", A), [&[address()], &[], &[]]);
    answer.push(0);
    for transport in TRANSPORTS {
        let exchange = exchange(transport, &query, &answer);
        assert_eq!(request(&exchange), "id 7 rd\nA one.test\ntrailing \\# 3 dead00\n");
        assert!(response(&exchange).ends_with("trailing \\# 1 00\n"));
    }
}

#[test]
fn answers_may_be_a_header_or_repeat_no_question() {
    let bare = message(7, 0x8180, &[], [&[address()], &[], &[]]);
    for transport in TRANSPORTS {
        for (rcode, status) in
            [(1, "FORMERR"), (2, "SERVFAIL"), (4, "NOTIMP"), (5, "REFUSED"), (15, "RCODE15")]
        {
            let answer = header(7, 0x8000 | rcode, [0; 4]);
            let exchange = exchange(transport, &query(7, "one.test", A), &answer);
            assert_eq!((&*exchange.status, exchange.error), (status, true));
            assert_eq!(response(&exchange), format!("id 7 {status}\n"));
        }
        let exchange = exchange(transport, &query(7, "one.test", A), &bare);
        assert_eq!((&*exchange.status, exchange.error), ("NOERROR", false));
    }
}

#[test]
fn queries_without_a_question_or_with_two_are_answered() {
    let refusal = header(8, 0x8001, [0; 4]);
    let two = [header(8, 0x0100, [2, 0, 0, 0]), question("one.test", A), question("two.test", 28)].concat();
    for transport in TRANSPORTS {
        let mut talk = Talk::new(transport, 53);
        talk.ask(&query(7, "one.test", A));
        talk.answer(&message(7, 0x8180, &question("one.test", A), [&[address()], &[], &[]]));
        talk.ask(&header(8, 0, [0; 4]));
        talk.answer(&refusal);
        talk.ask(&two);
        talk.answer(&refusal);
        let exchanges = talk.exchanges();
        let shown: Vec<_> =
            exchanges.iter().map(|exchange| (&*exchange.operation, &*exchange.status)).collect();
        assert_eq!(shown, [("A one.test", "NOERROR"), ("QUERY", "FORMERR"), ("A one.test", "FORMERR")]);
        assert_eq!(request(&exchanges[2]), "id 8 rd\nA one.test\nAAAA two.test\n");
    }
}

#[test]
fn a_connection_may_begin_with_a_header_alone_at_the_usual_port() {
    for transport in TRANSPORTS {
        let mut talk = Talk::new(transport, 53);
        talk.ask(&header(8, 0, [0; 4]));
        talk.answer(&header(8, 0x8001, [0; 4]));
        let exchanges = talk.exchanges();
        assert_eq!((&*exchanges[0].operation, &*exchanges[0].status), ("QUERY", "FORMERR"));
    }
}

#[test]
fn an_inverse_query_has_an_answer_instead_of_a_question() {
    let query = message(7, 1 << 11, &[], [&[address()], &[], &[]]);
    for transport in TRANSPORTS {
        for answer in [header(7, 0x8804, [0; 4]), message(7, 0x8804, &[], [&[address()], &[], &[]])] {
            let exchange = exchange(transport, &query, &answer);
            assert_eq!((&*exchange.operation, &*exchange.status), ("IQUERY", "NOTIMP"));
            assert_eq!(request(&exchange), "id 7 IQUERY\nanswer one.test 60 A 192.0.2.7\n");
        }
    }
}

#[test]
fn an_answer_with_wrong_counts_is_one_where_it_was_asked_for() {
    let wrong = [header(7, 0x8180, [1, 9000, 9000, 9000]), question("one.test", A), address()].concat();
    for transport in TRANSPORTS {
        let exchange = exchange(transport, &query(7, "one.test", A), &wrong);
        assert_eq!((&*exchange.operation, &*exchange.status), ("A one.test", "NOERROR"));
        assert!(exchange.response.as_ref().unwrap().truncated);
        assert!(response(&exchange).ends_with("answer one.test 60 A 192.0.2.7\n"));
    }
}

#[test]
fn every_opcode_is_named() {
    let zone = question("zone.test", 6);
    for transport in TRANSPORTS {
        for (opcode, operation) in [
            (1, "IQUERY zone.test"),
            (2, "STATUS zone.test"),
            (4, "NOTIFY zone.test"),
            (5, "UPDATE zone.test"),
        ] {
            let query = message(7, opcode << 11, &zone, [&[], &[], &[]]);
            let answer = header(7, 0x8004 | opcode << 11, [0; 4]);
            let exchange = exchange(transport, &query, &answer);
            assert_eq!((&*exchange.operation, &*exchange.target), (operation, "zone.test"));
            assert_eq!(exchange.status, "NOTIMP");
            let typed = exchange.attributes.iter().any(|(name, value)| *name == "type" && value == "SOA");
            assert_eq!(typed, opcode != 5);
        }
        let mut talk = Talk::new(transport, 53);
        talk.ask(&query(7, "one.test", A));
        talk.ask(&message(8, 9 << 11, &zone, [&[], &[], &[]]));
        talk.answer(&header(8, 0x8004 | 9 << 11, [0; 4]));
        assert_eq!(talk.exchanges()[0].operation, "OPCODE9 zone.test");
    }
}

#[test]
fn stateful_operations_are_named_and_go_both_ways() {
    const STATEFUL: u16 = 6 << 11;
    let keepalive = [0, 1, 0, 8, 0, 0, 58, 152, 0, 0, 58, 152];
    let mut talk = Talk::new(Transport::Tcp, 53);
    talk.ask(&[header(7, STATEFUL, [0; 4]), keepalive.to_vec()].concat());
    talk.answer(&[header(7, 0x8000 | STATEFUL, [0; 4]), keepalive.to_vec()].concat());
    talk.answer(&[header(0, STATEFUL, [0; 4]), vec![0, 0x41, 0, 2, 1, 2]].concat());
    talk.ask(&[header(0, STATEFUL, [0; 4]), vec![0, 0x42, 0, 2, 0, 9]].concat());
    let exchanges = talk.exchanges();
    let shown: Vec<_> = exchanges
        .iter()
        .map(|exchange| (&*exchange.operation, exchange.request.is_some(), exchange.response.is_some()))
        .collect();
    assert_eq!(
        shown,
        [("DSO KEEPALIVE", true, true), ("DSO PUSH", false, true), ("DSO UNSUBSCRIBE", true, false)]
    );
    assert_eq!(request(&exchanges[0]), "id 7 DSO\nKEEPALIVE \\# 8 00003a9800003a98\n");
    assert!(exchanges.iter().all(|exchange| !exchange.error));
}

#[test]
fn an_update_says_what_it_needs_and_changes() {
    let add = record("a.zone.test", A, 1, &[192, 0, 2, 7]);
    let empty = |host, kind, class| record(host, kind, class, &[]);
    let needs = [
        empty("a.zone.test", 255, 254),
        empty("b.zone.test", 255, 255),
        empty("b.zone.test", 15, 254),
        empty("b.zone.test", A, 255),
        add.clone(),
    ];
    let changes = [
        add,
        empty("b.zone.test", 255, 255),
        empty("c.zone.test", 16, 255),
        record("d.zone.test", 16, 254, b"\x02hi"),
        record("e.zone.test", 731, 1, &[1, 2]),
    ];
    let update = message(7, 5 << 11, &question("zone.test", 6), [&needs, &changes, &[]]);
    let exchange = exchange(Transport::Udp, &update, &header(7, 0x8006 | 5 << 11, [0; 4]));
    assert_eq!((&*exchange.operation, &*exchange.status), ("UPDATE zone.test", "YXDOMAIN"));
    let lines = [
        "id 7 UPDATE",
        "zone zone.test",
        "prereq nxdomain a.zone.test",
        "prereq yxdomain b.zone.test",
        "prereq nxrrset b.zone.test MX",
        "prereq yxrrset b.zone.test A",
        "prereq yxrrset a.zone.test A 192.0.2.7",
        "update add a.zone.test 60 A 192.0.2.7",
        "update delete b.zone.test",
        "update delete c.zone.test TXT",
        "update delete d.zone.test TXT \"hi\"",
        "update add e.zone.test 60 TYPE731 \\# 2 0102",
    ];
    assert_eq!(request(&exchange).lines().collect::<Vec<_>>(), lines);
}
