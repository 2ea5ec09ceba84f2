//! Zone transfers: one exchange, whatever its number of messages.

use super::*;

const AXFR: u16 = 252;
const IXFR: u16 = 251;
const SOA: u16 = 6;
const A: u16 = 1;

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 60, 60, 600, 60].into_iter().flat_map(u32::to_be_bytes);
    record("zone.test", SOA, 1, &[name("ns.zone.test"), name("root.zone.test"), numbers.collect()].concat())
}

fn host(number: u8) -> Vec<u8> {
    record(&format!("host{number}.zone.test"), A, 1, &[192, 0, 2, number])
}

/// Writes a message of a transfer; the first one repeats the question.
fn part(id: u16, kind: Option<u16>, records: &[Vec<u8>]) -> Vec<u8> {
    let question = kind.map(|kind| question("zone.test", kind)).unwrap_or_default();
    message(id, 0x8400, &question, [records, &[], &[]])
}

/// Asks for what changed since a serial number.
fn changes_since(id: u16, serial: u32) -> Vec<u8> {
    message(id, 0, &question("zone.test", IXFR), [&[], &[soa(serial)], &[]])
}

/// Returns operation, status, bytes of the response, and whether it is cut.
fn summary(exchange: &Exchange) -> (String, String, Option<u64>, bool) {
    let response = exchange.response.as_ref();
    let bytes = response.map(|response| response.end - response.start);
    let cut = response.is_some_and(|response| response.truncated);
    (exchange.operation.clone(), exchange.status.clone(), bytes, cut)
}

fn length(parts: &[Vec<u8>]) -> u64 {
    parts.iter().map(|part| u64::try_from(part.len() + 2).unwrap()).sum()
}

/// Plays a transfer and a query after it on one connection; all messages must be one exchange.
fn is_one_exchange(query: &[u8], operation: &str, parts: &[Vec<u8>]) -> Exchange {
    let mut talk = Talk::new(Transport::Tcp, 53);
    talk.ask(query);
    for part in parts {
        assert!(talk.outcomes().is_empty(), "{operation} ends early");
        talk.answer(part);
    }
    assert_eq!(talk.outcomes().len(), 1, "{operation} does not end with its last message");

    let mut talk = Talk::new(Transport::Tcp, 53);
    talk.ask(query);
    for part in parts {
        talk.answer(part);
    }
    talk.ask(&super::query(99, "after.test", A));
    talk.answer(&message(99, 0x8180, &question("after.test", A), [&[], &[], &[]]));
    let mut exchanges = talk.exchanges();
    assert_eq!(exchanges.len(), 2, "{exchanges:?}");
    assert_eq!(summary(&exchanges[1]), ("A after.test".into(), "NOERROR".into(), Some(30), false));
    let transfer = exchanges.remove(0);
    assert_eq!(summary(&transfer), (operation.into(), "NOERROR".into(), Some(length(parts)), false));
    transfer
}

#[test]
fn a_zone_is_one_exchange_however_it_is_cut_into_messages() {
    let records: Vec<Vec<u8>> = [vec![soa(7)], (1..=6).map(host).collect::<Vec<_>>(), vec![soa(7)]].concat();
    for size in 1..=records.len() {
        let parts: Vec<Vec<u8>> = records
            .chunks(size)
            .enumerate()
            .map(|(index, records)| part(5, (index == 0).then_some(AXFR), records))
            .collect();
        let transfer = is_one_exchange(
            &message(5, 0, &question("zone.test", AXFR), [&[], &[], &[]]),
            "AXFR zone.test",
            &parts,
        );
        let text = response(&transfer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 10, "{text}");
        assert_eq!(lines[1], "AXFR zone.test");
        assert_eq!(lines[2], "answer zone.test 60 SOA ns.zone.test root.zone.test 7 60 60 600 60");
        assert_eq!(lines[8], "answer host6.zone.test 60 A 192.0.2.6");
        assert_eq!(lines[2], lines[9]);
    }
}

#[test]
fn changes_end_where_the_first_serial_number_begins_a_part_once_more() {
    let query = changes_since(6, 1);
    // From 1 over 2 to 3: gone, come, gone, come.
    let records =
        [soa(3), soa(1), host(1), soa(2), host(2), soa(2), host(2), host(3), soa(3), host(4), soa(3)];
    for size in [1, 2, 3, 11] {
        let parts: Vec<Vec<u8>> = records.chunks(size).map(|records| part(6, Some(IXFR), records)).collect();
        is_one_exchange(&query, "IXFR zone.test", &parts);
    }
    // A whole zone instead, and an empty one.
    is_one_exchange(
        &query,
        "IXFR zone.test",
        &[part(6, Some(IXFR), &[soa(3), host(1)]), part(6, None, &[soa(3)])],
    );
    is_one_exchange(&query, "IXFR zone.test", &[part(6, Some(IXFR), &[soa(3), soa(3)])]);
    // Nothing new, also where the numbers have wrapped around.
    is_one_exchange(&query, "IXFR zone.test", &[part(6, Some(IXFR), &[soa(1)])]);
    is_one_exchange(&changes_since(6, 2), "IXFR zone.test", &[part(6, Some(IXFR), &[soa(u32::MAX)])]);
    // A later number is the first of several messages.
    is_one_exchange(
        &changes_since(6, u32::MAX),
        "IXFR zone.test",
        &[part(6, Some(IXFR), &[soa(2)]), part(6, None, &[host(1)]), part(6, None, &[soa(2)])],
    );
}

#[test]
fn changes_in_a_datagram_are_one_message() {
    let mut talk = Talk::new(Transport::Udp, 53);
    for id in [1, 2] {
        talk.ask(&changes_since(id, 1));
        talk.answer(&part(id, Some(IXFR), &[soa(3)]));
    }
    assert_eq!(talk.exchanges().len(), 2);
}

