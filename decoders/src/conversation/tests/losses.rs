//! Clients that ask ahead or take turns, and calls that are lost anywhere: no response is given to a request it is not for.

use proptest::prelude::*;

use super::*;

/// What one side said, and whether it was lost.
#[derive(Clone, Copy, Debug)]
struct Said {
    direction: Direction,
    number: usize,
    lost: bool,
}

/// Plays a client that has up to `window` requests open. `dice` decides who speaks, `losses` which calls are lost.
fn play(window: usize, dice: &[bool], losses: &[bool]) -> Vec<Said> {
    let (mut asked, mut answered, mut all) = (0, 0, Vec::new());
    for (client, lost) in dice.iter().zip(losses) {
        let open = asked - answered;
        let client = open == 0 || (*client && open < window);
        let (direction, number) =
            if client { (Direction::Out, &mut asked) } else { (Direction::In, &mut answered) };
        all.push(Said { direction, number: *number, lost: *lost });
        *number += 1;
    }
    all
}

/// Writes a conversation down: `0>` asked, `0<` answered, in brackets what was lost.
fn tell(said: &[Said]) -> String {
    said.iter()
        .map(|Said { direction, number, lost }| {
            let mark = if *direction == Direction::Out { '>' } else { '<' };
            if *lost { format!("({number}{mark}) ") } else { format!("{number}{mark} ") }
        })
        .collect()
}

/// Returns how many exchanges came out; panics on one whose halves do not belong together.
fn hear(said: &[Said]) -> usize {
    let mut client = Client::new(true);
    let mut missing = [0; 2];
    for Said { direction, number, lost } in said {
        let text = match direction {
            Direction::Out => format!("GET /{number} HTTP/1.1\r\nHost: shop\r\n\r\n"),
            Direction::In => format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{number:08}"),
        };
        // A loss shows when something is seen behind it.
        let missing = &mut missing[usize::from(*direction == Direction::In)];
        if *lost {
            *missing += text.len() as u64;
            continue;
        }
        if *missing > 0 {
            client.gap(*direction, std::mem::take(missing));
        }
        client.bytes(*direction, text.as_bytes());
    }
    let mut paired = 0;
    for outcome in std::iter::from_fn(|| client.conversation.take()) {
        let Outcome::Exchange(Exchange { operation, response: Some(response), .. }) = outcome else {
            continue;
        };
        let text = String::from_utf8(response.payload).unwrap();
        let number: usize = text[text.len() - 8..].parse().unwrap();
        assert_eq!(operation, format!("GET /{number}"), "{}", tell(said));
        paired += 1;
    }
    paired
}

/// Returns whether the client once, for as many turns as end a doubt, asked ahead by one and never otherwise: nothing
/// tells that from taking turns.
fn lags(said: &[Said]) -> bool {
    let (mut open, mut run, mut last) = (0_usize, 0, Direction::In);
    for Said { direction, .. } in said {
        let lagging = match direction {
            Direction::Out => last == Direction::In && open > 0,
            Direction::In => last == Direction::Out && open > 1,
        };
        open = if *direction == Direction::Out { open + 1 } else { open - 1 };
        run = if lagging { run + 1 } else { 0 };
        last = *direction;
        if run >= 14 {
            return true;
        }
    }
    false
}

proptest! {
    #[test]
    fn no_loss_makes_a_wrong_pair(
        window in 1_usize..6,
        dice in prop::collection::vec(any::<bool>(), 120),
        losses in prop::collection::vec(prop::bool::weighted(0.05), 120),
    ) {
        let said = play(window, &dice, &losses);
        prop_assume!(!lags(&said));
        hear(&said);
    }

    #[test]
    fn where_turns_are_taken_most_of_what_is_seen_pairs(
        losses in prop::collection::vec(prop::bool::weighted(0.02), 400),
    ) {
        let said = play(1, &[true; 400], &losses);
        let whole = said.chunks(2).filter(|pair| pair.iter().all(|said| !said.lost)).count();
        let paired = hear(&said);
        prop_assert!(paired * 2 >= whole, "{paired} of {whole}: {}", tell(&said));
    }
}
