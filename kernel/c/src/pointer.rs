//! Values from C, checked as far as they can be: pointers that are neither null nor misaligned and lead to
//! no more than memory can hold, and flags of one byte.

use crate::RippleStatus;
use core::slice;

/// Whether `count` values can lie at `start`.
fn plausible<T>(start: *const T, count: usize) -> bool {
    let bytes = count.checked_mul(size_of::<T>());
    !start.is_null()
        && start.is_aligned()
        && bytes.is_some_and(|bytes| bytes <= isize::MAX as usize)
}

/// Whether a flag is set. It is a byte because a `bool` that holds anything but 0 and 1 has no meaning in Rust,
/// and C can store whatever it likes in one.
pub fn flag(byte: u8) -> Result<bool, RippleStatus> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RippleStatus::Argument),
    }
}

/// What `pointer` points to.
///
/// # Safety
/// Null, misaligned, or a value that nothing else uses while it is borrowed.
pub unsafe fn value<'a, T>(pointer: *const T) -> Result<&'a T, RippleStatus> {
    if !plausible(pointer, 1) {
        return Err(RippleStatus::Argument);
    }
    // SAFETY: as promised; neither null nor misaligned.
    Ok(unsafe { &*pointer })
}

/// What `pointer` points to, to be changed.
///
/// # Safety
/// As [`value`].
pub unsafe fn value_mut<'a, T>(pointer: *mut T) -> Result<&'a mut T, RippleStatus> {
    if !plausible(pointer, 1) {
        return Err(RippleStatus::Argument);
    }
    // SAFETY: as promised; neither null nor misaligned.
    Ok(unsafe { &mut *pointer })
}

/// Writes to where `pointer` points.
///
/// # Safety
/// As [`value`], but for the value, which may be anything.
pub unsafe fn write<T>(pointer: *mut T, value: T) -> Result<(), RippleStatus> {
    if !plausible(pointer, 1) {
        return Err(RippleStatus::Argument);
    }
    // SAFETY: as promised; neither null nor misaligned.
    unsafe { pointer.write(value) };
    Ok(())
}

/// `count` values at `start`; none may be anywhere.
///
/// # Safety
/// As [`value`], for each.
pub unsafe fn values<'a, T>(start: *const T, count: usize) -> Result<&'a [T], RippleStatus> {
    if count == 0 {
        return Ok(&[]);
    }
    if !plausible(start, count) {
        return Err(RippleStatus::Argument);
    }
    // SAFETY: as promised; neither null nor misaligned nor longer than a slice may be.
    Ok(unsafe { slice::from_raw_parts(start, count) })
}

/// `count` values at `start`, to be changed; none may be anywhere.
///
/// # Safety
/// As [`value`], for each.
pub unsafe fn values_mut<'a, T>(start: *mut T, count: usize) -> Result<&'a mut [T], RippleStatus> {
    if count == 0 {
        return Ok(&mut []);
    }
    if !plausible(start, count) {
        return Err(RippleStatus::Argument);
    }
    // SAFETY: as promised; neither null nor misaligned nor longer than a slice may be.
    Ok(unsafe { slice::from_raw_parts_mut(start, count) })
}
