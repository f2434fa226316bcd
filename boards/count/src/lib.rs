//! A QEMU plugin: counts the guest's instructions by region, exactly and each one once.
//!
//! In: a guest that runs the marker instructions of `ripple-marks`, NOPs on silicon. Out: at exit, a
//! line for each region, in QEMU's log (`-d plugin`, with `-D FILE` into a file):
//!
//! ```text
//! region 3 entered 2 instructions 41230
//! markers 5
//! total 1048211
//! ```
//!
//! | marker | means |
//! |---|---|
//! | 1 to 13 | what follows is region n |
//! | 14 | the card driver begins: what follows is region 14, whatever it was |
//! | 15 | the card driver ends: what follows is what it was, or the last region marked within |
//!
//! Region 0 is what runs before the first marker. Markers belong to no region, so the regions and the
//! markers add up to the total. Only the first core is counted: the others of a board wait.
//!
//! An interrupt counts to the region it interrupts. Instructions are not cycles.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The API this plugin is written for: QEMU 9.2 and later.
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "QEMU looks the symbol up")]
#[allow(non_upper_case_globals, reason = "QEMU's name")]
pub static qemu_plugin_version: c_int = 4;

const REGIONS: usize = 14;
const DRIVER: usize = 14;
const DRIVER_ENDS: usize = 15;

/// A counter of each core, kept by QEMU: `qemu_plugin_u64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Counter {
    scoreboard: *mut c_void,
    offset: usize,
}

// SAFETY: a handle; QEMU's functions that take it may be called from any thread.
#[allow(unsafe_code, reason = "a raw pointer within")]
unsafe impl Send for Counter {}

/// The first members of `qemu_info_t`.
#[repr(C)]
struct Info {
    target_name: *const c_char,
}

type OnTranslation = extern "C" fn(u64, *mut c_void);
type OnExecution = extern "C" fn(c_uint, *mut c_void);
type OnExit = extern "C" fn(u64, *mut c_void);

// `QEMU_PLUGIN_INLINE_ADD_U64` and `QEMU_PLUGIN_CB_NO_REGS`.
const ADD: c_int = 0;
const NO_REGISTERS: c_int = 0;

// `qemu-plugin.h`.
#[allow(unsafe_code, reason = "the plugin API is C")]
unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: OnTranslation);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_data(insn: *const c_void, dest: *mut c_void, len: usize) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut c_void,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        insn: *mut c_void,
        operation: c_int,
        entry: Counter,
        value: u64,
    );
    fn qemu_plugin_scoreboard_new(element_size: usize) -> *mut c_void;
    fn qemu_plugin_u64_get(entry: Counter, vcpu: c_uint) -> u64;
    fn qemu_plugin_register_atexit_cb(id: u64, callback: OnExit, data: *mut c_void);
    fn qemu_plugin_outs(string: *const c_char);
}

/// What has been counted.
struct Counts {
    counter: Counter,
    /// Whether the guest is AArch64.
    wide: bool,
    /// The region outside the driver, and whether the driver runs.
    base: usize,
    driver: bool,
    /// The counter when the region under way began.
    since: u64,
    markers: u64,
    entered: [u64; REGIONS + 1],
    instructions: [u64; REGIONS + 1],
}

impl Counts {
    fn region(&self) -> usize {
        if self.driver { DRIVER } else { self.base }
    }

    /// Ends the region under way at `now` and begins the one that `marker` says.
    fn mark(&mut self, marker: usize, now: u64) {
        // The counter has the marker itself already.
        self.instructions[self.region()] += now - 1 - self.since;
        self.since = now;
        self.markers += 1;
        match marker {
            DRIVER => self.driver = true,
            DRIVER_ENDS => self.driver = false,
            _ => self.base = marker,
        }
        // Back from the driver is not another entry.
        if marker != DRIVER_ENDS {
            self.entered[marker] += 1;
        }
    }
}

static COUNTS: Mutex<Option<Counts>> = Mutex::new(None);

