//! Cortex-M55, M52 and M85, with Helium (the M-profile vector extension): sixteen products an
//! instruction.
//!
//! In: a row and a vector, packed as it is. Out: their dot product. Loads of four vector registers
//! at once, loops without a branch to pay for, and tails by predication, so that no length is slow.

#[cfg(any(feature = "q4", feature = "grouped"))]
pub use super::portable::{FIRST_WORD, GROUP_WORDS};
pub use super::portable::{element, pack};

/// Instructions for 64 numbers: 2 loads, 4 `vmladava`, `le`.
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot(row: &[i8], words: &[u32]) -> i32 {
    let mut sum = 0;
    // SAFETY: `row` starts on a word boundary, and `words` has two bytes for each of its numbers:
    // `Packed` checks both. The loads go no further: the second loop leaves out what is too much.
    unsafe {
        core::arch::asm!(
            "wls lr, {blocks}, 3f",
            "2:",
            "vldmia {row}!, {{d0-d7}}",
            "vldmia {x}!, {{d8-d15}}",
            "vmladava.s8 r12, q0, q4",
            "vmladava.s8 r12, q1, q5",
            "vmladava.s8 r12, q2, q6",
            "vmladava.s8 r12, q3, q7",
            "le lr, 2b",
            "3:",
            "wlstp.8 lr, {rest}, 5f",
            "4:",
            "vldrb.8 q0, [{row}], #16",
            "vldrb.8 q4, [{x}], #16",
            "vmladava.s8 r12, q0, q4",
            "letp lr, 4b",
            "5:",
            blocks = in(reg) row.len() / 64,
            rest = in(reg) row.len() % 64,
            row = inout(reg) row.as_ptr() => _,
            x = inout(reg) words.as_ptr() => _,
            inout("r12") sum,
            out("lr") _,
            out("q0") _, out("q1") _, out("q2") _, out("q3") _,
            out("q4") _, out("q5") _, out("q6") _, out("q7") _,
            options(readonly, nostack),
        );
    }
    sum
}

/// `acc_j += coefficient * row_j`, wrapping.
///
/// Instructions for 16 numbers: 6 loads and stores, 4 `vmla`, `le`.
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    let len = acc.len().min(row.len());
    // SAFETY: both have `len` elements; `acc` starts on a word boundary, and loads of bytes need
    // none; but widening ones want a low register. The second loop leaves out what is too much.
    unsafe {
        core::arch::asm!(
            "wls lr, {blocks}, 3f",
            "2:",
            "vldmia {acc}, {{d0-d7}}",
            "vldrb.s32 q4, [r0], #4",
            "vldrb.s32 q5, [r0], #4",
            "vldrb.s32 q6, [r0], #4",
            "vldrb.s32 q7, [r0], #4",
            "vmla.i32 q0, q4, {coefficient}",
            "vmla.i32 q1, q5, {coefficient}",
            "vmla.i32 q2, q6, {coefficient}",
            "vmla.i32 q3, q7, {coefficient}",
            "vstmia {acc}!, {{d0-d7}}",
            "le lr, 2b",
            "3:",
            "wlstp.32 lr, {rest}, 5f",
            "4:",
            "vldrb.s32 q4, [r0], #4",
            "vldrw.32 q0, [{acc}]",
            "vmla.i32 q0, q4, {coefficient}",
            "vstrw.32 q0, [{acc}], #16",
            "letp lr, 4b",
            "5:",
            blocks = in(reg) len / 16,
            rest = in(reg) len % 16,
            inout("r0") row.as_ptr() => _,
            acc = inout(reg) acc.as_mut_ptr() => _,
            coefficient = in(reg) coefficient,
            out("lr") _,
            out("q0") _, out("q1") _, out("q2") _, out("q3") _,
            out("q4") _, out("q5") _, out("q6") _, out("q7") _,
            options(nostack),
        );
    }
}

/// `sum_g m_g n_g (q . p)_g`: see [`grouped`](super::grouped). As many groups as all of them have.
#[cfg(feature = "grouped")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot_groups(row: &[[i8; 32]], m: &[u8], x: &[[u32; GROUP_WORDS]], n: &[u32]) -> i64 {
    let count = row.len().min(m.len()).min(x.len()).min(n.len());
    // SAFETY: reads `count` groups of each; `row` is on a word boundary, as the caller says.
    unsafe { dot_grouped(row.as_ptr(), x.as_ptr(), m.as_ptr(), n.as_ptr(), count) }
}

