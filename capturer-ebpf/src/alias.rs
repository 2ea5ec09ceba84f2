//! The other ends that a flow has on the other side of a translation, as far as they are known.

use aya_ebpf::{macros::map, maps::LruHashMap};

use crate::memory::{Alias, Tuple};

/// By either set of ends, the other one.
#[map]
static ALIASES: LruHashMap<Tuple, Alias> = LruHashMap::with_max_entries(16_384, 0);

/// The other set of ends of a key.
#[inline(always)]
pub(crate) fn lookup(key: &Tuple) -> Option<&'static Alias> {
    // SAFETY: a value of the map, valid while this program runs.
    ALIASES.get_ptr(key).map(|alias| unsafe { &*alias })
}

/// 1 when another set of ends is known for a key.
#[inline(always)]
pub(crate) fn is_translated(key: &Tuple) -> u32 {
    u32::from(lookup(key).is_some())
}

/// Notes two sets of ends of one connection.
#[inline(always)]
pub(crate) fn learn(before: &Alias, behind: &Alias) {
    // A full map lets go of what was used least.
    let _: Result<(), i32> = ALIASES.insert(&before.key, behind, 0);
    let _: Result<(), i32> = ALIASES.insert(&behind.key, before, 0);
}
