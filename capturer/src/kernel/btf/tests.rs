//! Tests of the BTF reader on a small file made here.

use super::*;

/// A BTF file with the given types (words) and strings.
fn file(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let len = u32::try_from(types.len() * 4).unwrap();
    let mut data = MAGIC.to_ne_bytes().to_vec();
    data.extend([1, 0]);
    data.extend(words(&[24, 0, len, len, u32::try_from(strings.len()).unwrap()]));
    data.extend(words(types));
    data.extend(strings);
    data
}

const STRINGS: &[u8] = b"\0int\0outer\0first\0inner\0last\0";

fn sample() -> Vec<u8> {
    let kind = |kind: u32, count: u32| (kind << 24) | count;
    file(
        &[
            // 1: int
            1,
            kind(KIND_INT, 0),
            4,
            32,
            // 2: forward declaration of `outer`
            5,
            kind(7, 0),
            0,
            // 3: anonymous union { int last }
            0,
            kind(KIND_UNION, 1),
            4,
            23,
            1,
            0,
            // 4: struct inner { int first; union 3 }
            17,
            kind(KIND_STRUCT, 2),
            8,
            11,
            1,
            0,
            0,
            3,
            32,
            // 5: const inner
            0,
            kind(KIND_CONST, 0),
            4,
            // 6: struct outer { int first; const inner inner; int last:4 }
            5,
            kind(KIND_STRUCT, 3) | 1 << 31,
            16,
            11,
            1,
            0,
            17,
            5,
            32,
            23,
            1,
            0x0400_0060,
        ],
        STRINGS,
    )
}

#[test]
fn finds_fields_through_anonymous_members_and_qualifiers() {
    let btf = Btf::parse(sample()).unwrap();
    assert_eq!(btf.offset("outer", "first"), Ok(0));
    assert_eq!(btf.offset("outer", "inner.first"), Ok(4));
    assert_eq!(btf.offset("outer", "inner.last"), Ok(8));
    assert_eq!(btf.offset("outer", "last"), Ok(12));
    assert_eq!(btf.size("outer"), Ok(16));
}

#[test]
fn names_what_is_missing() {
    let btf = Btf::parse(sample()).unwrap();
    assert_eq!(
        btf.offset("outer", "inner.none").unwrap_err().to_string(),
        "the kernel's `outer` has no field `inner.none`"
    );
    assert_eq!(btf.offset("none", "first").unwrap_err().to_string(), "the kernel has no structure `none`");
}

#[test]
fn refuses_what_is_not_btf_and_never_panics_on_cut_data() {
    assert_eq!(Btf::parse(Vec::new()).unwrap_err(), BtfError::NotBtf);
    assert_eq!(Btf::parse(vec![0; 64]).unwrap_err(), BtfError::NotBtf);
    let whole = sample();
    for len in 0..whole.len() {
        if let Ok(btf) = Btf::parse(whole[..len].to_vec()) {
            drop(btf.offset("outer", "inner.last"));
        }
    }
}
