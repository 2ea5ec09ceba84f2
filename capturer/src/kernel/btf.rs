//! Reads structure layouts from the kernel's own type information (BTF).
//!
//! Only what offsets need: names, members, and the few kinds that lead from one member to the next. The format is
//! `Documentation/bpf/btf.rst`. Forward declarations are skipped: kernels have some beside the real structure.

use std::collections::HashMap;

use memchr::{memchr, memmem};

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Deepest chain of type definitions and anonymous members that is followed.
const MAX_DEPTH: usize = 32;

/// Why type information could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The data do not begin as BTF does.
    #[error("the type information has no BTF header of this machine's byte order")]
    NotBtf,
    /// The data end before the header says.
    #[error("the type information is cut at byte {at}")]
    Cut {
        /// Where more was expected.
        at: usize,
    },
    /// A kind of type that this reader does not know; what follows it cannot be found.
    #[error("the type information has the unknown kind {kind}")]
    UnknownKind {
        /// The kind's number.
        kind: u32,
    },
    /// The kernel has no such structure.
    #[error("the kernel has no structure `{name}`")]
    MissingStructure {
        /// The structure's name.
        name: String,
    },
    /// The structure has no such field.
    #[error("the kernel's `{structure}` has no field `{field}`")]
    MissingField {
        /// The structure's name.
        structure: String,
        /// The path within it.
        field: String,
    },
}

/// Type information of a kernel.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Where each type's record begins; the first is the type `void`.
    types: Vec<u32>,
    structures: HashMap<u64, Vec<u32>>,
}

struct Type {
    name: u32,
    kind: u32,
    count: usize,
    bitfields: bool,
    /// Size in bytes, or the type behind.
    size_or_id: u32,
    /// Where the members begin.
    body: usize,
}

// === impl Btf ===