#[test]
fn an_error_ends_a_transfer_at_once() {
    let query = message(5, 0, &question("zone.test", AXFR), [&[], &[], &[]]);
    let refusal = message(5, 0x8005, &question("zone.test", AXFR), [&[], &[], &[]]);
    let failure = header(5, 0x8002, [0; 4]);
    let begin = part(5, Some(AXFR), &[soa(7), host(1)]);
    for (answers, status) in [
        (vec![refusal], "REFUSED"),
        (vec![failure.clone()], "SERVFAIL"),
        (vec![begin, failure], "SERVFAIL"),
        // No transfer at all.
        (vec![part(5, Some(AXFR), &[])], "NOERROR"),
        (vec![part(5, Some(AXFR), &[host(1)])], "NOERROR"),
    ] {
        let mut talk = Talk::new(Transport::Tcp, 53);
        talk.ask(&query);
        for answer in &answers {
            talk.answer(answer);
        }
        let outcomes = talk.outcomes();
        let [Outcome::Exchange(exchange)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!(
            summary(exchange),
            ("AXFR zone.test".into(), status.into(), Some(length(&answers)), false)
        );
        assert_eq!(exchange.error, status != "NOERROR");
    }
}

#[test]
fn a_transfer_cut_by_the_end_of_its_connection_is_truncated() {
    let parts = [part(5, Some(AXFR), &[soa(7), host(1)]), part(5, None, &[host(2)])];
    for rest in [0, 1, 2, 9, 30] {
        let mut talk = Talk::new(Transport::Tcp, 53);
        talk.ask(&message(5, 0, &question("zone.test", AXFR), [&[], &[], &[]]));
        for part in &parts {
            talk.answer(part);
        }
        talk.raw(Side::Server, &framed(&part(5, None, &[host(3), soa(7)]))[..rest]);
        let exchanges = talk.exchanges();
        let bytes = length(&parts) + u64::try_from(rest).unwrap();
        let [exchange] = exchanges.as_slice() else { panic!("{exchanges:?}") };
        assert_eq!(summary(exchange), ("AXFR zone.test".into(), "NOERROR".into(), Some(bytes), true));
    }
}

#[test]
fn text_of_a_large_transfer_stays_under_the_limit() {
    let mut talk = Talk::new(Transport::Tcp, 53);
    talk.ask(&message(5, 0, &question("zone.test", AXFR), [&[], &[], &[]]));
    let middle: Vec<Vec<u8>> = (0..250).map(host).collect();
    let parts: Vec<Vec<u8>> = std::iter::once(part(5, Some(AXFR), &[soa(7)]))
        .chain((0..20).map(|_| part(5, None, &middle)))
        .chain(std::iter::once(part(5, None, &[soa(7)])))
        .collect();
    for part in &parts {
        talk.answer(part);
    }
    let exchanges = talk.exchanges();
    let [exchange] = exchanges.as_slice() else { panic!("{exchanges:?}") };
    assert_eq!(summary(exchange), ("AXFR zone.test".into(), "NOERROR".into(), Some(length(&parts)), true));
    assert_eq!(exchange.response.as_ref().unwrap().payload.len(), PAYLOAD);
}

#[test]
fn more_transfers_than_are_followed_are_answered_message_by_message() {
    let count = u16::try_from(crate::dns::MAX_TRANSFERS).unwrap();
    let mut talk = Talk::new(Transport::Tcp, 53);
    for id in 0..=count {
        talk.ask(&message(id, 0, &question("zone.test", AXFR), [&[], &[], &[]]));
    }
    for id in 0..=count {
        talk.answer(&part(id, Some(AXFR), &[soa(7), host(1)]));
        let outcomes = talk.outcomes();
        assert_eq!(outcomes.len(), usize::from(id == count), "{outcomes:?}");
        talk.answer(&part(id, None, &[host(2), soa(7)]));
        assert_eq!(talk.outcomes().len(), 1);
    }
}

#[test]
fn the_rest_of_a_transfer_that_was_not_seen_from_its_start_counts_once() {
    let mut talk = Talk::joined(Transport::Tcp, 53, false);
    for _ in 0..5 {
        talk.answer(&part(5, None, &[host(1), host(2), host(3)]));
    }
    talk.answer(&part(5, None, &[host(4), soa(7)]));
    talk.ask(&query(99, "after.test", A));
    talk.answer(&message(99, 0x8180, &question("after.test", A), [&[], &[], &[]]));
    let outcomes = talk.end();
    let unpaired = outcomes.iter().filter(|outcome| **outcome == Outcome::Unpaired).count();
    assert!(
        matches!(&outcomes[outcomes.len() - 1], Outcome::Exchange(last) if last.operation == "A after.test")
    );
    assert_eq!((unpaired, outcomes.len()), (1, 2), "{outcomes:?}");
}

#[test]
fn a_transfer_with_a_hole_counts_once_and_what_follows_is_read() {
    let mut talk = Talk::new(Transport::Tcp, 53);
    talk.ask(&message(5, 0, &question("zone.test", AXFR), [&[], &[], &[]]));
    talk.answer(&part(5, Some(AXFR), &[soa(7), host(1)]));
    talk.lose(Side::Server, 500);
    talk.answer(&part(5, None, &[host(2), host(3)]));
    talk.answer(&part(5, None, &[host(4), soa(7)]));
    talk.ask(&query(99, "after.test", A));
    talk.answer(&message(99, 0x8180, &question("after.test", A), [&[], &[], &[]]));
    let outcomes = talk.end();
    let [Outcome::Gap, Outcome::Exchange(last)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(last.operation, "A after.test");
}
