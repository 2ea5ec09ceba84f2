//! Enums of the wire whose values have words: the same in SQL, in JSON and on a terminal.

/// Returns the words of a table of values and words.
pub(crate) const fn of<T: Copy, const N: usize>(table: &[(T, &'static str); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].1;
        at += 1;
    }
    words
}
