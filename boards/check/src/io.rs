//! Where values come from and results go: one volatile word, and memory that is just there.

use core::ptr::{read_volatile, write_volatile};
use core::slice;
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Clock, DeviceError, ErrorKind, Micros, WriteDevice,
};

const WORD: *mut u32 = 0x4000_0000 as *mut u32;
const RAM: usize = 0x2000_0000;
const FLASH: usize = 0x9000_0000;

/// Any value.
#[inline(never)]
pub fn word() -> u32 {
    // SAFETY: the image is never run.
    unsafe { read_volatile(WORD) }
}

/// Uses a value.
#[inline(never)]
pub fn give(value: u32) {
    // SAFETY: the image is never run.
    unsafe { write_volatile(WORD, value) }
}

/// Any number.
pub fn float() -> f32 {
    f32::from_bits(word())
}

/// Either.
pub fn coin() -> bool {
    word() == 0
}

/// Any bytes.
#[inline(never)]
pub fn bytes() -> &'static [u8] {
    // SAFETY: the image is never run.
    unsafe { slice::from_raw_parts((FLASH + word() as usize) as *const u8, word() as usize >> 1) }
}

/// Any text.
#[inline(never)]
pub fn text() -> &'static str {
    // SAFETY: the image is never run.
    unsafe { core::str::from_utf8_unchecked(bytes()) }
}

/// Any words.
#[inline(never)]
pub fn words() -> &'static mut [u32] {
    let at = RAM + (word() as usize & 0xff_fffc);
    // SAFETY: the image is never run.
    unsafe { slice::from_raw_parts_mut(at as *mut u32, word() as usize >> 4) }
}

/// Any numbers.
#[inline(never)]
pub fn floats() -> &'static mut [f32] {
    let words = words();
    // SAFETY: the image is never run; every word is a number.
    unsafe { slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

/// Any blocks.
#[inline(never)]
pub fn blocks() -> &'static mut [Block] {
    let at = RAM + (word() as usize & 0xff_ffc0);
    // SAFETY: the image is never run.
    unsafe { slice::from_raw_parts_mut(at as *mut Block, word() as usize >> 11) }
}

/// Uses a result; its error as a board would, by kind.
pub fn result<T, E: DeviceError>(result: Result<T, E>, ok: impl FnOnce(T)) {
    match result {
        Ok(value) => ok(value),
        Err(error) => give(error.kind() as u32),
    }
}

/// Calls all of a device.
#[inline(never)]
pub fn device<D: BlockDevice>(mut device: D) {
    result(device.block_count(), |count| give(count.0));
    result(device.read(BlockIdx(word()), blocks()), |()| {});
    result(device.read_while(BlockIdx(word()), blocks(), word), give);
}

/// Calls all of a device that is written.
#[inline(never)]
pub fn written<D: WriteDevice>(mut card: D) {
    result(card.write(BlockIdx(word()), blocks()), |()| {});
    device(card);
}

/// Some device.
pub struct Device;

impl BlockDevice for Device {
    type Error = ErrorKind;

    #[inline(never)]
    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount(word()))
    }

    #[inline(never)]
    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        give(start.0);
        for byte in Block::bytes_mut(dst) {
            *byte = word() as u8;
        }
        match word() {
            0 => Ok(()),
            1 => Err(ErrorKind::Timeout),
            2 => Err(ErrorKind::Corrupted),
            _ => Err(ErrorKind::Other),
        }
    }
}

impl WriteDevice for Device {
    #[inline(never)]
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        give(start.0);
        Block::bytes(src).iter().for_each(|byte| give((*byte).into()));
        if coin() { Ok(()) } else { Err(ErrorKind::Other) }
    }
}

/// Some clock.
#[derive(Clone, Copy)]
pub struct Timer;

impl Clock for Timer {
    #[inline(never)]
    fn now(&self) -> Micros {
        Micros(word().into())
    }
}