/// Instructions for a group: 2 loads, 2 `vmladav`, 4, `le`.
#[cfg(feature = "grouped")]
#[unsafe(naked)]
#[allow(unsafe_code, reason = "assembly")]
unsafe extern "C" fn dot_grouped(
    row: *const [i8; 32],
    x: *const [u32; GROUP_WORDS],
    multipliers: *const u8,
    infos: *const u32,
    count: usize,
) -> i64 {
    core::arch::naked_asm!(
        // r5 row, r1 numbers, r7 multipliers of the row, r3 infos, r4 a group's sum, r6 and r8 its multipliers,
        // r11:r2 the sum, r12 the groups.
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "mov r5, r0",
        "mov r7, r2",
        "mov r2, #0",
        "mov r11, #0",
        "wls lr, r12, 3f",
        "2:",
        "vldmia r5!, {{d0-d3}}",
        "vldmia r1!, {{d4-d7}}",
        "vmladav.s8 r4, q0, q2",
        "vmladava.s8 r4, q1, q3",
        "ldrb r6, [r7], #1",
        "ldrh r8, [r3], #4",
        "mul r6, r6, r8",
        "smlal r2, r11, r4, r6",
        "le lr, 2b",
        "3:",
        "mov r0, r2",
        "mov r1, r11",
        "pop {{r4-r11, pc}}",
    )
}

/// `acc_j += part(coefficient, m_(j / 32)) * q_j`, wrapping: see [`grouped`](super::grouped).
///
/// Instructions for a group: 5 for its part of the coefficient, 2 (6 loads and stores, 4 `vmla`), `le`.
#[cfg(feature = "grouped")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn axpy_groups(acc: &mut [[i32; 32]], coefficient: i32, row: &[[i8; 32]], m: &[u8]) {
    // SAFETY: reads as many groups as all of them have; `acc` starts on a word boundary, and loads of bytes need
    // none; but widening ones want a low register. A shift of 64 bits wants an even register and the next.
    unsafe {
        core::arch::asm!(
            "wls lr, {count}, 3f",
            "2:",
            "ldrb r12, [{m}], #1",
            "mov r2, #128",
            "mov r3, #0",
            "smlal r2, r3, {coefficient}, r12",
            "asrl r2, r3, #8",
            ".rept 2",
            "vldmia {acc}, {{d0-d7}}",
            "vldrb.s32 q4, [r0], #4",
            "vldrb.s32 q5, [r0], #4",
            "vldrb.s32 q6, [r0], #4",
            "vldrb.s32 q7, [r0], #4",
            "vmla.i32 q0, q4, r2",
            "vmla.i32 q1, q5, r2",
            "vmla.i32 q2, q6, r2",
            "vmla.i32 q3, q7, r2",
            "vstmia {acc}!, {{d0-d7}}",
            ".endr",
            "le lr, 2b",
            "3:",
            count = in(reg) acc.len().min(row.len()).min(m.len()),
            m = inout(reg) m.as_ptr() => _,
            inout("r0") row.as_ptr() => _,
            acc = inout(reg) acc.as_mut_ptr() => _,
            coefficient = in(reg) coefficient,
            out("r2") _, out("r3") _, out("r12") _, out("lr") _,
            out("q0") _, out("q1") _, out("q2") _, out("q3") _,
            out("q4") _, out("q5") _, out("q6") _, out("q7") _,
            options(nostack),
        );
    }
}

/// Dot product of a group of 32 numbers of 4 bits with as many of a packed vector.
///
/// The low halves of the bytes are every other word of the vector, the high halves those between:
/// `vld2` takes them apart.
#[cfg(feature = "q4")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn dot_group(group: &[u8; 16], x: &[u32; GROUP_WORDS]) -> i32 {
    let mut sum = 0;
    // SAFETY: reads the 16 bytes of `group`, which need no alignment, and the 32 of `x`, a word's.
    unsafe {
        core::arch::asm!(
            "vldrb.u8 q1, [{group}]",
            "vld20.32 {{q4, q5}}, [{x}]",
            "vld21.32 {{q4, q5}}, [{x}]",
            "vshl.i8 q0, q1, #4",
            "vshr.s8 q0, q0, #4",
            "vshr.s8 q1, q1, #4",
            "vmladava.s8 r12, q0, q4",
            "vmladava.s8 r12, q1, q5",
            group = in(reg) group.as_ptr(),
            x = in(reg) x.as_ptr(),
            inout("r12") sum,
            out("q0") _, out("q1") _, out("q4") _, out("q5") _,
            options(readonly, nostack),
        );
    }
    sum
}

/// The numbers of a group, as bytes.
#[cfg(feature = "q4")]
#[inline]
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn unpack(group: &[u8; 16], out: &mut [u32; GROUP_WORDS]) {
    // SAFETY: reads the 16 bytes of `group`, which need no alignment, and writes the 32 of `out`, a
    // word's.
    unsafe {
        core::arch::asm!(
            "vldrb.u8 q1, [{group}]",
            "vshl.i8 q0, q1, #4",
            "vshr.s8 q0, q0, #4",
            "vshr.s8 q1, q1, #4",
            "vst20.32 {{q0, q1}}, [{out}]",
            "vst21.32 {{q0, q1}}, [{out}]",
            group = in(reg) group.as_ptr(),
            out = in(reg) out.as_mut_ptr(),
            out("q0") _, out("q1") _,
            options(nostack),
        );
    }
}
