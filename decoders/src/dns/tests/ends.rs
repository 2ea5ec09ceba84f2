//! Messages that were cut, and answers that never came.

use super::*;

const A: u16 = 1;

fn long_answer() -> Vec<u8> {
    let records: Vec<Vec<u8>> = (0..20).map(|last| record("one.test", A, 1, &[192, 0, 2, last])).collect();
    message(7, 0x8180, &question("one.test", A), [&records, &[], &[]])
}

#[test]
fn an_answer_cut_by_the_end_is_truncated_and_as_long_as_what_moved() {
    let whole = framed(&long_answer());
    for cut in [30, 60, 100, whole.len() - 1] {
        for step in [1, 7, cut] {
            let mut talk = Talk::new(Transport::Tcp, 53);
            talk.ask(&query(7, "one.test", A));
            whole[..cut].chunks(step).for_each(|chunk| talk.raw(Side::Server, chunk));
            let exchanges = talk.exchanges();
            let [exchange] = exchanges.as_slice() else { panic!("{exchanges:?}") };
            let response = exchange.response.as_ref().unwrap();
            assert_eq!((response.end, response.truncated), (u64::try_from(cut).unwrap(), true));
            assert_eq!((&*exchange.status, exchange.error), ("NOERROR", false));
        }
    }
}

#[test]
fn a_query_cut_by_the_end_is_truncated_and_as_long_as_what_moved() {
    let first = framed(&query(7, "one.test", A));
    let records: Vec<Vec<u8>> = (0..20).map(|last| record("two.test", A, 1, &[192, 0, 2, last])).collect();
    let update = framed(&message(8, 5 << 11, &question("zone.test", 6), [&[], &records, &[]]));
    for cut in [30, 100, update.len() - 1] {
        for step in [1, 7, cut] {
            let mut talk = Talk::new(Transport::Tcp, 53);
            talk.raw(Side::Client, &first);
            talk.answer(&long_answer());
            update[..cut].chunks(step).for_each(|chunk| talk.raw(Side::Client, chunk));
            let exchanges = talk.exchanges();
            let [answered, cut_off] = exchanges.as_slice() else { panic!("{exchanges:?}") };
            assert!(!answered.error && !answered.request.as_ref().unwrap().truncated);
            let request = cut_off.request.as_ref().unwrap();
            assert_eq!(cut_off.operation, "UPDATE zone.test");
            assert_eq!((request.end - request.start, request.truncated), (u64::try_from(cut).unwrap(), true));
            assert!(cut_off.error && cut_off.response.is_none());
        }
    }
}

#[test]
fn a_datagram_cut_by_the_capture_is_truncated() {
    let answer = long_answer();
    let mut talk = Talk::new(Transport::Udp, 53);
    talk.ask(&query(7, "one.test", A));
    talk.answer(&answer[..100]);
    let exchanges = talk.exchanges();
    let response = exchanges[0].response.as_ref().unwrap();
    assert!(response.truncated);
    assert_eq!(text(&response.payload).matches("answer ").count(), 3);
}
