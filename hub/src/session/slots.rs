//! Upper bits of exchange ids: none is given twice in a session's store, whatever hubs it had.
//!
//! Within a hub a node has a slot and each of its capturer processes another boot. A hub goes on above what earlier
//! hubs gave: by the store's own ids where it answers first, else by a number kept beside the store.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use proto::id::{Base, MAX_SLOTS};

use crate::store::earlier::Earlier;

/// File beside a store's socket with the first slot that no hub has given.
pub const SLOTS_FILE: &str = "kyanos-slots";

/// Slots that one write of the file covers: few writes at start, and little that a restart skips.
const RESERVED_SLOTS: u32 = 32;

/// Why no slot is given.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// All are in use.
    #[error("all {MAX_SLOTS} slots of exchange ids were given: choose another session name or store")]
    TooMany,
    /// What was given cannot be remembered.
    #[error("cannot remember what was given in `{path}`", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What is still to be given.
#[derive(Debug, Default)]
pub struct Slots {
    /// Newest bases of nodes that the store knows, above which they go on.
    earlier: BTreeMap<String, Base>,
    free: u32,
    reserved: Option<Reserved>,
}

#[derive(Debug)]
struct Reserved {
    file: File,
    until: u32,
}

/// A number in a file that lives as long as a store.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
}

// === impl Slots ===

impl Slots {
    /// Goes on above what a store holds.
    #[must_use]
    pub fn above(earlier: &Earlier) -> Self {
        let used =
            earlier.nodes.iter().map(|node| node.slot).chain(earlier.newest_id.map(|id| Base::from(id).slot));
        let free = used.max().map_or(0, |slot| u32::from(slot) + 1);
        let newest = |id: Option<u64>| id.map_or(0, |id| Base::from(id).boot);
        let bases = earlier.nodes.iter();
        let bases =
            bases.map(|node| (node.node.clone(), Base { slot: node.slot, boot: newest(node.newest_id) }));
        Self { earlier: bases.collect(), free, reserved: None }
    }

    /// Goes on above what hubs before this one wrote into a file of this folder, which lives as long as the store.
    pub fn beside(folder: &Path) -> Result<Self, SlotsError> {
        let file = File::at(folder.join(SLOTS_FILE));
        let until = file.read()?;
        let until = u32::try_from(until).map_err(|_more| SlotsError::TooMany)?;
        let mut slots = Self { free: until, reserved: Some(Reserved { file, until }), ..Self::default() };
        // Found out now, while there is another way.
        slots.reserve()?;
        Ok(slots)
    }

    /// Gives a node that this hub does not know its base.
    pub fn claim(&mut self, node: &str) -> Result<Base, SlotsError> {
        match self.earlier.remove(node) {
            Some(base) => self.after(base),
            None => self.fresh(),
        }
    }

    /// Gives a node's next process its base.
    pub fn after(&mut self, base: Base) -> Result<Base, SlotsError> {
        match base.boot.checked_add(1) {
            Some(boot) => Ok(Base { boot, ..base }),
            None => self.fresh(),
        }
    }

    fn fresh(&mut self) -> Result<Base, SlotsError> {
        let slot = u16::try_from(self.free).ok().filter(|slot| *slot < MAX_SLOTS);
        let slot = slot.ok_or(SlotsError::TooMany)?;
        self.reserve()?;
        self.free += 1;
        Ok(Base { slot, boot: 0 })
    }

    /// Writes down that the next slot is given, before it is.
    fn reserve(&mut self) -> Result<(), SlotsError> {
        let Some(reserved) = self.reserved.as_mut().filter(|reserved| self.free >= reserved.until) else {
            return Ok(());
        };
        let until = self.free.saturating_add(RESERVED_SLOTS);
        reserved.file.write(u64::from(until))?;
        reserved.until = until;
        Ok(())
    }
}

// === impl File ===

impl File {
    /// Names it; it need not be there.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the number; 0 where nobody wrote one.
    pub(super) fn read(&self) -> Result<u64, SlotsError> {
        let number = match std::fs::read_to_string(&self.path) {
            Ok(text) => text.trim().parse().map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        number.map_err(|source| self.failed(source))
    }

    /// Replaces the number whole, on disk when this returns: a node that crashes keeps the store, too.
    pub(super) fn write(&self, number: u64) -> Result<(), SlotsError> {
        self.replace(number).map_err(|source| self.failed(source))
    }

    fn replace(&self, number: u64) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(number.to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn failed(&self, source: std::io::Error) -> SlotsError {
        SlotsError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::earlier::EarlierNode;

    #[test]
    fn a_hub_goes_on_above_what_the_store_holds() {
        let id = |slot: u64, boot: u64| Some((slot << 48) | (boot << 40) | 7);
        let node = |name: &str, slot, newest_id| EarlierNode { node: name.to_owned(), slot, newest_id };
        let nodes = vec![node("one", 0, id(0, 4)), node("two", 2, None), node("full", 3, id(3, 255))];
        let mut slots = Slots::above(&Earlier { nodes, newest_id: id(5, 1), exchanges: 9 });
        assert_eq!(slots.claim("new").unwrap(), Base { slot: 6, boot: 0 });
        assert_eq!(slots.claim("one").unwrap(), Base { slot: 0, boot: 5 });
        assert_eq!(slots.claim("two").unwrap(), Base { slot: 2, boot: 1 });
        assert_eq!(slots.claim("full").unwrap(), Base { slot: 7, boot: 0 });
        assert_eq!(slots.after(Base { slot: 6, boot: 0 }).unwrap(), Base { slot: 6, boot: 1 });
    }

    #[test]
    fn hubs_after_each_other_share_no_slot() {
        let folder = tempfile::tempdir().unwrap();
        let mut given = std::collections::BTreeSet::new();
        for hub in 0..5 {
            let mut slots = Slots::beside(folder.path()).unwrap();
            // More than one write covers.
            for node in 0..RESERVED_SLOTS * 2 + hub {
                let base = slots.claim(&node.to_string()).unwrap();
                assert!(given.insert(base.in_place()), "{base:?} again");
            }
        }
    }

    #[test]
    fn what_cannot_be_remembered_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        assert!(matches!(Slots::beside(&gone), Err(SlotsError::File { .. })));
        std::fs::create_dir(&gone).unwrap();
        let mut slots = Slots::beside(&gone).unwrap();
        std::fs::remove_dir_all(&gone).unwrap();
        for node in 0..RESERVED_SLOTS {
            slots.claim(&node.to_string()).unwrap();
        }
        assert!(matches!(slots.claim("more"), Err(SlotsError::File { .. })));
        std::fs::write(folder.path().join(SLOTS_FILE), "x").unwrap();
        assert!(matches!(Slots::beside(folder.path()), Err(SlotsError::File { .. })));
    }

    #[test]
    fn slots_run_out() {
        let mut slots = Slots { free: u32::from(MAX_SLOTS) - 1, ..Slots::default() };
        slots.claim("last").unwrap();
        assert!(matches!(slots.claim("more"), Err(SlotsError::TooMany)));
    }
}
