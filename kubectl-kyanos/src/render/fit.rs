//! Which columns a line has room for, and how wide they are.
//!
//! Columns claim room one after another: what is read first claims first, and what finds no room is not shown.

/// Spaces between two columns.
pub(crate) const GAP: usize = 2;

/// What a column wants: its first claim shows it, or not at all; a later one widens it by what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim<C> {
    /// The column.
    pub(crate) column: C,
    /// Characters that it is to have.
    pub(crate) width: usize,
}

/// Shares the characters of a line out; a column without room is absent. The first claim gets what there is.
pub(crate) fn fit<C: Copy + PartialEq>(
    claims: impl IntoIterator<Item = Claim<C>>,
    room: usize,
) -> Vec<Claim<C>> {
    let mut shown: Vec<Claim<C>> = Vec::new();
    let mut left = room;
    for Claim { column, width } in claims {
        if let Some(known) = shown.iter_mut().find(|known| known.column == column) {
            let more = width.saturating_sub(known.width).min(left);
            known.width += more;
            left -= more;
        } else if shown.is_empty() {
            shown.push(Claim { column, width: width.min(left) });
            left = left.saturating_sub(width);
        } else if let Some(rest) = left.checked_sub(width.saturating_add(GAP)) {
            shown.push(Claim { column, width });
            left = rest;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(room: usize) -> Vec<(char, usize)> {
        let claims = [('a', 5), ('b', 3), ('c', 10), ('d', 1), ('a', 9), ('b', 6)];
        let shown = fit(claims.map(|(column, width)| Claim { column, width }), room);
        shown.into_iter().map(|claim| (claim.column, claim.width)).collect()
    }

    #[test]
    fn columns_get_room_in_the_order_of_their_claims() {
        assert_eq!(fitted(0), [('a', 0)]);
        assert_eq!(fitted(4), [('a', 4)]);
        assert_eq!(fitted(9), [('a', 6), ('d', 1)], "`b` and `c` find no room, the narrow `d` does");
        assert_eq!(fitted(10), [('a', 5), ('b', 3)]);
        assert_eq!(fitted(15), [('a', 7), ('b', 3), ('d', 1)]);
        assert_eq!(fitted(25), [('a', 5), ('b', 3), ('c', 10), ('d', 1)]);
        assert_eq!(fitted(31), [('a', 9), ('b', 5), ('c', 10), ('d', 1)]);
        assert_eq!(fitted(99), [('a', 9), ('b', 6), ('c', 10), ('d', 1)]);
    }

    #[test]
    fn no_line_is_longer_than_its_room() {
        for room in 0..40 {
            let shown = fitted(room);
            let gaps = GAP * (shown.len() - 1);
            assert!(shown.iter().map(|(_, width)| width).sum::<usize>() + gaps <= room, "{room}");
        }
    }
}
