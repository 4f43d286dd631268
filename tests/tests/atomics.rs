//! The atomics return the value before, in the kernel too: LLVM 22 compiles a relaxed add whose result is used to an
//! instruction that returns nothing.
//!
//! Needs root; run by `cargo xtask test`.

use scanguard::kernel::rig::Rig;
use scanguard_tests::rig;

#[test]
fn atomics_in_the_kernel_return_the_value_before() {
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let words = rig.atomics([10, 20, 0, 0, 0, 30, 0, 0]).expect("a trial run");
    assert_eq!(words[..2], [10 + 5 + 0x100, 27], "the operands");
    assert_eq!(words[2..5], [10, 15, 20], "the values before");
    assert_eq!(words[5..8], [31, 30, 31], "one exchange that found what it expected, one that did not");
}