fn counts() -> MutexGuard<'static, Option<Counts>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of the marker that `instruction` is, if it is one.
///
/// `dbg #n` in Thumb and ARM state; `hint #(80 + n)` in AArch64: hints that no extension has taken,
/// which the architecture wants executed as NOP.
fn marker(instruction: [u8; 4], wide: bool) -> Option<usize> {
    let word = u32::from_le_bytes(instruction);
    let number = if wide {
        (word & !(15 << 5) == 0xD503_2A1F).then_some(word >> 5 & 15)
    } else if word & !15 == 0xE320_F0F0 {
        Some(word & 15)
    } else {
        // Thumb stores the leading halfword first.
        let word = word.rotate_left(16);
        (word & !15 == 0xF3AF_80F0).then_some(word & 15)
    };
    number.map(|n| n as usize).filter(|&n| n > 0)
}

extern "C" fn on_marker(vcpu: c_uint, marker: *mut c_void) {
    if vcpu != 0 {
        return;
    }
    if let Some(counts) = counts().as_mut() {
        // SAFETY: the scoreboard lives as long as the plugin.
        #[allow(unsafe_code, reason = "the plugin API is C")]
        let now = unsafe { qemu_plugin_u64_get(counts.counter, vcpu) };
        counts.mark(marker as usize, now);
    }
}

/// Makes each instruction of a block count itself, and each marker mark.
#[allow(unsafe_code, reason = "the plugin API is C")]
extern "C" fn on_translation(_: u64, block: *mut c_void) {
    let Some((counter, wide)) = counts().as_ref().map(|counts| (counts.counter, counts.wide))
    else {
        return;
    };
    // SAFETY: `block` is valid during this call, and so are its instructions.
    let instructions = (0..unsafe { qemu_plugin_tb_n_insns(block) })
        .map(|i| unsafe { qemu_plugin_tb_get_insn(block, i) });
    for instruction in instructions {
        let mut bytes = [0u8; 4];
        // SAFETY: at most the four bytes of `bytes` are written. Callbacks of one instruction run in
        // the order in which they are registered, so a marker sees itself counted.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, counter, 1);
            let length = qemu_plugin_insn_data(instruction, bytes.as_mut_ptr().cast(), 4);
            if let Some(n) = marker(bytes, wide).filter(|_| length == 4) {
                let data = std::ptr::without_provenance_mut(n);
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_marker, NO_REGISTERS, data);
            }
        }
    }
}

extern "C" fn on_exit(_: u64, _: *mut c_void) {
    let mut guard = counts();
    let Some(counts) = guard.as_mut() else { return };
    // SAFETY: the scoreboard lives as long as the plugin.
    #[allow(unsafe_code, reason = "the plugin API is C")]
    let total = unsafe { qemu_plugin_u64_get(counts.counter, 0) };
    counts.instructions[counts.region()] += total - counts.since;
    let mut report = String::new();
    for (n, (entered, instructions)) in counts.entered.iter().zip(counts.instructions).enumerate() {
        if *entered > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(report, "region {n} entered {entered} instructions {instructions}");
        }
    }
    let _ = writeln!(report, "markers {}\ntotal {total}", counts.markers);
    if let Ok(report) = CString::new(report) {
        // SAFETY: a string that ends with a zero.
        #[allow(unsafe_code, reason = "the plugin API is C")]
        unsafe {
            qemu_plugin_outs(report.as_ptr());
        }
    }
}

/// Called by QEMU when it loads the plugin; 0 for success.
///
/// # Safety
/// `info` is QEMU's `qemu_info_t`.
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "the plugin API is C")]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const c_void,
    _argc: c_int,
    _argv: *const *const c_char,
) -> c_int {
    // SAFETY: as required of our caller; the name is a string that ends with a zero.
    let target = unsafe { CStr::from_ptr((*info.cast::<Info>()).target_name) };
    let mut entered = [0; REGIONS + 1];
    entered[0] = 1;
    // SAFETY: called from within the installation, as all three must be.
    unsafe {
        let scoreboard = qemu_plugin_scoreboard_new(size_of::<u64>());
        *counts() = Some(Counts {
            counter: Counter { scoreboard, offset: 0 },
            wide: target == c"aarch64",
            base: 0,
            driver: false,
            since: 0,
            markers: 0,
            entered,
            instructions: [0; REGIONS + 1],
        });
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
        qemu_plugin_register_atexit_cb(id, on_exit, std::ptr::null_mut());
    }
    0
}
