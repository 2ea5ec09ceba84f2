//! Rows of every kind against this kernel, with programs that do nothing; needs root.

use aya::EbpfLoader;

use super::*;
use crate::kernel::{BTF_PATH, programs::OBJECT};

/// A program that returns at once: `r0 = 0; exit`.
const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Bytes of the head of an object file, of one of its sections' heads, and of a symbol.
const HEAD: u16 = 64;
const SECTION: u16 = 64;
const SYMBOL: u16 = 24;

/// An object file in the making: see `elf(5)`.
#[derive(Default)]
struct Object {
    bytes: Vec<u8>,
    names: Vec<u8>,
    sections: Vec<u8>,
}

impl Object {
    /// Makes an object of programs that do nothing, by the name of their section and their own.
    fn of(programs: &[(&str, &str)]) -> Vec<u8> {
        let mut object =
            Self { bytes: vec![0; HEAD.into()], names: vec![0], sections: vec![0; SECTION.into()] };
        let mut symbols = vec![0; SYMBOL.into()];
        for ((section, program), number) in programs.iter().zip(1_u16..) {
            object.section(section, [1, 6], &PROGRAM, [0, 0, 0]);
            let name = object.name(program);
            symbols.extend(name.to_le_bytes());
            // A global function in the section of this number, from its beginning to its end.
            symbols.extend([0x12, 0]);
            symbols.extend(number.to_le_bytes());
            symbols.extend(0_u64.to_le_bytes());
            symbols.extend((PROGRAM.len() as u64).to_le_bytes());
        }
        object.section("license", [1, 3], b"Dual MIT/GPL\0", [0, 0, 0]);
        let names = u32::try_from(programs.len()).unwrap() + 3;
        object.section(".symtab", [2, 0], &symbols, [names, 1, SYMBOL.into()]);
        let name = object.name(".strtab");
        let all = object.names.clone();
        object.section_at(name, [3, 0], &all, [0, 0, 0]);
        object.finish(u16::try_from(names).unwrap())
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = self.names.len();
        self.names.extend(name.bytes().chain([0]));
        u32::try_from(at).unwrap()
    }

    fn section(&mut self, name: &str, kind_and_flags: [u64; 2], content: &[u8], linked: [u32; 3]) {
        let name = self.name(name);
        self.section_at(name, kind_and_flags, content, linked);
    }

    /// Adds a section; `linked` are the section of its names, the first global symbol, and the size of an entry.
    fn section_at(&mut self, name: u32, [kind, flags]: [u64; 2], content: &[u8], linked: [u32; 3]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let [link, info, entry] = linked;
        self.sections.extend(name.to_le_bytes());
        self.sections.extend(u32::try_from(kind).unwrap().to_le_bytes());
        for number in [flags, 0, self.bytes.len() as u64, content.len() as u64] {
            self.sections.extend(number.to_le_bytes());
        }
        self.sections.extend([link, info].into_iter().flat_map(u32::to_le_bytes));
        self.sections.extend([8, u64::from(entry)].into_iter().flat_map(u64::to_le_bytes));
        self.bytes.extend(content);
    }

    /// Writes the head in front: 64 bits, little endian, relocatable, for the kernel's machine.
    fn finish(mut self, names: u16) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let sections = self.bytes.len() as u64;
        let count = u16::try_from(self.sections.len() / usize::from(SECTION)).unwrap();
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
        head.extend([0, 0, sections].into_iter().flat_map(u64::to_le_bytes));
        head.extend(0_u32.to_le_bytes());
        let sizes = [HEAD, 0, 0, SECTION, count, names];
        head.extend(sizes.into_iter().flat_map(u16::to_le_bytes));
        self.bytes[..HEAD.into()].copy_from_slice(&head);
        self.bytes.extend(self.sections);
        self.bytes
    }
}

/// Loads programs that do nothing; `None` without root.
fn loaded(programs: &[(&str, &str)]) -> Option<Ebpf> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    Some(EbpfLoader::new().btf(None).load(&Object::of(programs)).expect("an object"))
}

fn hook(program: &'static str, attach: Attach, required: bool) -> Hook {
    Hook { program, attach, required, counts_misses: true, instead_of: None }
}

#[test]
fn a_hook_of_each_kind_is_a_row() {
    let Some(mut ebpf) = loaded(&[("raw_tp", "raw"), ("tp_btf", "typed")]) else { return };
    let rows = [
        hook("raw", Attach::Raw("sched_process_exit"), true),
        hook("typed", Attach::Typed("sched_process_exit"), true),
    ];
    let hooks = load(&mut ebpf, &rows, Some(Path::new(BTF_PATH))).unwrap();
    assert_eq!(hooks, rows);
    attach(&mut ebpf, &hooks).unwrap();
    assert_eq!(misses(&ebpf, &hooks), 0, "both tell");
    assert!(
        rows.iter().all(|row| program_misses(ebpf.program(row.program).unwrap().fd().unwrap()).is_some())
    );
    assert_eq!(unload(&mut ebpf, &hooks), 0, "they are asked once more when none runs");
    assert!(ebpf.programs().all(|(_, program)| program.fd().is_err()), "nothing stays");
}

#[test]
fn only_a_required_place_must_be_there() {
    for (section, place) in [("raw_tp", Attach::Raw("no_such")), ("tp_btf", Attach::Typed("no_such"))] {
        for required in [false, true] {
            let Some(mut ebpf) = loaded(&[(section, "nowhere")]) else { return };
            let rows = [hook("nowhere", place, required)];
            let attached = load(&mut ebpf, &rows, Some(Path::new(BTF_PATH)))
                .and_then(|hooks| attach(&mut ebpf, &hooks).map(drop));
            match attached {
                Ok(()) => assert!(!required, "{place:?}"),
                Err(KernelError::Program { program: "nowhere", .. }) => assert!(required, "{place:?}"),
                Err(error) => panic!("{place:?}: {error}"),
            }
        }
    }
}

#[test]
fn a_place_is_taken_only_where_the_one_before_it_is_not_there() {
    for (first, expected) in [("sched_process_exit", "first"), ("no_such", "second")] {
        let Some(mut ebpf) = loaded(&[("raw_tp", "first"), ("raw_tp", "second")]) else { return };
        let second = hook("second", Attach::Raw("sched_process_exec"), false);
        let rows = [hook("first", Attach::Raw(first), false), Hook { instead_of: Some("first"), ..second }];
        let hooks = load(&mut ebpf, &rows, Some(Path::new(BTF_PATH))).unwrap();
        let attached = attach(&mut ebpf, &hooks).unwrap();
        assert_eq!(attached, [expected], "{first}");
    }
}

#[test]
fn a_row_without_its_program_is_a_defect_of_the_build() {
    let Some(mut ebpf) = loaded(&[("raw_tp", "raw")]) else { return };
    for row in [hook("typo", Attach::Raw("sys_exit"), false), hook("raw", Attach::Typed("sys_exit"), false)] {
        let error = load(&mut ebpf, &[row], Some(Path::new(BTF_PATH))).unwrap_err();
        assert!(matches!(error, KernelError::Missing { .. }), "{error}");
    }
}

#[test]
fn every_program_has_its_row() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let ebpf = EbpfLoader::new().btf(None).load(OBJECT).unwrap();
    let mut programs: Vec<&str> = ebpf.programs().map(|(name, _)| name).collect();
    let rows = |source| chosen(source, true).into_iter().map(|hook| hook.program);
    let mut rows: Vec<&str> = rows(Source::Syscall).chain(rows(Source::Socket)).collect();
    programs.sort_unstable();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(programs, rows);
}