impl Btf {
    /// Parses the contents of a BTF file such as `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let head = data.get(..24).ok_or(BtfError::NotBtf)?;
        if head.get(..2) != Some(MAGIC.to_ne_bytes().as_slice()) {
            return Err(BtfError::NotBtf);
        }
        let mut btf = Self { data, strings: 0, types: vec![0], structures: HashMap::new() };
        let header = btf.word(4)? as usize;
        let start = header + btf.word(8)? as usize;
        let end = start + btf.word(12)? as usize;
        btf.strings = header + btf.word(16)? as usize;
        let mut at = start;
        while at < end {
            let id = u32::try_from(btf.types.len()).map_err(|_overflow| BtfError::Cut { at })?;
            let kind = btf.kind_at(at)?;
            btf.types.push(u32::try_from(at).map_err(|_overflow| BtfError::Cut { at })?);
            if matches!(kind.kind, KIND_STRUCT | KIND_UNION | KIND_ENUM) && kind.name != 0 {
                let hash = hash(btf.string(kind.name)?);
                btf.structures.entry(hash).or_default().push(id);
            }
            at = kind.body + body_len(&kind)?;
        }
        Ok(btf)
    }

    /// Offset in bytes of a field of a structure; `field` may lead through members, as in `__sk_common.skc_family`.
    /// Anonymous members are looked through.
    pub fn offset(&self, structure: &str, field: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::MissingField { structure: structure.to_owned(), field: field.to_owned() };
        let mut found = Err(BtfError::MissingStructure { name: structure.to_owned() });
        for id in self.named(structure)? {
            found = self.path(id, field)?.ok_or_else(missing);
            if found.is_ok() {
                break;
            }
        }
        found
    }

    /// Size in bytes of a structure.
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::MissingStructure { name: structure.to_owned() };
        let id = *self.named(structure)?.first().ok_or_else(missing)?;
        Ok(self.type_of(id)?.size_or_id)
    }

    /// Value of one of an enumeration's names.
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Result<u32, BtfError> {
        for id in self.named(enumeration)? {
            let found = self.type_of(id)?;
            let count = if found.kind == KIND_ENUM { found.count } else { 0 };
            for at in (0..count).map(|index| found.body + index * 8) {
                if self.string(self.word(at)?)? == name.as_bytes() {
                    return self.word(at + 4);
                }
            }
        }
        Err(BtfError::MissingField { structure: enumeration.to_owned(), field: name.to_owned() })
    }

    /// Whether anything has this name: also what is neither a structure nor an enumeration.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        let strings = self.data.get(self.strings..).unwrap_or_default();
        memmem::find(strings, [b"\0", name.as_bytes(), b"\0"].concat().as_slice()).is_some()
    }

    /// Returns the number of a function.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        let is_it = |id: &u32| {
            let found = self.type_of(*id).ok()?;
            (found.kind == KIND_FUNC && self.string(found.name).ok()? == name.as_bytes()).then_some(())
        };
        (1..u32::try_from(self.types.len()).ok()?).find(|id| is_it(id).is_some())
    }

    fn named(&self, name: &str) -> Result<Vec<u32>, BtfError> {
        let mut ids = Vec::new();
        for id in self.structures.get(&hash(name.as_bytes())).into_iter().flatten() {
            if self.string(self.type_of(*id)?.name)? == name.as_bytes() {
                ids.push(*id);
            }
        }
        Ok(ids)
    }

    fn path(&self, mut id: u32, field: &str) -> Result<Option<u32>, BtfError> {
        let mut offset = 0;
        for name in field.split('.') {
            let Some((at, member)) = self.member(id, name.as_bytes(), 0)? else { return Ok(None) };
            offset += at;
            id = member;
        }
        Ok(Some(offset))
    }

    /// Offset and type of a member, also within anonymous members.
    fn member(&self, id: u32, name: &[u8], depth: usize) -> Result<Option<(u32, u32)>, BtfError> {
        let structure = self.resolve(id)?;
        if !matches!(structure.kind, KIND_STRUCT | KIND_UNION) || depth > MAX_DEPTH {
            return Ok(None);
        }
        for index in 0..structure.count {
            let at = structure.body + index * 12;
            let (member_name, member, bits) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let offset = if structure.bitfields { bits & 0x00ff_ffff } else { bits } / 8;
            if member_name == 0 {
                if let Some((inner, found)) = self.member(member, name, depth + 1)? {
                    return Ok(Some((offset + inner, found)));
                }
            } else if self.string(member_name)? == name {
                return Ok(Some((offset, member)));
            }
        }
        Ok(None)
    }

    /// The type behind definitions and qualifiers.
    fn resolve(&self, mut id: u32) -> Result<Type, BtfError> {
        for _ in 0..MAX_DEPTH {
            let found = self.type_of(id)?;
            if !matches!(
                found.kind,
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG
            ) {
                return Ok(found);
            }
            id = found.size_or_id;
        }
        self.type_of(id)
    }

    fn type_of(&self, id: u32) -> Result<Type, BtfError> {
        if id == 0 {
            return Ok(Type { name: 0, kind: 0, count: 0, bitfields: false, size_or_id: 0, body: 0 });
        }
        let at = self.types.get(id as usize).ok_or(BtfError::Cut { at: id as usize })?;
        self.kind_at(*at as usize)
    }

    fn kind_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = self.word(at + 4)?;
        Ok(Type {
            name: self.word(at)?,
            kind: (info >> 24) & 0x1f,
            count: (info & 0xffff) as usize,
            bitfields: info >> 31 != 0,
            size_or_id: self.word(at + 8)?,
            body: at + 12,
        })
    }

    fn string(&self, offset: u32) -> Result<&[u8], BtfError> {
        let at = self.strings + offset as usize;
        let rest = self.data.get(at..).ok_or(BtfError::Cut { at })?;
        let len = memchr(0, rest).ok_or(BtfError::Cut { at })?;
        rest.get(..len).ok_or(BtfError::Cut { at })
    }

    fn word(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = self.data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or(BtfError::Cut { at })
    }
}

/// Bytes between a type's record and the next.
fn body_len(kind: &Type) -> Result<usize, BtfError> {
    Ok(match kind.kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => kind.count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => kind.count * 8,
        // Pointers, forward declarations, definitions, qualifiers, functions, floats.
        2 | 7..=12 | 16 | KIND_TYPE_TAG => 0,
        kind => return Err(BtfError::UnknownKind { kind }),
    })
}

fn hash(name: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests;
