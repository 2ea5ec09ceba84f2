//! Names that sessions get when none is chosen.

/// Letters in a name that is made up.
const NAME_LETTERS: usize = 5;

/// Makes up a name from the randomness that the standard library seeds its hash maps with.
pub(crate) fn made_up() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut seed = RandomState::new().hash_one(std::process::id());
    let mut name = String::with_capacity(NAME_LETTERS);
    for _ in 0..NAME_LETTERS {
        let letter = u8::try_from(seed % 26).unwrap_or_default();
        name.push(char::from(b'a' + letter));
        seed /= 26;
    }
    name
}
