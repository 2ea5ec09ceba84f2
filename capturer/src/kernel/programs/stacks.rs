//! The stacks of the programs, counted as old kernels do it: those refuse what the kernel of a developer may take.
//!
//! All functions of a chain of calls share one stack, so a function that is compiled into its caller, and makes that
//! one's frame larger, may be too much for a chain in which it does not take part.

use std::collections::{BTreeMap, BTreeSet};

use object::{
    File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, Section, SectionKind,
    SymbolKind,
};

use super::{OBJECT, Source, hooks};

/// Bytes of stack that a program has with all that it calls (`MAX_BPF_STACK`).
const STACK: u64 = 512;

/// Each frame takes a multiple of so many bytes, and one of them at least (`check_max_stack_depth` of Linux 5.10).
const STEP: u64 = 32;

/// Functions that may be under way at once, the program among them (`MAX_CALL_FRAMES`).
const FRAMES: usize = 8;

/// Where programs are not: only what they call has no section of its own.
const CALLED: &str = ".text";

/// Bytes of an instruction.
const WIDTH: u64 = 8;

/// Register 10, which points at the end of a function's frame.
const FRAME_POINTER: u8 = 10;

/// Operations: `dst = src`, `dst += imm`, and `call` of what `src` says, with the one that means a function.
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const CALL: u8 = 0x85;
const CALL_FUNCTION: u8 = 1;

/// What a function needs, and the functions that it calls.
#[derive(Debug, Default)]
struct Function {
    program: bool,
    frame: u64,
    calls: BTreeSet<String>,
}

type Functions = BTreeMap<String, Function>;

/// An instruction, as `struct bpf_insn` has it.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    dst: u8,
    src: u8,
    offset: i16,
    immediate: i32,
}

// === impl Instruction ===

impl Instruction {
    fn parse(bytes: &[u8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = *bytes else { panic!("half an instruction") };
        Self {
            code,
            dst: registers & 0xf,
            src: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            immediate: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// How far down the frame this instruction reaches, with the one that follows it.
    fn depth(self, next: Option<Self>) -> u64 {
        /// Kinds of operations: a load from where `src` points, and stores of a number or a register to where `dst` does.
        const KIND: u8 = 0x07;
        const LOAD: u8 = 1;
        const STORES: [u8; 2] = [2, 3];
        let (from, to) = (self.src == FRAME_POINTER, self.dst == FRAME_POINTER);
        let place = match self.code & KIND {
            _ if !from && !to => return 0,
            LOAD if from => self.offset.into(),
            kind if STORES.contains(&kind) && to && !from => self.offset.into(),
            // The address of something in the frame is made in two steps.
            _ if self.code == MOVE && from => match next {
                Some(next) if next.code == ADD && next.dst == self.dst => next.immediate,
                other => panic!("the frame's end is copied for {other:?}"),
            },
            _ => panic!("the frame is used by {self:?}"),
        };
        u64::try_from(-place).expect("what is in a frame is below its end")
    }
}

/// Reads the functions of an object file.
fn functions(object: &[u8]) -> Functions {
    let file = File::parse(object).unwrap();
    let mut names = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let section = symbol.section_index().unwrap().0;
        names.insert((section, symbol.address()), symbol.name().unwrap().to_owned());
    }
    let mut functions = Functions::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let targets = targets(&file, &section);
        let (data, program) = (section.data().unwrap(), section.name() != Ok(CALLED));
        let code: Vec<_> = data.chunks(8).map(Instruction::parse).collect();
        let mut function = "";
        for (index, instruction) in code.iter().enumerate() {
            let at = u64::try_from(index).unwrap() * WIDTH;
            function = names.get(&(section.index().0, at)).map_or(function, |name| name);
            let entry = functions.entry(function.to_owned()).or_default();
            entry.program = program;
            entry.frame = entry.frame.max(instruction.depth(code.get(index + 1).copied()));
            if instruction.code == CALL && instruction.src == CALL_FUNCTION {
                // Counted from the instruction that follows; with a relocation, from its symbol.
                let (section, base) = targets.get(&at).copied().unwrap_or((section.index().0, at));
                let steps = i64::from(instruction.immediate) + 1;
                let target = base.checked_add_signed(steps * WIDTH.cast_signed()).unwrap();
                entry.calls.insert(names[&(section, target)].clone());
            }
        }
    }
    functions
}

/// Where the relocations of a section point, by the place of what they change: a section and a place there.
fn targets(file: &File<'_>, section: &Section<'_, '_>) -> BTreeMap<u64, (usize, u64)> {
    let mut targets = BTreeMap::new();
    for (at, relocation) in section.relocations() {
        let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("{relocation:?}") };
        let symbol = file.symbol_by_index(symbol).unwrap();
        if let Some(section) = symbol.section_index() {
            targets.insert(at, (section.0, symbol.address()));
        }
    }
    targets
}

