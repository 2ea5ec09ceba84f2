//! Clients that ask hundreds of questions at once over one stream.

use super::*;

#[test]
fn hundreds_of_questions_in_one_call_have_their_answers() {
    for port in [53, 20_053] {
        let mut talk = Talk::new(Transport::Tcp, port);
        let mut asked = 0_u16;
        for batch in [1, 300, 17, 400, 400] {
            let (mut queries, mut answers) = (Vec::new(), Vec::new());
            for _ in 0..batch {
                let name = question(&format!("n{asked}.example"), 1);
                queries.extend(framed(&message(asked, 0x0100, &name, [&[], &[], &[]])));
                let records: Vec<Vec<u8>> = (0..asked % 150)
                    .map(|_| b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01".to_vec())
                    .collect();
                answers.extend(framed(&message(asked, 0x8180, &name, [&records, &[], &[]])));
                asked += 1;
            }
            for queries in queries.chunks(50_000) {
                talk.raw(Side::Client, queries);
            }
            for answers in answers.chunks(50_000) {
                talk.raw(Side::Server, answers);
            }
        }
        let outcomes = talk.outcomes();
        // What is lost with many waiting takes those, and none that is asked later.
        (0..9).for_each(|id| talk.ask(&query(id, "lost.example", 1)));
        talk.lose(Side::Server, 4000);
        talk.outcomes();
        for id in 20..23 {
            talk.ask(&query(id, "later.example", 1));
            talk.answer(&message(id, 0x8180, &question("later.example", 1), [&[], &[], &[]]));
        }
        let later = talk.outcomes();
        assert!(
            later.iter().filter(|outcome| matches!(outcome, Outcome::Exchange(_))).count() == 3,
            "{later:?}"
        );
        let paired = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Exchange(exchange) if exchange.response.is_some()));
        assert_eq!(
            paired.count(),
            usize::from(asked),
            "{port}: {:?}",
            outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Exchange(_)))
        );
    }
}
