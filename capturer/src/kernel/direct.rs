//! Programs that read the kernel's memory by themselves, where the kernel lets them.
//!
//! A helper checks an address and copies from it, which takes as long as fifty loads. Since Linux 6.17 a program may take
//! any address for memory (`bpf_rdonly_cast` with no type): a load from it is made safe when it is compiled.

use capturer_ebpf::settings::CAST;

use super::{btf::Btf, environment};

/// The release from which on an address may be taken for memory of no type.
const SINCE: (u32, u32) = (6, 17);

/// What takes an address for memory.
const FUNCTION: &str = "bpf_rdonly_cast";

/// `r0 = r1`.
const MOVE: u64 = 0x10bf;

/// A call of one of the kernel's functions, whose number is the upper half.
const CALL: u64 = 0x2085;

/// Returns the number of the kernel's function, if programs may read by themselves.
pub(super) fn function(types: &Btf) -> Option<u32> {
    if environment::is_before(SINCE) { None } else { types.function(FUNCTION) }
}

/// Returns an object file in words, in which programs call this function where they need it.
pub(super) fn object(bytes: &[u8], function: Option<u32>) -> Vec<u64> {
    let instruction = function.map_or(MOVE, |number| u64::from(number) << 32 | CALL);
    let (whole, rest) = bytes.as_chunks();
    let mut last = [0; size_of::<u64>()];
    for (byte, from) in last.iter_mut().zip(rest) {
        *byte = *from;
    }
    let last = if rest.is_empty() { None } else { Some(&last) };
    let words = whole.iter().chain(last).map(|word| u64::from_le_bytes(*word));
    words.map(|word| if word == CAST { instruction } else { word }).map(u64::to_le).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{programs::OBJECT, records::bytes_of};

    #[test]
    fn only_casts_are_changed_and_all_of_them() {
        let places =
            |words: &[u64], word: u64| words.iter().filter(|other| u64::from_le(**other) == word).count();
        let before: Vec<u64> =
            OBJECT.chunks_exact(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap())).collect();
        let casts = places(&before, CAST);
        assert!(casts > 20, "{casts}");
        let after = object(OBJECT, Some(7));
        assert_eq!((places(&after, CAST), places(&after, 7 << 32 | CALL)), (0, casts));
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(changed, casts);
        assert!(bytes_of(&after).len() - OBJECT.len() < 8);
        assert_eq!(places(&object(OBJECT, None), CAST), 0);
    }
}