/// Every chain of calls from a function down; one with too many frames, or without an end, is cut after the first too
/// many.
fn chains<'a>(functions: &'a Functions, name: &'a str, frames: usize) -> Vec<Vec<&'a str>> {
    let calls = &functions[name].calls;
    if calls.is_empty() || frames > FRAMES {
        return vec![vec![name]];
    }
    let below = calls.iter().flat_map(|call| chains(functions, call, frames + 1));
    below.map(|chain| [vec![name], chain].concat()).collect()
}

/// Bytes of stack that a chain takes.
fn depth(functions: &Functions, chain: &[&str]) -> u64 {
    chain.iter().map(|name| functions[*name].frame.max(1).next_multiple_of(STEP)).sum()
}

/// What is wrong with the stack of a program.
fn fault(functions: &Functions, program: &str) -> Option<String> {
    let chains = chains(functions, program, 1);
    let deepest = chains.iter().max_by_key(|chain| depth(functions, chain))?;
    let longest = chains.iter().max_by_key(|chain| chain.len())?;
    let show = |chain: &[&str]| {
        let frames = chain.iter().map(|name| format!("{name} {}", functions[*name].frame));
        frames.collect::<Vec<_>>().join(" -> ")
    };
    let bytes = depth(functions, deepest);
    if bytes > STACK {
        return Some(format!("{bytes} bytes of stack, {STACK} are allowed: {}", show(deepest)));
    }
    (longest.len() > FRAMES).then(|| format!("more than {FRAMES} frames: {}", show(longest)))
}

#[test]
fn every_program_has_the_stack_that_old_kernels_give() {
    let functions = functions(OBJECT);
    let programs: Vec<_> = functions.iter().filter(|(_, function)| function.program).collect();
    let both = [Source::Syscall, Source::Socket];
    let hooks: BTreeSet<_> = both.into_iter().flat_map(|source| hooks::chosen(source, true)).collect();
    assert_eq!(programs.len(), hooks.len(), "{programs:?}");
    // What is called is found: a program that calls nothing would be no test.
    assert!(chains(&functions, "sys_exit", 1).iter().any(|chain| chain.len() > 3));
    let faults: Vec<_> = programs.iter().filter_map(|(name, _)| fault(&functions, name)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Functions with these frames, each of which calls the next one.
fn chain(frames: &[u64]) -> Functions {
    let name = |index: usize| format!("f{index}");
    let last = frames.len() - 1;
    let function = |(index, frame): (usize, &u64)| {
        let calls = (index < last).then(|| name(index + 1)).into_iter().collect();
        (name(index), Function { program: index == 0, frame: *frame, calls })
    };
    frames.iter().enumerate().map(function).collect()
}

#[test]
fn frames_are_rounded_up_and_added() {
    assert_eq!(fault(&chain(&[160, 112, 56, 96, 48]), "f0"), None);
    assert_eq!(
        fault(&chain(&[161, 112, 56, 96, 48]), "f0").as_deref(),
        Some("544 bytes of stack, 512 are allowed: f0 161 -> f1 112 -> f2 56 -> f3 96 -> f4 48"),
    );
    // An empty frame takes its part all the same.
    assert_eq!(fault(&chain(&[480, 0]), "f0"), None);
    assert!(fault(&chain(&[481, 0]), "f0").is_some());
}

#[test]
fn chains_of_calls_are_short_and_end() {
    assert_eq!(fault(&chain(&[0; FRAMES]), "f0"), None);
    let long = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"].map(|name| format!("{name} 0"));
    let long = format!("more than 8 frames: {}", long.join(" -> "));
    assert_eq!(fault(&chain(&[0; FRAMES + 1]), "f0"), Some(long));
    let mut endless = chain(&[0, 0]);
    endless.get_mut("f1").unwrap().calls.insert("f0".to_owned());
    assert!(fault(&endless, "f0").is_some());
}

#[test]
fn a_frame_reaches_to_the_lowest_place_that_is_used() {
    let depth = |code: &[u8]| {
        let code: Vec<_> = code.chunks(8).map(Instruction::parse).collect();
        code[0].depth(code.get(1).copied())
    };
    // `r1 = *(u64 *)(r10 - 16)`, `*(u32 *)(r10 - 24) = r1`, `*(u64 *)(r10 - 8) = 0`.
    assert_eq!(depth(&[0x79, 0xa1, 0xf0, 0xff, 0, 0, 0, 0]), 16);
    assert_eq!(depth(&[0x63, 0x1a, 0xe8, 0xff, 0, 0, 0, 0]), 24);
    assert_eq!(depth(&[0x7a, 0x0a, 0xf8, 0xff, 0, 0, 0, 0]), 8);
    // `r2 = r10; r2 += -88`, and a load by another register.
    assert_eq!(depth(&[0xbf, 0xa2, 0, 0, 0, 0, 0, 0, 0x07, 0x02, 0, 0, 0xa8, 0xff, 0xff, 0xff]), 88);
    assert_eq!(depth(&[0x79, 0x21, 0xf0, 0xff, 0, 0, 0, 0]), 0);
}
