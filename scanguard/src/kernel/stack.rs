//! How much stack the programs need, counted as the verifier counts it. A test, because whoever changes the kernel part has a newer kernel than
//! many who run it: from Linux 6.13 on functions may have stacks of their own (a76ab5731e32), before that one and all its callers share one.

use std::collections::{BTreeMap, HashMap, HashSet};

use aya_obj::Object;
use aya_obj::generated::bpf_insn;

use super::datapath::OBJECT;

/// `MAX_BPF_STACK` of `include/linux/filter.h`.
const MOST: usize = 512;
/// `check_max_stack_depth` rounds each frame up.
const ROUNDED: usize = 32;

/// `BPF_JMP | BPF_CALL`, with a source register that says that it is of a function of the program's.
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
/// The frame pointer.
const FRAME: u8 = 10;
/// `BPF_ALU64 | BPF_MOV | BPF_X` and `BPF_ALU64 | BPF_ADD | BPF_K`.
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;

/// What a function keeps on the stack, and where those begin that it calls.
#[derive(Debug, Default)]
struct Frame {
    bytes: usize,
    calls: HashSet<usize>,
}

/// The functions of a program, by their first instruction.
fn frames(instructions: &[bpf_insn]) -> BTreeMap<usize, Frame> {
    let is_call = |at: &usize| instructions[*at].code == CALL && instructions[*at].src_reg() == PSEUDO_CALL;
    let callee =
        |at: usize| at.checked_add_signed(instructions[at].imm as isize + 1).expect("a function of the program");
    let mut frames: BTreeMap<usize, Frame> = BTreeMap::from([(0, Frame::default())]);
    for at in (0..instructions.len()).filter(is_call) {
        frames.entry(callee(at)).or_default();
    }
    let starts: Vec<usize> = frames.keys().copied().collect();
    for (at, instruction) in instructions.iter().enumerate() {
        let start = starts[starts.partition_point(|start| *start <= at) - 1];
        let frame = frames.get_mut(&start).expect("a function");
        let (class, offset) = (instruction.code & 7, i64::from(instruction.off));
        let next = instructions.get(at + 1);
        let reach = match class {
            // BPF_LDX; BPF_ST and BPF_STX.
            1 if instruction.src_reg() == FRAME => offset,
            2 | 3 if instruction.dst_reg() == FRAME => offset,
            _ if instruction.code == MOVE && instruction.src_reg() == FRAME => next
                .filter(|next| next.code == ADD && next.dst_reg() == instruction.dst_reg())
                .map_or(0, |next| i64::from(next.imm)),
            _ => 0,
        };
        frame.bytes = frame.bytes.max(usize::try_from(-reach).unwrap_or_default());
        if is_call(&at) {
            frame.calls.insert(callee(at));
        }
    }
    frames
}

/// The deepest that a function and those it calls reach.
fn depth(start: usize, frames: &BTreeMap<usize, Frame>, known: &mut HashMap<usize, usize>) -> usize {
    if let Some(depth) = known.get(&start) {
        return *depth;
    }
    let frame = &frames[&start];
    let deepest = frame.calls.iter().map(|callee| depth(*callee, frames, known)).max().unwrap_or_default();
    let all = frame.bytes.max(1).next_multiple_of(ROUNDED) + deepest;
    known.insert(start, all);
    all
}

#[test]
fn every_program_fits_the_stack_of_old_kernels() {
    let mut object = Object::parse(OBJECT).expect("an object");
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).expect("linked functions");
    assert_eq!(object.programs.len(), 3);
    for (name, program) in &object.programs {
        let function = &object.functions[&program.function_key()];
        let frames = frames(&function.instructions);
        assert!(frames.len() > 1, "{name} calls nothing: its functions were not found");
        let depth = depth(0, &frames, &mut HashMap::new());
        println!("{name}: {depth} bytes of stack, {} functions", frames.len());
        assert!(depth <= MOST, "{name} takes {depth} bytes of stack, more than the {MOST} that Linux before 6.13 has");
    }
}
